"""Waiting for what has no event to wait for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TypeVar

import redis

T = TypeVar("T")


def eventually(
    holds: Callable[[], T | None],
    timeout_s: float = 20.0,
    every_s: float = 0.02,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """The first true value of `holds`; raises TimeoutError where there is none within `timeout_s`.

    Errors of a connection count as "not yet": a server listens before it serves.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError, redis.ConnectionError):
            if found := holds():
                return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {timeout_s} s")
        sleep(every_s)
