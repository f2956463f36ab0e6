"""Connections to upstreams: name, TCP, TLS, proxy, and the few that are kept for the next question.

They are gevent's sockets explicitly: while one waits, a worker's other greenlets run, monkey-patched or not.
"""

from __future__ import annotations

import base64
import errno
import os
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
import gevent.socket
import gevent.ssl
from gevent import get_hub
from gevent.hub import Waiter

from providers.errors import Overloaded, Unreachable

RECV_BYTES = 64 << 10
DELIVER_BYTES = 16 << 10  # in the event loop, where 64 KiB of empty comments would keep all others for 60 ms
# Linux: struct tcp_info has the state first, and tcpi_bytes_acked at 120 (include/uapi/linux/tcp.h).
_TCP_INFO: int = getattr(gevent.socket, "TCP_INFO", 11)
_TCP_CLOSE = 7
IDLE_S = 4.0  # servers close idle connections after 5 s and more: be earlier
MAX_IDLE = 32


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect, and through what. proxy: an http:// URL, or ""."""

    secure: bool
    host: str
    port: int
    proxy: str = ""

    @property
    def authority(self) -> str:
        """For the Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def address(url: str, proxy: str = "") -> tuple[Address, str]:
    """Where `url` is served, and the target of the request line. proxy: "", "env", or a URL."""
    # The environment may change.
    return _address(url, proxy) if proxy == "env" else _kept_address(url, proxy)


def _address(url: str, proxy: str) -> tuple[Address, str]:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    if proxy == "env":
        proxy = "" if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme, "")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    where = Address(secure, host, port, proxy)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return where, f"http://{where.authority}{target}" if proxy and not secure else target


_kept_address = lru_cache(maxsize=256)(_address)


class Connection:
    """One open connection. Its waits can be ended from a timer by `interrupt`."""

    def __init__(self, sock: Any, where: Address) -> None:
        self.where = where
        self.idle_s = IDLE_S
        self._sock = sock
        self._sock.settimeout(0)
        self._quickack: int = getattr(gevent.socket, "TCP_QUICKACK", 0)  # Linux has it
        self._hub = get_hub()
        self._readable = self._hub.loop.io(sock.fileno(), 1)
        self._writable = self._hub.loop.io(sock.fileno(), 2)
        self._emptied = False  # the last read left nothing behind
        self._overdue: Exception | None = None
        self._lapse: Any = None
        self._delivering: _Delivering | None = None

    @property
    def overdue(self) -> Exception | None:
        """The deadline that has passed and has not ended a wait yet."""
        return self._overdue

    def recv(self) -> bytes:
        """Some bytes, b"" at the end; waits for them. Raises OSError, or what `interrupt` was given."""
        if self._emptied and self._overdue is None:
            self._hub.wait(self._readable)
        while True:
            try:
                data: bytes = self._sock.recv(RECV_BYTES)
                # What gave less than it could has no more: looking again would be a system call in vain, a tenth of
                # what a paced chunk costs. TLS may hold decoded bytes that the system knows nothing of.
                self._emptied = len(data) < RECV_BYTES and not self.where.secure
                return data
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(self._readable)
            except ssl.SSLWantWriteError:
                self._wait(self._writable)

    def deliver(self, arrived: Callable[[bytes], bool]) -> None:
        """Call `arrived` from the event loop with what comes (b"" at the end) until it returns False; waits for that.

        `arrived` must not block. Raises OSError, what `arrived` raises, or what `interrupt` was given. Not for TLS.
        """
        if self._overdue is not None:
            raise self._overdue
        self._emptied = False
        delivering = self._delivering = _Delivering(self._hub, self._readable)
        descriptor = self._sock.fileno()

        def readable() -> None:
            try:
                # os.read: one call less than the socket's recv, for every chunk.
                data = os.read(descriptor, DELIVER_BYTES)
                if not arrived(data) or not data:
                    delivering.end(None)
            except (BlockingIOError, InterruptedError):
                pass
            except BaseException as error:  # noqa: BLE001 - raised again in the greenlet that waits
                delivering.end(error)

        try:
            delivering.wait(readable)
        finally:
            self._delivering = None

    def recv_now(self) -> bytes | None:
        """Some bytes, b"" at the end, None if there is nothing yet."""
        try:
            data: bytes = self._sock.recv(RECV_BYTES)
            return data
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    def acknowledged(self) -> int:
        """How many bytes the other end's system has acknowledged so far; -1 where this system does not say."""
        try:
            info = self._sock.getsockopt(gevent.socket.IPPROTO_TCP, _TCP_INFO, 128)
            return int.from_bytes(info[120:128], sys.byteorder) if len(info) >= 128 else -1
        except OSError:
            return -1

    def never_received_since(self, acknowledged: int) -> bool:
        """Whether what was sent since then was provably not received: asking again asks once.

        A server that closes an idle connection answers what still arrives with a reset, and its system acknowledges
        none of it; what a system has not acknowledged, no application has read. So no byte acknowledged, and the
        connection reset, is the proof; anything else is none. Waits for the reset for at most 0.2 s.
        """
        if acknowledged < 0:
            return False
        for _ in range(40):
            try:
                info = self._sock.getsockopt(gevent.socket.IPPROTO_TCP, _TCP_INFO, 128)
            except OSError:
                return False
            if len(info) < 128 or int.from_bytes(info[120:128], sys.byteorder) != acknowledged:
                return False
            if info[0] == _TCP_CLOSE:
                return True
            gevent.sleep(0.005)
        return False

    def send(self, data: bytes) -> int:
        """Send all of it; returns how much the system took before the connection failed, or all."""
        sent = 0
        while sent < len(data):
            try:
                sent += self._sock.send(data[sent : sent + (256 << 10)])
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(self._writable)
            except ssl.SSLWantReadError:
                self._wait(self._readable)
            except OSError:
                break
        if self._quickack:
            # A server without TCP_NODELAY holds its second frame back until our acknowledgement of the first, which
            # would be up to 40 ms late: that would be the time to the first token.
            self._sock.setsockopt(gevent.socket.IPPROTO_TCP, self._quickack, 1)
        return sent

    def interrupt(self, error: Exception | None) -> None:
        """End the wait that is on with `error`, or else the next one that would begin; None takes it back."""
        self._overdue = error
        if self._delivering is not None:
            if error is not None:
                self._delivering.end(error)
            return
        for watcher in (self._readable, self._writable):
            if error is not None and watcher.active:
                self._hub.cancel_wait(watcher, error)

    def close(self) -> None:
        """At once; a TLS goodbye is not waited for."""
        if self._sock is None:
            return
        for watcher in (self._readable, self._writable, self._lapse):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        sock, self._sock = self._sock, None
        sock.close()

    def _wait(self, watcher: Any) -> None:
        if self._overdue is not None:
            raise self._overdue
        self._hub.wait(watcher)

    # -- while it is kept

    def park(self, gone: Any) -> None:
        """Nothing is under way: call `gone(self)` when the other end closes or says anything, or its time is up."""
        self._overdue = None
        # A new watcher: an `interrupt` that is already on its way must not end the next question's wait.
        self._readable.close()
        self._readable = self._hub.loop.io(self._sock.fileno(), 1)
        self._lapse = self._hub.loop.timer(self.idle_s)
        self._lapse.start(gone, self)
        self._readable.start(gone, self)

    def unpark(self) -> bool:
        """True if it can be used again."""
        self._readable.stop()
        self._lapse.stop()
        self._lapse.close()
        self._lapse = None
        try:
            return self.recv_now() is None
        except OSError:
            return False


class _Delivering:
    """A greenlet that sleeps while the event loop reads for it."""

    def __init__(self, hub: Any, readable: Any) -> None:
        self._waiter = Waiter(hub)
        self._readable = readable
        self._ended = False
        self._error: BaseException | None = None

    def wait(self, callback: Callable[[], None]) -> None:
        """Run `callback` whenever the connection is readable, until `end` is called; raises the error given there."""
        self._readable.start(callback)
        try:
            self._waiter.get()
        finally:
            self._ended = True
            self._readable.stop()
        if self._error is not None:
            raise self._error

    def end(self, error: BaseException | None) -> None:
        """Wake the greenlet; may be called again. Called from the event loop."""
        if not self._ended:
            self._ended, self._error = True, error
            self._readable.stop()
            self._waiter.switch(None)


class Pool:
    """Connections whose last response ended cleanly, kept for at most 4 s; one per hub, so per thread."""

    def __init__(self) -> None:
        self._idle: dict[tuple[int, Address], list[Connection]] = {}
        self._closed = False

    def take(self, where: Address) -> Connection | None:
        """An idle connection that is still open."""
        idle = self._idle.get((id(get_hub()), where), [])
        while idle:
            connection = idle.pop()
            if connection.unpark():
                return connection
            connection.close()
        return None

    def keep(self, connection: Connection) -> None:
        """Keep it for the next question."""
        idle = self._idle.setdefault((id(get_hub()), connection.where), [])
        if self._closed or len(idle) >= MAX_IDLE or connection.idle_s <= 0:
            connection.close()
            return
        idle.append(connection)
        connection.park(self._drop)

    def close(self) -> None:
        """Close every idle connection, and whatever may still be on its way here."""
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().close()

    def _drop(self, connection: Connection) -> None:
        idle = self._idle.get((id(get_hub()), connection.where), [])
        if connection in idle:
            idle.remove(connection)
        connection.close()


def connect(where: Address, tls: Any = None) -> Connection:
    """A new connection; may take as long as the caller's timeout lets it. Raises Unreachable: nothing was asked."""
    sock = None
    try:
        via = urlsplit(where.proxy) if where.proxy else None
        if via and via.scheme != "http":
            raise Unreachable("a proxy is an http:// address; no other is spoken", request_sent=False)
        endpoint = (via.hostname or "", via.port or 80) if via else (where.host, where.port)
        sock = _connected(*endpoint)
        sock.setsockopt(gevent.socket.IPPROTO_TCP, gevent.socket.TCP_NODELAY, 1)
        if via and where.secure:
            _tunnel(sock, where)
        if where.secure:
            sock = _context(tls).wrap_socket(sock, server_hostname=where.host)
        return Connection(sock, where)
    except BaseException as error:
        if sock is not None:
            sock.close()
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise Overloaded(
                "this gateway has no file descriptor left for a connection", retry_after=1.0, request_sent=False
            ) from None
        if isinstance(error, (OSError, UnicodeError)):  # UnicodeError: what no name can be
            through = " through the proxy" if where.proxy else ""
            raise Unreachable(f"cannot reach {where.host}{through}: {_reason(error)}", request_sent=False) from None
        raise


# A resolved name is kept for so long: many questions in one moment ask the resolver once, and a name whose servers
# change is looked up again soon.
RESOLVED_S = 5.0
MAX_RESOLVED = 256

_Found = tuple[int, tuple[Any, ...]]  # address family, socket address
_resolved: dict[tuple[str, int], tuple[float, list[_Found]]] = {}


def _connected(host: str, port: int) -> Any:
    """A TCP connection to the first address of `host` that takes one. Raises OSError or UnicodeError."""
    failed: OSError | None = None
    for family, where in _addresses(host, port):
        sock = gevent.socket.socket(family, gevent.socket.SOCK_STREAM)
        try:
            sock.connect(where)
            return sock
        except OSError as error:
            failed = error
            sock.close()
        except BaseException:
            sock.close()
            raise
    _resolved.pop((host, port), None)
    raise failed or OSError("the name has no address")


def _addresses(host: str, port: int) -> list[_Found]:
    """Where `host` is. An address in numbers needs no resolver, whose thread is a third of a fresh stream's cost."""
    for family in (gevent.socket.AF_INET, gevent.socket.AF_INET6):
        try:
            gevent.socket.inet_pton(family, host)
            return [(family, (host, port))]
        except (OSError, ValueError):
            pass  # a name, or what is neither
    now = time.monotonic()
    until, addresses = _resolved.get((host, port), (0.0, []))
    if until <= now:
        listed = gevent.socket.getaddrinfo(host, port, 0, gevent.socket.SOCK_STREAM)
        addresses = [(family, address) for family, _, _, _, address in listed]
        if len(_resolved) >= MAX_RESOLVED:
            _resolved.clear()
        _resolved[host, port] = now + RESOLVED_S, addresses
    return addresses


def _reason(error: OSError | UnicodeError) -> str:
    """Why, for a person; never the bytes that came."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was refused ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "TLS failed; is the address right?"
    if isinstance(error, (gevent.socket.gaierror, UnicodeError)):
        return "the name does not resolve"
    return (error.strerror or str(error) or type(error).__name__).lower()


def proxy_authorization(proxy: str) -> str:
    """The Proxy-Authorization header's value for the name and password in the proxy's URL; "" without."""
    parts = urlsplit(proxy)
    if not parts.username:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _tunnel(sock: Any, where: Address) -> None:
    target = f"[{where.host}]:{where.port}" if ":" in where.host else f"{where.host}:{where.port}"
    secret = proxy_authorization(where.proxy)
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    head += f"Proxy-Authorization: {secret}\r\n" if secret else ""
    sock.sendall((head + "\r\n").encode("latin-1"))
    reply = b""
    # By the byte, so that nothing of what follows the head is taken.
    while not reply.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        reply += byte
        if not byte or len(reply) > 8192:
            raise Unreachable("the proxy closed the connection", request_sent=False)
    status = reply.split(b" ", 2)[1:2]
    if not status or not status[0].startswith(b"2"):
        code = status[0][:3].decode("latin-1") if status else "?"
        raise Unreachable(f"the proxy refused the way to {where.host} (status {code})", request_sent=False)


def _context(tls: Any) -> Any:
    """The TLS context of a provider: the shared one where its configuration says nothing of TLS."""
    if tls is None or (tls.verify and not (tls.ca or tls.cert)):
        return tls_context()
    return _own_context(tls.ca, tls.verify, tls.cert, tls.key)


@lru_cache(maxsize=64)
def _own_context(ca: str, verify: bool, cert: str, key: str) -> Any:
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif ca:
        context.load_verify_locations(ca)
    else:
        context.load_default_certs()
    if cert:
        context.load_cert_chain(cert, key or None)
    context.set_alpn_protocols(["http/1.1"])
    return context


@lru_cache(maxsize=1)
def tls_context() -> Any:
    """Verifies against the system's certificates (SSL_CERT_FILE is honoured), or certifi's where there are none."""
    # Not create_default_context(): unpatched, its sockets are the standard library's, and block the worker.
    context = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    paths = ssl.get_default_verify_paths()
    if not os.environ.get("SSL_CERT_FILE") and paths.cafile is None and paths.capath is None:
        context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context
