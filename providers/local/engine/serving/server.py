"""The engine's sockets: accepts workers, and sends each one message per step. Never blocks on a worker."""

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

# A worker with so many unsent bytes has stopped reading; its connection is closed.
MAX_UNSENT_BYTES = 64 << 20
HEARTBEAT_S = 1.0
READ_BYTES = 1 << 18


class Connection:
    """One worker's connection. Bytes that its socket does not take at once are sent as it drains."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.frames = to_engine()
        self.unsent = bytearray()

    def send(self, message: FromEngine) -> None:
        """Send a message. Raises OSError if the worker has gone or stopped reading."""
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
    """Runs the loop for the connected workers until the supervisor exits.

    listener   the supervisor's listening socket
    heartbeat       called every step and at least every second
    supervisor     the parent's process id
    """

    def __init__(
        self,
        listener: socket.socket,
        loop: Loop,
        hello: Hello,
        report: Callable[[], FromEngine],
        heartbeat: Callable[[], None],
        supervisor: int,
    ) -> None:
        self._listener = listener
        self._loop = loop
        self._hello = hello
        self._report = report
        self._heartbeat = heartbeat
        self._supervisor = supervisor
        self._selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)
        # Wakes an idle server when a request is preprocessed.
        self._prepared = os.eventfd(0, os.EFD_NONBLOCK)
        self._selector.register(self._prepared, selectors.EVENT_READ)
        loop.preprocessing.wake = partial(os.eventfd_write, self._prepared, 1)
        self._connections: dict[int, Connection] = {}

    def run(self) -> None:
        """Serve until the supervisor exits."""
        while os.getppid() == self._supervisor:
            self.turn(HEARTBEAT_S)

    def turn(self, timeout: float) -> None:
        """Read the workers' messages, for up to `timeout` seconds if idle; then run one step."""
        self._attend(0 if self._loop.busy else timeout)
        self._heartbeat()
        if self._loop.busy:
            self._send_step()

    def _attend(self, timeout: float) -> None:
        """Read the workers' messages before each step, so that a cancel or a request takes effect in it."""
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
        # Read all that arrived: a long request must not take a step per read.
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
            connection.send(Failed(message.id, "engine_died", "the request was sent to an engine that has ended"))
        elif failed := self._loop.ask((owner, message.id), message):
            connection.send(failed)

    def _send_step(self) -> None:
        sent = self._loop.step()
        pieces: defaultdict[int, list[Piece]] = defaultdict(list)
        for (owner, _), piece in sent:
            if isinstance(piece, Piece):
                pieces[owner].append(piece)
        free = self._loop.scheduler.blocks.free_share
        messages: list[tuple[int, FromEngine]] = [(owner, Step(mine, free)) for owner, mine in pieces.items()]
        messages += [(owner, failed) for (owner, _), failed in sent if isinstance(failed, Failed)]
        for owner, message in messages:
            # A failed send closes the connection; its later messages are dropped.
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
