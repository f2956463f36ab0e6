"""The circuit breaker of one provider: where too many questions fail, it is not asked for a while."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from providers.errors import (
    BrokenProtocol,
    CutOff,
    Overloaded,
    ProviderError,
    RateLimited,
    TimedOut,
    TooLarge,
    Unreachable,
    UpstreamFailed,
)

# Not EngineDied and EngineTimeout: the engine's supervisor knows when it serves again, and says so at once. Nor
# EngineFailed: the engine goes on, and what it failed on was one request.
AGAINST_THE_UPSTREAM = (Unreachable, TimedOut, UpstreamFailed, BrokenProtocol, CutOff)


FIRST_REST_S = 2.0  # after so long one question is let through; each failing probe doubles it, up to open_s
MAX_OUTCOMES = 10_000
RETRIES_S = 10.0  # the same question failing again within it is its client trying again


class Settings(Protocol):
    """The configuration's section `breaker`."""

    rate: float
    window_s: float
    at_least: int
    open_s: float


class State(StrEnum):
    """
    CLOSED ──failure rate over the window──▶ OPEN ──its rest is over──▶ HALF_OPEN ──one question is let through──┐
      ▲                                       ▲ └────── the probe fails: twice as long a rest, up to open_s ◀────┤
      └──────────────────────────────────────────────── the probe is answered, or the upstream is busy ◀────────┘
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Opens on a failure rate over a window; what one caller tries again within it is one question.

    Busy (429, 503, an engine's full queue) is back-pressure, and neither a failure nor a success.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._outcomes: deque[tuple[float, str, bool]] = deque(maxlen=MAX_OUTCOMES)  # when, which question, failed
        self._rest_until = 0.0
        self._rest_s = 0.0  # 0 while it is closed
        self._probing = False

    @property
    def state(self) -> str:
        """closed, open or half_open."""
        if not self._rest_s:
            return State.CLOSED
        return State.OPEN if self._clock() < self._rest_until else State.HALF_OPEN

    def admit(self) -> bool:
        """Let a question through? Raises Overloaded if not; True if it is the probe that decides."""
        if not self._rest_s:
            return False
        left = self._rest_until - self._clock()
        if left > 0 or self._probing:
            raise Overloaded("it failed too often and is given a rest", retry_after=max(1.0, round(left, 1)))
        self._probing = True
        return True

    def answered(self) -> None:
        """It begins to answer: enough to trust it with more questions again."""
        if self._rest_s:
            self._outcomes.clear()
        self._rest_s, self._probing = 0.0, False

    def succeeded(self) -> None:
        """An answer was completed."""
        self._outcomes.append((self._clock(), "", False))

    def failed(self, error: ProviderError, question: str = "") -> None:
        """Count what speaks against the upstream, not what speaks against the question or the key.

        question  the same for one caller's tries of one question; "" is a question of its own
        """
        if isinstance(error, RateLimited) or (isinstance(error, UpstreamFailed) and error.upstream_said_retry):
            if self._probing:
                self.answered()  # it is there, and busy
            return
        if not isinstance(error, AGAINST_THE_UPSTREAM) or isinstance(error, TooLarge):
            return
        now = self._clock()
        if self._rest_s:
            if self._probing:
                self._open(now, min(self._settings.open_s, 2 * self._rest_s))
            return
        while self._outcomes and self._outcomes[0][0] < now - self._settings.window_s:
            self._outcomes.popleft()
        if question and any(name == question and now - when < RETRIES_S for when, name, _ in self._outcomes):
            return
        self._outcomes.append((now, question, True))
        failures = sum(is_failure for _, _, is_failure in self._outcomes)
        total = len(self._outcomes)
        if total >= self._settings.at_least and failures >= self._settings.rate * total:
            self._open(now, min(self._settings.open_s, FIRST_REST_S))

    def released(self) -> None:
        """The probe is over, whatever came of it."""
        self._probing = False

    def _open(self, now: float, rest_s: float) -> None:
        self._rest_s, self._rest_until = rest_s, now + rest_s
        self._outcomes.clear()
