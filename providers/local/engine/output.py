"""The text side of a sequence: its tokens become text, stop strings end it, and pieces say what to send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from providers.local.engine.detokeniser import Detokeniser, Vocabulary
from providers.local.engine.stopping import StopStrings

Told = tuple[float, list[tuple[int, float]]]
"""A token's log probability, and the most likely tokens with theirs."""


@dataclass(slots=True)
class Reply:
    """What of a sequence's text was not sent yet, and whether it ended."""

    vocabulary: Vocabulary
    detokeniser: Detokeniser
    stops: StopStrings
    text: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None

    def take(self, token: int, ended: str | None, told: Told | None) -> None:
        """Read the sequence's next token; sets finish_reason if it is the last.

        ended   why it is the last one, as far as ids tell: stop (it is an end token, which is no text), length
        """
        if told is not None:
            self.logprobs.append(entry(self.vocabulary, token, told))
        shown, stopped = ("", False) if ended == "stop" else self.stops.push(self.detokeniser.push(token))
        self.text += shown
        if ended and not stopped:
            # What the detokeniser still holds is half a character, and dropped.
            self.text += self.stops.flush()
        self.finish_reason = "stop" if stopped else ended


def entry(vocabulary: Vocabulary, token: int, told: Told) -> dict[str, Any]:
    """One entry of OpenAI's `logprobs.content`."""
    logprob, best = told

    def named(token: int, logprob: float) -> dict[str, Any]:
        raw = vocabulary.of(token)
        return {"token": raw.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(raw)}

    return named(token, logprob) | {"top_logprobs": [named(*pair) for pair in best]}
