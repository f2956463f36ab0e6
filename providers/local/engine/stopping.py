"""Stop strings: text that may turn out to be the beginning of one is held back until that is certain."""

from __future__ import annotations

from collections.abc import Sequence

from providers.local.engine.thoughts import overlap


class StopStrings:
    """Passes text on up to the stop string that is completed first; of two completed together the longer counts."""

    def __init__(self, stops: Sequence[str] = (), include: bool = False) -> None:
        """include   whether the stop string itself is shown"""
        self._stops = tuple(stops)
        self._include = include
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Take more text; returns what may be shown now, and whether a stop string was completed."""
        if not self._stops or not text:
            return text, False
        text = self._held + text
        ends = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self._held = ""
            end, at = min(ends)
            return text[: end if self._include else at], True
        held = max(overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held], False

    def flush(self) -> str:
        """The reply ended otherwise: what was held back belongs to it."""
        held, self._held = self._held, ""
        return held
