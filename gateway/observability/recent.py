"""What this worker answered over the last day, and its last failures: for the operator's overview. Nothing is stored.

Memory is bounded: a row per hour, provider, database and key that asked, and FAILURES failures.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

HOURS = 24
FAILURES = 50
ROWS = 5000  # of one day; answers of further combinations are counted under the name OTHER
OTHER = "…"

_FIGURES = ("answers", "failures", "prompt_tokens", "completion_tokens")


class Recent:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        # (hour since 1970, provider, database, key) → figures in the order of _FIGURES
        self._hours: dict[tuple[int, str, str, str], list[int]] = {}
        self._failures: deque[dict[str, Any]] = deque(maxlen=FAILURES)

    def add(self, fields: dict[str, Any]) -> None:
        """Count an answer that ended; `fields` are its log line's."""
        hour = int(self._clock() // 3600)
        failed = fields.get("message") is not None
        place = (hour, fields["provider"] or "", fields["database"] or "", fields["key"] or "")
        if place not in self._hours:
            self._forget(hour)
            if len(self._hours) >= ROWS:
                place = (hour, OTHER, OTHER, OTHER)
        usage = fields["usage"] or {}
        figures = self._hours.setdefault(place, [0, 0, 0, 0])
        added = (1, failed, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))
        for n, value in enumerate(added):
            figures[n] += value
        if failed:
            names = ("request_id", "provider", "database", "key", "cause", "message")
            self._failures.appendleft({"at": round(self._clock()), **{name: fields[name] for name in names}})

    def _forget(self, hour: int) -> None:
        for place in [place for place in self._hours if place[0] <= hour - HOURS]:
            del self._hours[place]

    def day(self) -> list[dict[str, Any]]:
        """Figures of the last HOURS hours by provider, database and key, most answers first."""
        hour = int(self._clock() // 3600)
        sums: dict[tuple[str, str, str], list[int]] = {}
        for (when, *place), figures in self._hours.items():
            if when > hour - HOURS:
                total = sums.setdefault((place[0], place[1], place[2]), [0, 0, 0, 0])
                for n, value in enumerate(figures):
                    total[n] += value
        rows = [
            {"provider": provider, "database": database or None, "key": key or None}
            | dict(zip(_FIGURES, figures, strict=True))
            for (provider, database, key), figures in sums.items()
        ]
        return sorted(rows, key=lambda row: -row["answers"])

    def failures(self) -> list[dict[str, Any]]:
        """The last failures, the newest first, with their request ids."""
        return list(self._failures)
