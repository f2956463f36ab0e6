"""The client's socket: written to, and watched for the client's disconnect.

A disconnect is noticed at once, also while nothing is sent: an event loop watcher sees the socket become readable, and
a peek tells the end of file from a further request. A client that closes only its sending half counts as gone; browsers
and nginx never do that. Heartbeats and a deadline on writes without progress catch what the watcher cannot see.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import select
import socket
import sys
import termios
import weakref
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from gevent.monkey import get_original

from gateway.bare_socket import bare, is_tls
from gateway.gunicorn_reply import GunicornReply
from gateway.http_chunks import chunked


class HangupWatcher:
    """Watches connections that stay readable because the next request is already there, for their end alone.

    libev, and so gevent, can wait only for "readable". Linux's epoll can wait for EPOLLRDHUP (the other side closed),
    and libev can wait for the epoll descriptor. One per worker.
    """

    def __init__(self) -> None:
        self._epoll = get_original("select", "epoll")()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._watcher = gevent.get_hub().loop.io(self._epoll.fileno(), 1)
        self._watcher.start(self._ready)

    def watch(self, descriptor: int, on_gone: Callable[[], None]) -> None:
        self._callbacks[descriptor] = on_gone
        self._epoll.register(descriptor, select.EPOLLRDHUP)

    def unwatch(self, descriptor: int) -> None:
        if self._callbacks.pop(descriptor, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(descriptor)

    def _ready(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            # A callback may have unwatched another descriptor of this list.
            if on_gone := self._callbacks.get(descriptor):
                self.unwatch(descriptor)
                on_gone()


_hangups: HangupWatcher | None = None


def hangups() -> HangupWatcher | None:
    """The worker's epoll watcher, or None where EPOLLRDHUP is missing: there a disconnect shows on the next write."""
    global _hangups
    if _hangups is None and hasattr(select, "EPOLLRDHUP"):
        _hangups = HangupWatcher()
    return _hangups


# Connections whose kernel options are set: they belong to the connection, which may bring many questions.
_ended_when_silent: weakref.WeakSet[Any] = weakref.WeakSet()


def _end_when_silent(sock: Any, timeout_s: float) -> None:
    """Have the kernel close the connection of a client that vanished without FIN or RST: power cut, network gone.

    Sent bytes may stay unacknowledged for `timeout_s`; while nothing is sent, keep-alive probes find it. With Linux's
    defaults it would take about 15 minutes, and the upstream would be paid for all that time.
    """
    if sock in _ended_when_silent:
        return
    _ended_when_silent.add(sock)
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    # The kernel takes whole seconds up to 32767, and milliseconds up to 2**31 - 1.
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
        self._plain = bare(sock)
        self._watcher: Any = None
        # gunicorn's reply after take_over(): its head, chunks and end are written here.
        self._reply: GunicornReply | None = None
        self._head_sent = self._chunked = False
        # Set when the kernel takes bytes again, or the client is gone.
        self._writable = Event()
        self._hung_up_at: int | None = None
        self.gone = False

    @classmethod
    def of(cls, environ: dict[str, Any], write_timeout_s: float) -> Client | None:
        """The connection of this request; None under TLS or another server: a disconnect shows on the next write."""
        sock = environ.get("gunicorn.socket")
        if sock is None or is_tls(sock) or environ["REQUEST_METHOD"] == "HEAD":
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
                peeked = self._plain.recv(1, socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                peeked = b""
            self.unwatch()
            if not peeked:
                left()
            elif ends := hangups():
                # A further request waits in the socket: it stays readable, and this watcher would spin.
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
        self._reply = GunicornReply(write)

    def send_now(self, data: bytes, *, last: bool = False) -> bytes:
        """Send a piece of the body without blocking; returns the framed rest. Raises OSError if the client is gone.

        The head goes with the first piece, which may be empty, and the end of the body with the `last`: a short answer
        is one system call instead of four.
        """
        if last or not self._head_sent:
            assert self._reply is not None
            framed = self._reply.framed(data, last=last)
            self._head_sent, self._chunked = True, self._reply.is_chunked
        else:
            framed = chunked(data) if self._chunked and data else data
        try:
            sent = self._plain.send(framed)
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
                left = left[self._plain.send(left) :]
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
            # The kernel reports "writable" only when a third of the send buffer (up to 4 MB) is free. A client that
            # reads slowly has not stalled: the number of untaken bytes shrinks.
            if self._untaken_bytes() >= untaken:
                raise TimeoutError
        if self.gone:
            raise ConnectionResetError

    def _untaken_bytes(self) -> int:
        """Bytes in the kernel's send buffer that the client has not acknowledged."""
        return int.from_bytes(fcntl.ioctl(self._sock.fileno(), termios.TIOCOUTQ, b"\0" * 4), sys.byteorder)

    def drop(self) -> None:
        """Cut the connection, so that the client does not take what it has for the whole reply."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
