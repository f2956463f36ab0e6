"""How often one caller may ask: `limits.requests`, such as "60/minute", counted in memory or in Redis."""

from __future__ import annotations

import ipaddress
import logging
import time

from flask import Request
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import MovingWindowRateLimiter

from gateway.errors import Failure

log = logging.getLogger("sluice")

# A question waits no longer than this to be counted.
TIMEOUT_S = 1.0


class Rate:
    def __init__(self, requests: str | None, redis_url: str | None = None) -> None:
        self._items: list[RateLimitItem] = parse_many(requests) if requests else []
        storage: Storage = MemoryStorage()
        if redis_url and self._items:
            storage = RedisStorage(redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
        self._limiter = MovingWindowRateLimiter(storage)

    def count(self, caller: str) -> None:
        """Count one question of `caller`; raises Failure (429) if it is one too many."""
        for item in self._items:
            try:
                if self._limiter.hit(item, caller):
                    continue
                reset_s = self._limiter.get_window_stats(item, caller).reset_time - time.time()
            except Exception as error:  # whatever the store raises: questions are not refused because it is down
                log.warning("questions are not counted: %s", type(error).__name__)
                return
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
