"""The text of a sequence: its tokens are decoded, stop strings end it, and unsent text waits here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from providers.local.engine.detokeniser import Detokeniser, Vocabulary
from providers.local.engine.stopping import StopStrings

TokenLogprobs = tuple[float, list[tuple[int, float]]]
"""A token's log probability, and the most likely tokens with theirs."""


@dataclass(slots=True)
class OutputBuffer:
    """A sequence's text that was not sent yet, and whether the sequence has ended."""

    vocabulary: Vocabulary
    detokeniser: Detokeniser
    stops: StopStrings
    text: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None

    def take(self, token: int, ended: str | None, logprobs: TokenLogprobs | None) -> None:
        """Decode the sequence's next token; sets finish_reason if it is the last.

        ended   why it is the last token, judged by ids: stop (an end token, which has no text) or length
        """
        if logprobs is not None:
            self.logprobs.append(entry(self.vocabulary, token, logprobs))
        shown, stopped = ("", False) if ended == "stop" else self.stops.push(self.detokeniser.push(token))
        self.text += shown
        if ended and not stopped:
            # The detokeniser may still hold half a character, which is dropped.
            self.text += self.stops.flush()
        self.finish_reason = "stop" if stopped else ended


def entry(vocabulary: Vocabulary, token: int, logprobs: TokenLogprobs) -> dict[str, Any]:
    """One entry of OpenAI's `logprobs.content`."""
    logprob, best = logprobs

    def named(token: int, logprob: float) -> dict[str, Any]:
        raw = vocabulary.of(token)
        return {"token": raw.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(raw)}

    return named(token, logprob) | {"top_logprobs": [named(*pair) for pair in best]}
