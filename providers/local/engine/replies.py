"""The text side of a sequence: its tokens become text, stop strings end it, and pieces say what to send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from providers.local.engine.detokeniser import ByteVocabulary, Detokeniser, WindowVocabulary
from providers.local.engine.sequence import Sequence
from providers.local.engine.stopping import StopStrings

Told = tuple[float, list[tuple[int, float]]]


@dataclass(slots=True)
class Reply:
    """What of a sequence's text was not sent yet, and whether it ended."""

    vocabulary: ByteVocabulary | WindowVocabulary
    detokeniser: Detokeniser
    stops: StopStrings
    text: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str | None = None

    def take(self, sequence: Sequence, ends: frozenset[int], told: Told | None) -> None:
        """Read the sequence's newest token; sets finish_reason if it was its last."""
        token = sequence.tokens[-1]
        if told is not None:
            self.logprobs.append(entry(self.vocabulary, token, told))
        if token in ends:
            self.text += self.stops.flush()
            self.finish_reason = "stop"
            return
        shown, stopped = self.stops.push(self.detokeniser.push(token))
        self.text += shown
        if stopped:
            self.finish_reason = "stop"
        elif sequence.generated >= sequence.max_new:
            # What the detokeniser still holds is half a character, and dropped.
            self.text += self.stops.flush()
            self.finish_reason = "length"


def entry(vocabulary: ByteVocabulary | WindowVocabulary, token: int, told: Told) -> dict[str, Any]:
    """One entry of OpenAI's `logprobs.content`."""
    logprob, best = told

    def named(token: int, logprob: float) -> dict[str, Any]:
        raw = vocabulary.of(token)
        return {"token": raw.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(raw)}

    return named(token, logprob) | {"top_logprobs": [named(*pair) for pair in best]}
