"""One socket between a worker and one engine: a reader, a writer, and each sequence's mail.

Everything here is gevent's, explicitly, so it works with and without monkey-patching.
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

# The keeper may be a moment behind the worker when a server starts.
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
        # From the backlog on: the keeper is there, whether or not the engine is.
        self.connected = False
        # Set when there is something to know: hello, down, or the end.
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
        """Let go of the socket; the engine cancels what was asked over it."""
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
            self._end(Unreachable("no local engine is running for this provider", asked=False))
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

    def _deliver(self, id: int, told: Piece | Failed) -> None:
        # Unknown ids were cancelled while their last step was on its way.
        if mailbox := self.sequences.get(id):
            mailbox.put(told)

    def _write(self) -> None:
        try:
            while True:
                self._more.wait()
                self._more.clear()
                while self._unsent:
                    self._sock.sendall(self._unsent.popleft())
        except OSError:
            return  # the reader sees the end of file, and says why

    def _why(self) -> ProviderError:
        """Why the engine is gone: the keeper leaves a note before it kills one for its silence."""
        with suppress(OSError, ValueError):
            if self.hello and int(note(self.path).read_text()) == self.hello.epoch:
                return EngineTimeout(
                    "the local engine said nothing for too long, and is being restarted", retry_after=5
                )
        return EngineDied("the local engine died, and is being restarted", retry_after=5)

    def _end(self, why: ProviderError) -> None:
        if self.ended is None:
            self.ended = why
            self.known.set()
            for mailbox in [*self.sequences.values(), *self.reports]:
                mailbox.put(why)
        self._sock.close()


def note(path: Path) -> Path:
    """Where the keeper writes the epoch of an engine that it kills for its silence."""
    return path.with_suffix(".silent")


class Mailbox:
    """What came for one sequence and was not read yet; one greenlet waits at most."""

    __slots__ = ("_hub", "_waiting", "arrived")

    def __init__(self) -> None:
        self.arrived: list[Any] = []
        self._waiting: Any = None
        self._hub = get_hub()

    def put(self, told: Any) -> None:
        self.arrived.append(told)
        if self._waiting is not None:
            # Not at once: the reader first hands out the whole step, then everybody runs.
            self._hub.loop.run_callback(self._wake)

    def _wake(self) -> None:
        # The greenlet may have been killed or timed out since, and wait for something else by now.
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.switch()

    def take(self) -> list[Any]:
        """All that came; waits if that is nothing."""
        while not self.arrived:
            self._waiting = gevent.getcurrent()
            try:
                self._hub.switch()
            finally:
                self._waiting = None
        arrived, self.arrived = self.arrived, []
        return arrived
