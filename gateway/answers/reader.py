"""One client that follows one answer, in one form, from one event on."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Protocol

from gevent.event import Event

from gateway.answers.client import Client
from gateway.answers.events import Batch
from gateway.answers.followable import Followed

log = logging.getLogger("sluice")

# What one write of a reader that lags takes from the log.
CATCH_UP_BYTES = 64 << 10


class Writing(Protocol):
    """A form of the reply, as gateway/formats/native.py has them."""

    content_type: str
    opening: bytes
    ping: bytes

    def write(self, batch: Batch) -> bytes:
        """The batch in this form; b"" where it has nothing to say about it."""


class Reader:
    """One client following one answer, in one form, from one event on.

    The answer's producer pushes every batch straight into the client's socket, without waking this reader's greenlet.
    That greenlet sleeps until there is something else to do: a heartbeat, the end, a client that left, or one too slow
    to take what was pushed. Then it reads on from the log at the client's pace; nothing is buffered for it alone.
    """

    def __init__(self, answer: Followed, form: Writing, client: Client | None, after: int = 0) -> None:
        self.answer = answer
        self.form = form
        self.client = client
        self.position = after
        self.gone = False
        self.wrote_at = 0.0
        self._woken = Event()
        self._pushing = False
        # The first and the last piece have been handed to the socket, and what the socket did not take of it.
        self._begun = self._finished = False
        self._rest = b""
        if client is not None:
            client.watch(self._left)
        answer.join(self)

    def _left(self) -> None:
        self.gone = True
        self._woken.set()

    def cut(self) -> None:
        """Cut the connection: what follows cannot be known here now, and the client should come back."""
        self._left()
        if self.client is not None:
            self.client.drop()

    def push(self, batch: Batch) -> None:
        """Called by the answer for each batch, when the log has it; never blocks."""
        if not self._pushing:
            self._woken.set()
            return
        self.position = batch.first + len(batch.ends) - 1
        self._finished = self.answer.ended
        try:
            data = self.form.write(batch)
        except Exception:
            # A fault in one reader's form must not reach the producer, or other readers.
            log.exception("an answer could not be written for one of its readers")
            self._left()
            return
        self._send(data, last=self._finished)
        if self._finished:
            self._woken.set()

    def _send(self, data: bytes, *, last: bool = False) -> None:
        if not (data or last) or self.gone:
            return
        self.wrote_at = time.monotonic()
        try:
            self._rest = self.client.send_now(data, last=last)  # type: ignore[union-attr]
        except OSError:
            self._left()
            return
        if self._rest:
            # Too slow for now: its own greenlet goes on from here.
            self._pushing = False
            self._woken.set()

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for something new, the end or the client's leaving; False if `timeout_s` passed first."""
        if not self._woken.wait(timeout_s):
            return False
        self._woken.clear()
        return True

    def hold(self, timeout_s: float | None) -> None:
        """Wait for the first delta, the end, or the client's leaving, at most `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not (self.answer.spoke or self.answer.ended or self.gone):
            if not self.wait(None if deadline is None else max(0.0, deadline - time.monotonic())):
                return

    def until_ended(self) -> None:
        """Wait for the answer's end or the client's leaving."""
        while not (self.answer.ended or self.gone):
            self.wait(None)

    def close(self) -> None:
        """The client is gone, or has everything; may be called again."""
        if self.client is not None:
            self.client.unwatch()
        self.answer.leave(self)

    def pieces(self, heartbeat_s: float, write_timeout_s: float) -> Iterator[bytes]:
        """The body of the reply, for a WSGI server. Never raises.

        Under gunicorn there are no pieces: head and body go past its response object into the socket, with one system
        call for each batch, as it comes.
        """
        if self.client is not None:
            self._pump(self.client, heartbeat_s, write_timeout_s)
            return
        # The first piece, which may be empty, is also the sign for the server to send the head.
        yield self.form.opening + self._taken()
        yield from self._plainly(heartbeat_s)

    def _taken(self) -> bytes:
        """What the log has for this reader, up to CATCH_UP_BYTES; b"" if nothing."""
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
                    yield data
            if self.answer.ended:
                return
            if not self.wait(heartbeat_s) and self.form.ping:
                yield self.form.ping

    def _pump(self, client: Client, heartbeat_s: float, write_timeout_s: float) -> None:
        self.wrote_at = time.monotonic()
        while not self.gone:
            if not self._pushing:
                try:
                    self._catch_up(client, write_timeout_s)
                except OSError:  # TimeoutError is one
                    break
            if self._finished and not self._rest:
                return
            silent_s = time.monotonic() - self.wrote_at
            if silent_s >= heartbeat_s:
                self._send(self.form.ping)
                silent_s = 0.0
            self.wait(max(0.001, heartbeat_s - silent_s))
        client.drop()

    def _catch_up(self, client: Client, write_timeout_s: float) -> None:
        """Send what is missing at the client's own pace, then let the producer push again."""
        while not self.gone:
            if self._rest:
                rest, self._rest = self._rest, b""
                client.send_rest(rest, write_timeout_s)
                self.wrote_at = time.monotonic()
            elif not self._begun or self._behind():
                data = self._taken() if self._begun else self.form.opening + self._taken()
                self._begun = True
                self._finished = self.answer.ended and not self._behind()
                self._rest = client.send_now(data, last=self._finished)
            else:
                # No switch between the look into the log and this line, so nothing is missed.
                self._pushing = not self._finished
                return
