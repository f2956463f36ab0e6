"""Who still listens: a client's socket, watched and written to, and the reader behind it.

A disconnect is noticed at once, in silence too: a watcher of the event loop sees the socket become readable, and a peek
tells the end from a further request. A client that closed its sending half counts as gone: browsers and nginx never do
that. The second line are heartbeats, and a deadline on writes that make no progress.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import select
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import gevent
from gevent.event import Event
from gevent.monkey import get_original

from gateway.events import Batch
from gateway.followed import Followed

log = logging.getLogger("sluice")

# What one write of a reader that lags takes from the log.
CATCH_UP_BYTES = 64 << 10


class Writing(Protocol):
    """A form of the reply, as gateway/forms.py has them."""

    content_type: str
    opening: bytes
    ping: bytes

    def write(self, batch: Batch) -> bytes:
        """The batch in this form; b"" where it has nothing to say about it."""


class Hangups:
    """Connections whose next request has come already, so that they stay readable: only their end is of interest.

    libev, and so gevent, knows "readable" alone. Linux's epoll can wait for the other end's closing by itself, and is
    in turn something to wait for: one for each worker.
    """

    def __init__(self) -> None:
        self._epoll = get_original("select", "epoll")()
        self._told: dict[int, Callable[[], None]] = {}
        self._watcher = gevent.get_hub().loop.io(self._epoll.fileno(), 1)
        self._watcher.start(self._some)

    def watch(self, descriptor: int, on_gone: Callable[[], None]) -> None:
        self._told[descriptor] = on_gone
        self._epoll.register(descriptor, select.EPOLLRDHUP)

    def unwatch(self, descriptor: int) -> None:
        if self._told.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)

    def _some(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            # One that left may have taken another with it.
            if on_gone := self._told.get(descriptor):
                self.unwatch(descriptor)
                on_gone()


_hangups: Hangups | None = None


def hangups() -> Hangups | None:
    """This worker's; None where the system cannot tell: there a leaving is noticed by the next write."""
    global _hangups
    if _hangups is None and hasattr(select, "EPOLLRDHUP"):
        _hangups = Hangups()
    return _hangups


def _end_when_silent(sock: Any, timeout_s: float) -> None:
    """Have the system end the connection of a client that vanished without a word: its power cut, its network gone.

    What was sent may be unacknowledged for `timeout_s`; where nothing is sent, probes find it out. Without this it
    takes Linux a quarter of an hour, and the upstream is paid for as long.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    # The system takes whole seconds, and no more of them than these.
    idle_s = math.ceil(min(timeout_s, 32767))
    unacknowledged_ms = math.ceil(min(timeout_s * 1000, 2**31 - 1))
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unacknowledged_ms)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, idle_s // 3))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


class Client:
    """The client's connection, as gunicorn hands it over in `environ["gunicorn.socket"]`."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._watcher: Any = None
        # gunicorn's response, once it has been begun: we write its head, its chunks and its end ourselves.
        self._reply: Any = None
        # What its reader waits for while the kernel takes nothing more.
        self._writable = Event()
        self._hung_up_at: int | None = None
        self.gone = False

    @classmethod
    def of(cls, environ: dict[str, Any], write_timeout_s: float) -> Client | None:
        """The connection of this request; None under another server, where a disconnect shows when writing."""
        sock = environ.get("gunicorn.socket")
        if sock is None or hasattr(sock, "_sslobj") or environ["REQUEST_METHOD"] == "HEAD":
            return None
        _end_when_silent(sock, write_timeout_s)
        return cls(sock)

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call `on_gone` once, from the event loop, when the client has closed its connection."""
        watcher = gevent.get_hub().loop.io(self._sock.fileno(), 1)

        def left() -> None:
            self._hung_up_at = None
            self.gone = True
            self._writable.set()
            on_gone()

        def readable() -> None:
            try:
                told = self._sock._sock.recv(1, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                told = b""
            self.unwatch()
            if not told:
                left()
            elif ends := hangups():
                # A further request, which waits for its turn: it would make this watcher spin.
                self._hung_up_at = self._sock.fileno()
                ends.watch(self._hung_up_at, left)

        watcher.start(readable)
        self._watcher = watcher

    def unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        if self._hung_up_at is not None and (ends := hangups()):
            ends.unwatch(self._hung_up_at)
            self._hung_up_at = None

    def take_over(self, write: Any) -> None:
        """`write` is what gunicorn's start_response returned: from here on we write the reply, and gunicorn nothing."""
        self._reply = write.__self__

    def send_now(self, data: bytes, *, last: bool = False) -> bytes:
        """Send a piece of the body, what the socket takes at once; returns the rest. Raises OSError if nobody is there.

        The head goes with the first piece, which may be empty, and the end of the body with the `last`: a short answer
        is one system call instead of four.
        """
        reply, framed = self._reply, data
        if reply.chunked and data:
            framed = b"%x\r\n%b\r\n" % (len(data), data)
        if not reply.headers_sent:
            reply.headers_sent = True
            told = [*reply.default_headers(), *(f"{name}: {value}\r\n" for name, value in reply.headers), "\r\n"]
            framed = "".join(told).encode("latin-1") + framed
        if reply.chunked and last:
            framed += b"0\r\n\r\n"
            # To gunicorn: there is nothing more to write, and the connection can be kept.
            reply.chunked, reply.response_length = False, 0
        try:
            sent = self._sock._sock.send(framed)
        except (BlockingIOError, InterruptedError):
            return framed
        return b"" if sent == len(framed) else framed[sent:]

    def send_rest(self, rest: bytes, timeout_s: float) -> None:
        """Send the rest of a framed piece.

        Raises TimeoutError when the client takes nothing for `timeout_s`, another OSError when it has left.
        """
        left = memoryview(rest)
        while left:
            try:
                left = left[self._sock._sock.send(left) :]
            except (BlockingIOError, InterruptedError):
                self._wait_writable(timeout_s)

    def _wait_writable(self, timeout_s: float) -> None:
        while not self.gone:
            untaken = self._untaken_bytes()
            self._writable.clear()
            watcher = gevent.get_hub().loop.io(self._sock.fileno(), 2)
            watcher.start(self._writable.set)
            try:
                if self._writable.wait(timeout_s):
                    break
            finally:
                watcher.stop()
                watcher.close()
            # The kernel calls a socket writable when a third of its buffer, up to 4 MB, is free: a client that reads
            # little by little is no stalled one.
            if self._untaken_bytes() >= untaken:
                raise TimeoutError
        if self.gone:
            raise ConnectionResetError

    def _untaken_bytes(self) -> int:
        """What the kernel still holds for the client."""
        return int.from_bytes(fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, b"\0" * 4), sys.byteorder)

    def drop(self) -> None:
        """Cut the connection so that the client cannot take what it has for the whole reply."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


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
