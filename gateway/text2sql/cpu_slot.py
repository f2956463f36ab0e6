"""Computing in turns: between two statements that are judged, the event loop looks at every socket.

gevent.sleep(0) is not enough for that: the loop runs up to fifty greenlets that only gave way before it looks at its
sockets again, so two hundred statements of 2 ms each left gaps of 100 ms in everybody's stream, and leave 6 ms now.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.lock import BoundedSemaphore

T = TypeVar("T")

# Computing that comes later than this after the last turn does not wait: the loop has been round since.
APART_S = 0.005
# A timer, however short, makes the loop go round.
ROUND_S = 0.0005

_turn = BoundedSemaphore(1)
_last_at = 0.0


def in_cpu_slot(call: Callable[[], T]) -> T:
    """What `call`, some milliseconds of computing, gives; at most one such call in each round of the event loop."""
    global _last_at
    with _turn:
        if time.monotonic() - _last_at < APART_S:
            gevent.sleep(ROUND_S)
        try:
            return call()
        finally:
            _last_at = time.monotonic()
