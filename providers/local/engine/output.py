"""The text of a sequence: its tokens are decoded, stop strings end it, thoughts and tool calls are split off.

token → detokeniser → stop strings → thoughts → tool calls → text, reasoning, pieces of calls
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from providers.local.engine.detokeniser import Detokeniser, Vocabulary
from providers.local.engine.stopping import StopStrings
from providers.local.engine.thoughts import Thoughts
from providers.local.engine.toolcalls import CallPiece, ToolCalls

TokenLogprobs = tuple[float, list[tuple[int, float]]]
"""A token's log probability, and the most likely tokens with theirs."""


@dataclass(slots=True)
class OutputBuffer:
    """A sequence's output that was not sent yet, and whether the sequence has ended.

    thoughts           None if thoughts stay in the text
    calls              None if the reply has no tool calls
    min_tokens         stop strings are not looked for in so many first tokens
    reasoning_tokens   tokens of its thoughts, so far
    """

    vocabulary: Vocabulary
    detokeniser: Detokeniser
    stops: StopStrings
    thoughts: Thoughts | None = None
    calls: ToolCalls | None = None
    min_tokens: int = 0
    text: str = ""
    reasoning: str = ""
    call_pieces: list[CallPiece] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None
    reasoning_tokens: int = 0
    _taken: int = 0

    @property
    def unsent(self) -> bool:
        """Whether there is something to send."""
        return bool(self.text or self.reasoning or self.call_pieces or self.finish_reason)

    def take(self, token: int, ended: str | None, logprobs: TokenLogprobs | None) -> None:
        """Decode the sequence's next token; sets finish_reason if it is the last.

        ended   why it is the last token, judged by ids: stop (an end token, which has no text) or length
        """
        if logprobs is not None:
            self.logprobs.append(entry(self.vocabulary, token, logprobs))
        self._taken += 1
        shown, stopped = "" if ended == "stop" else self.detokeniser.push(token), False
        if self._taken > self.min_tokens:
            shown, stopped = self.stops.push(shown)
        if ended and not stopped:
            # The detokeniser may still hold half a character, which is dropped.
            shown += self.stops.flush()
        self.finish_reason = "stop" if stopped else ended
        if self.thoughts is None and self.calls is None:
            self.text += shown
        else:
            self._part(shown)

    def _part(self, shown: str) -> None:
        """Give each channel what belongs to it."""
        last = self.finish_reason is not None
        if self.thoughts is not None:
            before = self.thoughts.inside
            reasoning, shown = self.thoughts.push(shown, last)
            self.reasoning += reasoning
            self.reasoning_tokens += before or self.thoughts.inside
        if self.calls is not None:
            shown, pieces = self.calls.push(shown, last)
            self.call_pieces += pieces
            if last and self.calls.count and self.finish_reason == "stop":
                self.finish_reason = "tool_calls"
        self.text += shown


def entry(vocabulary: Vocabulary, token: int, logprobs: TokenLogprobs) -> dict[str, Any]:
    """One entry of OpenAI's `logprobs.content`."""
    logprob, best = logprobs

    def named(token: int, logprob: float) -> dict[str, Any]:
        raw = vocabulary.of(token)
        return {"token": raw.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(raw)}

    return named(token, logprob) | {"top_logprobs": [named(*pair) for pair in best]}
