"""Ports for servers that have to be told one."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket

# Below those that the system gives to clients and to whoever asks for port 0, so that nobody takes one between now and
# its use; and none twice, for the servers of one run start at the same time.
_ports = itertools.cycle(random.SystemRandom().sample(range(15_000, 32_000), 17_000))


def free_port() -> int:
    """A port on which nobody listens."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("unreachable")
