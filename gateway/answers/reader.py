"""One client that follows one answer, in one format, from one event on."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from enum import Enum, auto
from typing import Protocol

from gevent.event import Event

from gateway.answers.client import Client
from gateway.answers.events import Batch
from gateway.answers.followable import Followable, Stage
from gateway.http_chunks import split

log = logging.getLogger("sluice")

# Bytes of the log that one write of a reader behind the answer takes.
CATCH_UP_BYTES = 64 << 10


class Format(Protocol):
    """A form of the reply, as in gateway/formats.

    opening  sent with the head
    ping     sent after every heartbeat_s of silence; b"" where the form has no room for a comment
    """

    content_type: str
    opening: bytes
    ping: bytes

    def write(self, batch: Batch) -> bytes:
        """The batch in this form; b"" where it has nothing to say about it."""


class Progress(Enum):
    """How far a reader is.

    NEW ──first piece──▶ BEHIND ◀──socket full── PUSHED
                          │   └──log read up──────▲  │
                          └──────last piece──▶ FINISHED ◀──last piece
    each of them ──client left, or is cut──▶ GONE

    NEW, BEHIND   the reader's greenlet reads the log at the client's pace; nothing is buffered for it alone
    PUSHED        the producer writes each batch straight into the socket, without waking the greenlet
    FINISHED      the last piece was handed to the socket, which may not have taken all of it
    GONE          nothing is written any more
    """

    NEW = auto()
    BEHIND = auto()
    PUSHED = auto()
    FINISHED = auto()
    GONE = auto()


# Of an Enum's class each look at a member costs a call in Python 3.11, and these are looked at for each chunk.
_PUSHED, _ENDED = Progress.PUSHED, Stage.ENDED


class Reader:
    """One client following one answer, in one format, from one event on.

    Its greenlet sleeps until there is something to do that the producer's push does not do: a heartbeat, the end, a
    disconnect, or a client too slow to take what was pushed.
    """

    def __init__(self, answer: Followable, form: Format, client: Client | None, after: int = 0) -> None:
        self.answer = answer
        self.form = form
        self.client = client
        self.position = after
        self.progress = Progress.NEW
        self.wrote_at = 0.0
        self._woken = Event()
        # Framed bytes that the socket has not taken yet.
        self._rest = b""
        if client is not None:
            client.watch(self._left)
        answer.join(self)

    @property
    def gone(self) -> bool:
        """Whether the client has left, or was cut."""
        return self.progress is Progress.GONE

    def _left(self) -> None:
        self.progress = Progress.GONE
        self._woken.set()

    def cut(self) -> None:
        """Cut the connection: how the answer goes on is unknown here, and the client should come back."""
        self._left()
        if self.client is not None:
            self.client.drop()

    def push(self, batch: Batch) -> None:
        """Called by the answer for each batch, when the log has it; never blocks."""
        if self.progress is not _PUSHED:
            self._woken.set()
            return
        self.position = batch.first + len(batch.ends) - 1
        try:
            data = self.form.write(batch)
        except Exception:
            # An error in one reader's format must reach neither the producer nor other readers.
            log.exception("a batch could not be written in one reader's format")
            self._left()
            return
        if self.answer.stage is not _ENDED:
            if data:
                self.wrote_at = time.monotonic()
                try:
                    rest = self.client.send_now(data)  # type: ignore[union-attr]
                except OSError:
                    self._left()
                    return
                if rest:
                    # The socket is full: the greenlet takes over.
                    self._rest = rest
                    self.progress = Progress.BEHIND
                    self._woken.set()
            return
        self._send(data, last=True)
        if not self.gone:
            self.progress = Progress.FINISHED
        self._woken.set()

    def _send(self, data: bytes, *, last: bool = False) -> None:
        self.wrote_at = time.monotonic()
        try:
            self._rest = self.client.send_now(data, last=last)  # type: ignore[union-attr]
        except OSError:
            self._left()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for something new, the end or a disconnect; False if `timeout_s` passed first."""
        if not self._woken.wait(timeout_s):
            return False
        self._woken.clear()
        return True

    def hold(self, timeout_s: float | None) -> None:
        """Wait for the first delta, the end, or a disconnect, at most `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not (self.answer.spoke or self.answer.ended or self.gone):
            if not self.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
                return

    def until_ended(self) -> None:
        """Wait for the answer's end or a disconnect."""
        while not (self.answer.ended or self.gone):
            self.wait(None)

    def close(self) -> None:
        """Follow no more; may be called again."""
        if self.client is not None:
            self.client.unwatch()
        self.answer.leave(self)

    def pieces(self, heartbeat_s: float, write_timeout_s: float) -> Iterator[bytes]:
        """The body of the reply, for a WSGI server. Never raises.

        Under gunicorn it yields nothing: head and body go past gunicorn's response object into the socket, with one
        system call for each batch.
        """
        if self.client is not None:
            self._pump(self.client, heartbeat_s, write_timeout_s)
            return
        # The first piece, which may be empty, makes the server send the head.
        yield from split(self.form.opening + self._taken())
        yield from self._plainly(heartbeat_s)

    def _taken(self) -> bytes:
        """The next events of the log in this form, about CATCH_UP_BYTES of them; b"" if there are none."""
        batch = self.answer.after(self.position, CATCH_UP_BYTES)
        if batch is None:
            return b""
        self.position = batch.first + len(batch.ends) - 1
        return self.form.write(batch)

    def _behind(self) -> bool:
        return self.answer.after(self.position, 1) is not None

    def _plainly(self, heartbeat_s: float) -> Iterator[bytes]:
        while True:
            while self._behind():
                if data := self._taken():
                    yield from split(data)
            if self.answer.ended:
                return
            if not self.wait(heartbeat_s) and self.form.ping:
                yield self.form.ping

    def _pump(self, client: Client, heartbeat_s: float, write_timeout_s: float) -> None:
        self.wrote_at = time.monotonic()
        while not self.gone:
            if self.progress is not Progress.PUSHED:
                try:
                    self._catch_up(client, write_timeout_s)
                except OSError:  # TimeoutError is one
                    break
                if self.progress is Progress.FINISHED:
                    return
            silent_s = time.monotonic() - self.wrote_at
            if silent_s >= heartbeat_s:
                self._ping()
                silent_s = 0.0
            self.wait(max(0.001, heartbeat_s - silent_s))
        client.drop()

    def _ping(self) -> None:
        if self.form.ping and self.progress is Progress.PUSHED:
            self._send(self.form.ping)
            if self._rest and not self.gone:
                self.progress = Progress.BEHIND
                self._woken.set()

    def _catch_up(self, client: Client, write_timeout_s: float) -> None:
        """Send what is missing at the client's own pace; then the producer pushes again."""
        while not self.gone:
            if self._rest:
                rest, self._rest = self._rest, b""
                client.send_rest(rest, write_timeout_s)
                self.wrote_at = time.monotonic()
            elif self.progress is Progress.FINISHED:
                return
            elif self.progress is Progress.NEW or self._behind():
                data = self.form.opening if self.progress is Progress.NEW else b""
                data += self._taken()
                last = self.answer.ended and not self._behind()
                # Before the write: a disconnect that shows in it must not be overwritten.
                self.progress = Progress.FINISHED if last else Progress.BEHIND
                self._rest = client.send_now(data, last=last)
            else:
                # No greenlet switch between the look into the log and this line, so no batch is missed.
                self.progress = Progress.PUSHED
                return
