"""Ended answers, kept for a while: so long as their age allows, and no more bytes of them than a worker can hold."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import gevent

if TYPE_CHECKING:
    from gateway.answers.answers import Answer

# Ended answers are kept for log_age_s, but no more of them than this, so that a busy worker's memory is bounded.
KEPT_BYTES = 256 << 20
# What an ended answer takes beside its log.
KEPT_BESIDE_BYTES = 4 << 10
SWEEP_S = 1.0


class Kept:
    """
    forget   called with each that is kept no longer
    """

    def __init__(self, age_s: float, forget: Callable[[Answer], None]) -> None:
        self._age_s = age_s
        self._forget = forget
        # With the bytes that each was added for: what it takes later is not asked again.
        self._all: deque[tuple[Answer, int]] = deque()
        self._bytes = 0
        self._sweeper: gevent.Greenlet | None = None

    def add(self, answer: Answer, size_bytes: int) -> None:
        """Keep it; the oldest go where there is no room for all."""
        size_bytes += KEPT_BESIDE_BYTES
        self._all.append((answer, size_bytes))
        self._bytes += size_bytes
        while self._bytes > KEPT_BYTES and self._all:
            self._drop()
        if not self._sweeper:
            self._sweeper = gevent.spawn(self._sweep)

    def _drop(self) -> None:
        answer, size_bytes = self._all.popleft()
        self._bytes -= size_bytes
        self._forget(answer)

    def _sweep(self) -> None:
        while self._all:
            oldest_s = time.monotonic() - self._all[0][0].ended_at
            if oldest_s < self._age_s:
                gevent.sleep(max(min(SWEEP_S, self._age_s), self._age_s - oldest_s))
            else:
                self._drop()
