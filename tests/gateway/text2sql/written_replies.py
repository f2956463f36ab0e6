"""A provider whose replies are written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from providers.chat import ChatRequest
from providers.delta import Delta, Usage

GOOD = "问题：沈塘桥\n```sql\nSELECT name, line FROM dtzpt WHERE name = '沈塘桥' ORDER BY line\n```"
BAD = "```sql\nDROP TABLE dtzpt\n```\nand more"


class Stream:
    provider, model, parameter_changes = "p", "m", ("top_k dropped",)

    def __init__(self, batches: Iterable[Any], log: list[str]) -> None:
        self._batches, self._log = batches, log

    def __iter__(self) -> Iterator[list[Delta]]:
        for batch in self._batches:
            if isinstance(batch, Exception):
                raise batch
            self._log.append("".join(delta.text for delta in batch))
            yield batch

    def deliver_to(self, take: Any, take_text: Any) -> None:
        """Every batch comes by iterating: nothing is delivered."""

    def close(self) -> None:
        self._log.append("closed")


class Provider:
    """Answers with the given replies, one after the other; keeps what it was asked and what was read of each reply."""

    def __init__(self, *replies: Any, size: int = 5, finish_reason: str = "stop") -> None:
        self.requests: list[tuple[ChatRequest, str | None]] = []
        self.read: list[list[str]] = []
        self._replies, self._size, self._finish_reason = list(replies), size, finish_reason

    def stream(self, request: ChatRequest, name: str | None = None) -> Stream:
        self.requests.append((request, name))
        self.read.append([])
        reply = self._replies.pop(0)
        if not isinstance(reply, str):
            return Stream(reply, self.read[-1])
        texts = [reply[n : n + self._size] for n in range(0, len(reply), self._size)]
        end = Delta(finish_reason=self._finish_reason, usage=Usage(10, 5, 15))
        return Stream([*([Delta(text)] for text in texts), [end]], self.read[-1])
