"""The plain socket inside gevent's.

Its calls return at once or raise BlockingIOError, where gevent's own would switch to another greenlet; and its
shutdown() does not raise in the greenlet that waits for it. gevent has no public name for it.
tests/contracts/test_gevent.py names the attribute used here.
"""

from __future__ import annotations

import socket
from typing import Any

from gevent.monkey import get_original


def bare(sock: Any) -> socket.socket:
    """The plain non-blocking socket of a gevent socket."""
    plain: socket.socket = sock._sock
    return plain


def is_tls(sock: Any) -> bool:
    """Whether the gevent socket speaks TLS: then there is no plain socket to write to."""
    return hasattr(sock, "_sslobj")


def accepted(listener: Any) -> int:
    """The descriptor of a connection that waits at a gevent listener; raises BlockingIOError where none does."""
    descriptor: int = listener._accept()[0]
    return descriptor


def close_now(descriptor: int) -> None:
    """Close a descriptor that no watcher has. os.close is gevent's, which closes at the end of the loop's turn."""
    get_original("os", "close")(descriptor)
