"""Accepting connections: a few in one turn of the event loop, and with an answer where descriptors have run out."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import socket
import time
from typing import Any

from gevent.server import StreamServer

from gateway.answers.headroom import RESERVED_FROM_LISTENER
from gateway.bare_socket import accepted, close_now
from gateway.server.refusals import OVERLOADED

log = logging.getLogger("sluice.workers")

# Connections accepted in one turn of the loop. Each costs 1 to 3 ms with its question; gevent's 100 made the 99th
# percentile between two chunks of 500 streams two to three times longer.
ACCEPTS_PER_TURN = 8
# Seconds without accepting, where not even the spare descriptor can be had.
PAUSE_S = 0.1
# Seconds between two log lines about it.
LOG_EVERY_S = 10.0


def descriptors_for_clients() -> int:
    """How many descriptors the process may open before new connections are refused."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - RESERVED_FROM_LISTENER


class Listener(StreamServer):
    """gevent's server. When the process has no descriptor left, a spare one carries the refusal."""

    max_accept = ACCEPTS_PER_TURN

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._spare: int | None = os.open(os.devnull, os.O_RDONLY)
        self._logged_at = float("-inf")
        self._limit = descriptors_for_clients()

    def do_read(self) -> Any:
        try:
            accepted_pair = super().do_read()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            # Somebody may have lowered the limit of the running process.
            self._limit = descriptors_for_clients()
            self._refuse_next()
            # As if no connection had come: the loop goes round once before the next one.
            return None
        if accepted_pair and accepted_pair[0].fileno() >= self._limit:
            self._refuse(accepted_pair[0].detach())
            return None
        return accepted_pair

    def _refuse_next(self) -> None:
        """Accept a connection with the spare descriptor, and refuse it."""
        if self._spare is not None:
            close_now(self._spare)
            self._spare = None
        with contextlib.suppress(OSError):
            self._refuse(accepted(self.socket))
        try:
            self._spare = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            # Another file took it. The waiting connection keeps the listener readable: without a pause the loop would
            # do nothing else.
            self.stop_accepting()
            self._timer = self.loop.timer(PAUSE_S)
            self._timer.start(self._start_accepting_if_started)

    def _refuse(self, descriptor: int) -> None:
        with contextlib.suppress(OSError), socket.socket(fileno=descriptor) as client:
            client.setblocking(False)
            # A request that was not read would make the system reset the connection, and lose the reply.
            with contextlib.suppress(OSError):
                client.recv(1 << 16)
            client.send(OVERLOADED.reply())
            client.shutdown(socket.SHUT_WR)
        now = time.monotonic()
        if now - self._logged_at >= LOG_EVERY_S:
            self._logged_at = now
            log.error("out of file descriptors: new connections are refused as overloaded; raise the limit (ulimit -n)")
