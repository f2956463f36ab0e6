"""How often one caller may ask: `limits.requests`, such as "60/minute", counted in memory or in Redis."""

from __future__ import annotations

import ipaddress
import logging
import time

from flask import Request
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
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._shared: MovingWindowRateLimiter | None = None
        if redis_url and self._items:
            storage = RedisStorage(redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
            self._shared = MovingWindowRateLimiter(storage)
        self._again_at = 0.0

    def count(self, caller: str) -> None:
        """Count one question of `caller`; raises Failure (429) if it is one too many."""
        if self._shared is not None and time.monotonic() >= self._again_at:
            try:
                self._count(self._shared, caller)
                return
            except Failure:
                raise
            except Exception as error:  # noqa: BLE001 - no fault of the store may refuse a question
                log.warning("each worker counts questions for itself: %s", type(error).__name__)
                self._again_at = time.monotonic() + AGAIN_S
        self._count(self._own, caller)

    def _count(self, limiter: MovingWindowRateLimiter, caller: str) -> None:
        for item in self._items:
            if not limiter.hit(item, caller):
                reset_s = limiter.get_window_stats(item, caller).reset_time - time.time()
                raise Failure("rate_limited", f"more than {item} were asked", retry_after=max(1.0, reset_s))


def caller(owner: str, request: Request) -> str:
    """Whom a question is counted for: its key, or the address it came from, as a proxy on this machine tells it."""
    if owner:
        return owner
    address = request.remote_addr or ""
    forwarded = request.headers.get("X-Forwarded-For", "")
    try:
        if forwarded and (not address or ipaddress.ip_address(address).is_loopback):
            return forwarded.rpartition(",")[2].strip()
    except ValueError:
        pass
    return address
