"""How often one caller may ask: "60/minute" in `limits` or in the caller's key, counted in memory or in Redis."""

from __future__ import annotations

import logging
import math
import time

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter

from gateway.errors import Failure

log = logging.getLogger("sluice")

# A question waits no longer than this to be counted.
TIMEOUT_S = 1.0
# After a failure of Redis this worker counts for itself for so long, so that not every question waits for it.
AGAIN_S = 5.0


class Rate:
    def __init__(self, requests: str | None, redis_url: str | None = None) -> None:
        self._items: list[RateLimitItem] = parse_many(requests) if requests else []
        # Rates of single keys, parsed once.
        self._of: dict[str, list[RateLimitItem]] = {}
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._shared: MovingWindowRateLimiter | None = None
        if redis_url:
            storage = RedisStorage(redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
            self._shared = MovingWindowRateLimiter(storage)
        self._again_at = 0.0

    def limits(self, requests: str | None = None) -> bool:
        """Whether `count` with the same `requests` could refuse anything."""
        return requests is not None or bool(self._items)

    def count(self, caller: str, requests: str | None = None) -> None:
        """Count one question; raises Failure (429) if it is one too many. `requests` replaces the rate of `limits`."""
        if requests is not None and requests not in self._of:
            self._of[requests] = parse_many(requests)
        items = self._items if requests is None else self._of[requests]
        if not items:
            return
        if self._shared is not None and time.monotonic() >= self._again_at:
            try:
                self._count(self._shared, items, caller)
                return
            except Failure:
                raise
            except Exception as error:  # noqa: BLE001 - no fault of the store may refuse a question
                log.warning("each worker counts questions for itself: %s", type(error).__name__)
                self._again_at = time.monotonic() + AGAIN_S
        self._count(self._own, items, caller)

    def _count(self, limiter: MovingWindowRateLimiter, items: list[RateLimitItem], caller: str) -> None:
        for item in items:
            if not limiter.hit(item, caller):
                reset_s = limiter.get_window_stats(item, caller).reset_time - time.time()
                message = f"limits.requests: at most {item} may be asked; ask again in {max(1, math.ceil(reset_s))} s"
                raise Failure("rate_limited", message, retry_after=max(1.0, reset_s))
