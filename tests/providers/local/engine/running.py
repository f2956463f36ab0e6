"""An engine without its process: asks in, whole replies out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from providers.local.engine.compute import kernels
from providers.local.engine.compute.kernels import plain
from providers.local.engine.loop import Loop
from providers.local.engine.sequence import Sequence
from providers.local.engine.serving.assembly import build
from providers.local.engine.serving.folder import open_folder
from providers.local.options import Options
from providers.local.wire import Ask, Failed
from providers.sampling import split

# The connection that asks, where there is none.
OWNER = 0


@dataclass
class Answer:
    tokens: list[int]
    text: str = ""
    pieces: list[str] = field(default_factory=list)
    finish_reason: str | None = None
    cached: int = 0
    completion_tokens: int = 0
    failed: Failed | None = None
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    reasoning: str = ""
    calls: list[tuple[int, str, str, str]] = field(default_factory=list)


WAYS = ["text first", "next step first", "captured", "followed"]
WAY = WAYS[0]
"""How engines run: as on a CPU; in a GPU's order; with a GPU's decode steps too, but for the capture itself; and
without drafts, so that such steps follow each other before their ids are read."""


def a_loop(folder: Path, budget: int | None = None, **options: Any) -> Loop:
    """An engine for `folder` that runs as WAY says; `budget` is the tokens of a step."""
    told = Options(str(folder), threads=1, **({"kv_cache_mb": 8} | options))
    with as_on_a_gpu() if WAY in ("captured", "followed") else nullcontext():
        loop, _ = build(open_folder(str(folder)), told, lambda: None)
    if budget:
        loop.scheduler.budget = budget
    loop._runner.ahead = WAY != "text first"
    if WAY == "followed":
        loop._draft_rows = 0
    return loop


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Engines that are built here take a GPU's way, with the kernels' plain twins and without the capture itself."""
    with mock.patch.object(kernels, "available", lambda *_: plain):
        yield


def asking(text: str, **parameters: Any) -> Ask:
    sampling, others = split({"temperature": 0.0, "max_tokens": 24} | parameters)
    return Ask(0, 0, [{"role": "user", "content": text}], sampling, **others)


def run(
    loop: Loop,
    asks: list[Ask],
    late: dict[int, int] | None = None,
    cancel: dict[int, int] | None = None,
    failing: bool = False,
) -> list[Answer]:
    """Answer all asks together; `late` and `cancel` say before which step an ask comes and goes.

    failing   whether a step may raise: else none may have to be run sequence by sequence
    """
    answers = [Answer([]) for _ in asks]
    sequences: dict[int, Sequence] = {}
    step, left = 0, set(range(len(asks)))
    while left or loop.preprocessing.pending or loop.busy:
        for i in [i for i in left if (late or {}).get(i, 0) <= step]:
            left.remove(i)
            asks[i].id = i
            answers[i].failed = loop.ask((OWNER, i), asks[i])
        loop.preprocessing.settle()
        making = {i: pending.result for (_, i), pending in loop.preprocessing.pending.items()}
        sequences |= {i: made.result() for i, made in making.items() if not made.exception()}
        for i in [i for i, at in (cancel or {}).items() if at == step]:
            loop.cancel((OWNER, i))
        for (_, i), message in loop.step():
            answer = answers[i]
            if isinstance(message, Failed):
                answer.failed = message
                continue
            answer.pieces.append(message.text)
            answer.logprobs += message.logprobs or []
            answer.reasoning += message.reasoning
            answer.calls += message.tool_calls or []
            answer.finish_reason, answer.cached = message.finish_reason, message.cached_tokens
            answer.completion_tokens = message.completion_tokens
        step += 1
    assert failing or loop.counters.failed_steps == 0
    for i, sequence in sequences.items():
        answers[i].tokens = sequence.tokens
        answers[i].text = "".join(answers[i].pieces)
    return answers
