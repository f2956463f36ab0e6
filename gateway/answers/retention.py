"""Ended answers: kept for log_age_s, and only as many as fit into KEPT_BYTES of memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import gevent

from gateway.answers.production import Answer

# Bytes of ended answers that one worker keeps at most, however young they are.
KEPT_BYTES = 256 << 20
# Bytes that an ended answer takes beside its log.
KEPT_BESIDE_BYTES = 4 << 10
SWEEP_S = 1.0


class Retention:
    """
    forget   called with each answer that is dropped
    """

    def __init__(self, age_s: float, forget: Callable[[Answer], None]) -> None:
        self._age_s = age_s
        self._forget = forget
        # Each with the size it was added with, which is subtracted again when it is dropped.
        self._all: deque[tuple[Answer, int]] = deque()
        self._bytes = 0
        self._sweeper: gevent.Greenlet | None = None

    def add(self, answer: Answer, size_bytes: int) -> None:
        """Keep it; the oldest answers are dropped where the room does not suffice."""
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
