"""The circuit breaker of one provider: after failures it is not asked for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from providers.errors import (
    BrokenProtocol,
    CutOff,
    Overloaded,
    ProviderError,
    TimedOut,
    TooLarge,
    Unreachable,
    UpstreamFailed,
)

# Not EngineDied and EngineTimeout: the engine's supervisor knows when it serves again, and says so at once. Nor
# EngineFailed: the engine goes on, and what it failed on was one request.
AGAINST_THE_UPSTREAM = (Unreachable, TimedOut, UpstreamFailed, BrokenProtocol, CutOff)


class Breaker:
    """Opens after `failures` in a row; after `open_s` one question is let through, and its fate decides."""

    def __init__(self, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> str:
        """closed, open or half_open."""
        if self._opened is None:
            return "closed"
        return "open" if self._clock() < self._opened + self._open_s else "half_open"

    def admit(self) -> bool:
        """Let a question through? Raises Overloaded if not; True if it is the probe that decides."""
        if self._opened is None:
            return False
        left = self._opened + self._open_s - self._clock()
        if left > 0 or self._probing:
            raise Overloaded(
                "it failed several times in a row and is given a rest", retry_after=max(1.0, round(left, 1))
            )
        self._probing = True
        return True

    def answered(self) -> None:
        """It begins to answer: enough to trust it with more questions again."""
        self._opened = None
        self._probing = False

    def succeeded(self) -> None:
        """An answer was completed."""
        self._failures = 0

    def failed(self, error: ProviderError) -> None:
        """Count what speaks against the upstream, not what speaks against the question or the key."""
        if not isinstance(error, AGAINST_THE_UPSTREAM) or isinstance(error, TooLarge):
            return
        self._failures += 1
        if self._failures >= self._limit or self._opened is not None:
            self._opened = self._clock()

    def released(self) -> None:
        """The probe is over, whatever came of it."""
        self._probing = False
