"""The engine's sockets: workers' connections in, one message per step and worker out. Never blocks on a worker."""

from __future__ import annotations

import logging
import os
import selectors
import socket
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from providers.local.engine.loop import Loop
from providers.local.wire import Ask, BrokenFrame, Cancel, Failed, FromEngine, Hello, Piece, Step, frame, to_engine

log = logging.getLogger("sluice.engine")

# A worker that lets so much pile up has stopped reading; its connection is closed.
MAX_UNSENT_BYTES = 64 << 20
BEAT_S = 1.0
READ_BYTES = 1 << 18


class Connection:
    """One worker. What its socket does not take at once is sent as it drains."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.frames = to_engine()
        self.unsent = bytearray()

    def send(self, message: FromEngine) -> None:
        """Raises OSError if the worker is gone or has stopped reading."""
        self.unsent += frame(message)
        self.flush()
        if len(self.unsent) > MAX_UNSENT_BYTES:
            raise OSError("the worker does not read")

    def flush(self) -> None:
        while self.unsent:
            try:
                sent = self.sock.send(self.unsent)
            except BlockingIOError:
                return
            del self.unsent[:sent]


class Server:
    """Runs the loop for whoever connects, until the keeper goes.

    listener   the keeper's listening socket
    beat       called every step and at least every second
    keeper     the process that started this one
    """

    def __init__(
        self,
        listener: socket.socket,
        loop: Loop,
        hello: Hello,
        report: Callable[[], FromEngine],
        beat: Callable[[], None],
        keeper: int,
    ) -> None:
        self._listener = listener
        self._loop = loop
        self._hello = hello
        self._report = report
        self._beat = beat
        self._keeper = keeper
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        # Wakes the server, where it has nothing else to do, when a request is prepared.
        self._prepared = os.eventfd(0, os.EFD_NONBLOCK)
        self._selector.register(self._prepared, selectors.EVENT_READ)
        loop.preparation.wake = partial(os.eventfd_write, self._prepared, 1)
        self._connections: dict[int, Connection] = {}

    def run(self) -> None:
        """Serve until the keeper is gone."""
        while os.getppid() == self._keeper:
            self.turn(BEAT_S)

    def turn(self, timeout: float) -> None:
        """Take what workers have sent, waiting up to `timeout` seconds where there is nothing to do; then one step."""
        self._attend(0 if self._loop.busy else timeout)
        self._beat()
        if self._loop.busy:
            self._send_step()

    def _attend(self, timeout: float) -> None:
        """Take what workers have sent, so that a cancel or a new question counts in the very next step."""
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
                continue
            if key.fileobj == self._prepared:
                os.eventfd_read(self._prepared)
                continue
            connection: Connection = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    connection.flush()
                if events & selectors.EVENT_READ:
                    self._read(connection)
                self._watch(connection)
            except (OSError, BrokenFrame) as error:
                self._close(connection, error)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        connection = Connection(sock)
        self._connections[sock.fileno()] = connection
        self._selector.register(sock, selectors.EVENT_READ, connection)
        self._send(connection, self._hello)

    def _read(self, connection: Connection) -> None:
        # All that is there: a long question must not take as many steps as it has reads.
        while True:
            try:
                data = connection.sock.recv(READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                raise OSError("closed")
            for message in connection.frames.feed(data):
                self._take(connection, message)
            if len(data) < READ_BYTES:
                return

    def _take(self, connection: Connection, message: Any) -> None:
        owner = connection.sock.fileno()
        if isinstance(message, Cancel):
            self._loop.cancel((owner, message.id))
        elif not isinstance(message, Ask):
            connection.send(self._report())
        elif message.epoch != self._hello.epoch:
            connection.send(Failed(message.id, "engine_died", "the question was meant for an engine that is gone"))
        elif failed := self._loop.ask((owner, message.id), message):
            connection.send(failed)

    def _send_step(self) -> None:
        sent = self._loop.step()
        pieces: defaultdict[int, list[Piece]] = defaultdict(list)
        for (owner, _), told in sent:
            if isinstance(told, Piece):
                pieces[owner].append(told)
        free = self._loop.scheduler.blocks.free_share
        messages: list[tuple[int, FromEngine]] = [(owner, Step(mine, free)) for owner, mine in pieces.items()]
        messages += [(owner, told) for (owner, _), told in sent if isinstance(told, Failed)]
        for owner, message in messages:
            # A connection that does not take the one is closed before the other.
            if owner in self._connections:
                self._send(self._connections[owner], message)

    def _send(self, connection: Connection, message: FromEngine) -> None:
        try:
            connection.send(message)
            self._watch(connection)
        except OSError as error:
            self._close(connection, error)

    def _watch(self, connection: Connection) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
        if self._selector.get_key(connection.sock).events != wanted:
            self._selector.modify(connection.sock, wanted, connection)

    def _close(self, connection: Connection, why: Exception) -> None:
        owner = connection.sock.fileno()
        if isinstance(why, BrokenFrame):
            log.warning("a worker's connection is closed: %s", why)
        self._selector.unregister(connection.sock)
        del self._connections[owner]
        connection.sock.close()
        self._loop.cancel_all(owner)
