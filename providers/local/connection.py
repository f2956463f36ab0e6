"""One socket between a worker and one engine: a reading and a writing greenlet, and a mailbox per sequence.

It uses gevent explicitly, so it works with and without monkey-patching.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event
from gevent.hub import get_hub

from providers.errors import BrokenProtocol, EngineDied, EngineTimeout, ProviderError, Unreachable
from providers.local.wire import (
    BrokenFrame,
    Cancel,
    Down,
    Failed,
    Hello,
    Inquire,
    Piece,
    Report,
    Step,
    frame,
    from_engine,
)

# When a server starts, a worker may be ready before the supervisor listens.
APPEARS_WITHIN_S = 5.0


class Connection:
    """One socket to one engine, from connect to end of file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hello: Hello | None = None
        self.down: Down | None = None
        self.ended: ProviderError | None = None
        # The share of the engine's KV blocks that was free after its latest step.
        self.free = 1.0
        # True once the supervisor's socket accepted the connection, even if no engine runs yet.
        self.connected = False
        # Set when the first of hello, down or the end has arrived.
        self.known = Event()
        self.sequences: dict[int, Mailbox] = {}
        self.reports: list[Mailbox] = []
        self._ids = itertools.count(1)
        self._unsent: deque[bytes] = deque()
        self._more = Event()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._greenlets = [gevent.spawn(self._run)]

    @property
    def usable(self) -> bool:
        return self.ended is None and self.down is None

    def next_id(self) -> int:
        return next(self._ids)

    def send(self, message: bytes | Cancel | Inquire) -> None:
        """Queue a message, or a frame; never waits, so it may be called while a greenlet is being killed."""
        self._unsent.append(message if isinstance(message, bytes) else frame(message))
        self._more.set()

    def close(self) -> None:
        """Close the socket; the engine then cancels this connection's sequences."""
        self._end(EngineDied("the connection to the local engine was closed"))
        for greenlet in self._greenlets:
            if greenlet is not gevent.getcurrent():
                greenlet.kill(block=False)

    def _run(self) -> None:
        try:
            self._connect()
            self.connected = True
            self._greenlets.append(gevent.spawn(self._write))
            self._read()
            self._end(self._why())
        except FileNotFoundError:
            self._end(Unreachable("no local engine is running for this provider", request_sent=False))
        except BrokenFrame as error:
            self._end(BrokenProtocol(f"the local engine sent {error}"))
        except OSError:
            self._end(self._why())

    def _connect(self) -> None:
        last = time.monotonic() + APPEARS_WITHIN_S
        while True:
            try:
                self._sock.connect(str(self.path))
                return
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > last:
                    raise FileNotFoundError from None
                gevent.sleep(0.05)

    def _read(self) -> None:
        frames = from_engine()
        while data := self._sock.recv(1 << 16):
            for message in frames.feed(data):
                if isinstance(message, Step):
                    self.free = message.free
                    for piece in message.pieces:
                        self._deliver(piece.id, piece)
                elif isinstance(message, Failed):
                    self._deliver(message.id, message)
                elif isinstance(message, Report):
                    for mailbox in self.reports:
                        mailbox.put(message)
                elif isinstance(message, Hello):
                    self.hello = message
                    self.known.set()
                else:
                    self.down = message
                    self.known.set()

    def _deliver(self, id: int, message: Piece | Failed) -> None:
        # An unknown id was cancelled while its last step was on its way.
        if mailbox := self.sequences.get(id):
            mailbox.put(message)

    def _write(self) -> None:
        try:
            while True:
                self._more.wait()
                self._more.clear()
                while self._unsent:
                    self._sock.sendall(self._unsent.popleft())
        except OSError:
            return  # the reading greenlet sees the end of file and reports it

    def _why(self) -> ProviderError:
        """Why the engine is gone. The supervisor notes the epoch of a silent engine before it kills it."""
        with suppress(OSError, ValueError):
            if self.hello and int(note(self.path).read_text()) == self.hello.epoch:
                return EngineTimeout("the local engine sent no heartbeat and is being restarted", retry_after=5)
        return EngineDied("the local engine died and is being restarted", retry_after=5)

    def _end(self, why: ProviderError) -> None:
        if self.ended is None:
            self.ended = why
            self.known.set()
            for mailbox in [*self.sequences.values(), *self.reports]:
                mailbox.put(why)
        self._sock.close()


def note(path: Path) -> Path:
    """The file to which the supervisor writes the epoch of a silent engine before it kills it."""
    return path.with_suffix(".silent")


class Mailbox:
    """Messages for one sequence that were not read yet; at most one greenlet waits."""

    __slots__ = ("_hub", "_waiting", "arrived")

    def __init__(self) -> None:
        self.arrived: list[Any] = []
        self._waiting: Any = None
        self._hub = get_hub()

    def put(self, message: Any) -> None:
        self.arrived.append(message)
        if self._waiting is not None:
            # Later: the reading greenlet first delivers the whole step, then the waiting ones run.
            self._hub.loop.run_callback(self._wake)

    def _wake(self) -> None:
        # Meanwhile the greenlet may have been killed or timed out, and may wait for something else.
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.switch()

    def take(self) -> list[Any]:
        """All messages that arrived; waits while there are none."""
        while not self.arrived:
            self._waiting = gevent.getcurrent()
            try:
                self._hub.switch()
            finally:
                self._waiting = None
        arrived, self.arrived = self.arrived, []
        return arrived
