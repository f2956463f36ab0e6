"""A server on plain sockets that does with a connection exactly what a test says."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gevent

from providers.transport.client import Client


class Caller:
    """One connection, from the server's side."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.send = sock.sendall
        self.closed_at_once = threading.Event()  # set by `wait_for_close`

    def request(self) -> bytes:
        """The next request's head and body; b"" if the client closed."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.sock.recv(65536)
            if not more:
                return b""
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length:
            body += self.sock.recv(65536)
        return head + b"\r\n\r\n" + body

    def head(self, *lines: str, status: str = "200 OK", kind: str = "text/event-stream") -> None:
        """A response's head."""
        self.send("\r\n".join([f"HTTP/1.1 {status}", f"Content-Type: {kind}", *lines, "", ""]).encode())

    def chunk(self, data: bytes) -> None:
        """One chunk of a chunked body; b"" ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def reset(self) -> None:
        """Close with a RST in place of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def wait_for_close(self, seconds: float = 5) -> None:
        """Until the client closes the connection; raises TimeoutError if it does not."""
        self.sock.settimeout(seconds)
        with contextlib.suppress(ConnectionError):
            while self.sock.recv(65536):
                pass
        self.closed_at_once.set()

    def closes(self, seconds: float) -> bool:
        """Whether the script's `wait_for_close` ends so soon; other greenlets run on meanwhile."""
        with gevent.Timeout(seconds, False):
            while not self.closed_at_once.is_set():
                gevent.sleep(0.002)
        return self.closed_at_once.is_set()


class Server:
    """Runs `script(caller)` for each connection, in a thread of its own."""

    def __init__(self, script: Callable[[Caller], None]) -> None:
        self.script = script
        self.callers: list[Caller] = []
        self.errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def wait_until_over(self, caller: int) -> None:
        """Until the script of that caller ended and closed its connection."""
        self._threads[caller].join(5)

    def close(self) -> None:
        """Stop accepting, and wait for the scripts to end."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._acceptor.join(5)
        for caller in self.callers:
            with contextlib.suppress(OSError):
                caller.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.callers.append(Caller(sock))
            self._threads.append(threading.Thread(target=self._run, args=(self.callers[-1],), daemon=True))
            self._threads[-1].start()

    def _run(self, caller: Caller) -> None:
        try:
            self.script(caller)
        except (OSError, ValueError) as error:
            self.errors.append(error)
        finally:
            with contextlib.suppress(OSError):
                caller.sock.close()


@contextlib.contextmanager
def serving(script: Callable[[Caller], None]) -> Iterator[Server]:
    """A server for the length of a `with`."""
    server = Server(script)
    try:
        yield server
    finally:
        server.close()


@dataclass
class Limits:
    """Deadlines that no test waits for, unless it says so."""

    connect: float = 2
    first_token: float = 5
    idle: float = 5
    total: float = 10


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def answer(*lines: str, body: bytes = b"", status: str = "200 OK") -> Callable[[Caller], None]:
    """A script that answers one request with these header lines and this body, and closes."""

    def script(caller: Caller) -> None:
        caller.request()
        caller.head(*lines, status=status)
        caller.send(body)

    return script


def hang(before: bytes = b"") -> Callable[[Caller], None]:
    """A script that takes one request, says `before`, and waits for the client to close."""

    def script(caller: Caller) -> None:
        caller.request()
        caller.send(before)
        caller.wait_for_close()

    return script


def read(client: Client, url: str, body: bytes = b"{}") -> tuple[bytes, bool]:
    """(the body, whether it was cut)."""
    with client.ask("POST", url, {}, body) as response:
        data = b"".join(response.pieces())
        if not response.cut:
            response.done()
        return data, response.cut
