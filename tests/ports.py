"""Ports for servers that have to be told one."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import re
import socket

# Below the ports that the system gives to clients and for port 0, so that none is taken between now and its use. No
# port is given twice, because the servers of one run start at the same time.
FIRST, LAST = 15_000, 32_000
# Of pytest's parallel workers (gw0, gw1, …) each has ports that no other has.
MOST_WORKERS = 16
_worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % MOST_WORKERS
_own = range(FIRST + _worker, LAST, MOST_WORKERS)
_ports = itertools.cycle(random.SystemRandom().sample(_own, len(_own)))


def free_port() -> int:
    """A port on which nobody listens."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("unreachable")
