"""The fault proxy does to bytes what was set, and nothing else."""

from __future__ import annotations

import socket
import struct
import threading
import time

import pytest

from tests.reliability.proxy import Fault, Proxy
from tests.reliability.rig import at_most


class Echo:
    """A server that sends back what it gets, over TCP or a Unix socket."""

    def __init__(self, path: str | None = None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0)) if path is None else socket.socket(socket.AF_UNIX)
        if path is not None:
            self.listener.bind(path)
            self.listener.listen()
        self.reads: list[bytes] = []
        self.ended: list[str] = []
        self.changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        ended = "closed"
        try:
            while data := sock.recv(65536):
                with self.changed:
                    self.reads.append(data)
                    self.changed.notify_all()
                sock.sendall(data)
        except OSError:
            ended = "reset"
        with self.changed:
            if sock.family == socket.AF_INET:
                self.segments = data_segments(sock)
            self.ended.append(ended)
            self.changed.notify_all()
        sock.close()

    def wait_ended(self) -> str:
        with self.changed:
            assert self.changed.wait_for(lambda: self.ended, at_most(2))
        return self.ended[0]


def data_segments(sock: socket.socket) -> int:
    """How many segments with data came; a read may have taken several (tcpi_data_segs_in in linux/tcp.h)."""
    (count,) = struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 152)
    return count


@pytest.fixture
def echo():
    server = Echo()
    yield server
    server.listener.close()


@pytest.fixture
def proxy(echo):
    with Proxy(to=echo.listener.getsockname()) as made:
        yield made


def connected(proxy: Proxy) -> socket.socket:
    sock = socket.create_connection(proxy.address, at_most(2))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def received(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def test_without_a_fault_bytes_pass_unchanged_both_ways(proxy):
    with connected(proxy) as sock:
        sock.sendall(b"x" * 300_000)
        assert received(sock, 300_000) == b"x" * 300_000


def test_a_reset_comes_after_exactly_so_many_bytes(proxy, echo):
    proxy.set(Fault(reset_after=5))
    with connected(proxy) as sock:
        sock.sendall(b"0123456789")
        data = b""
        with pytest.raises(ConnectionResetError):
            while piece := sock.recv(100):
                data += piece
        assert data in (b"", b"01234")  # a reset may overtake bytes that nobody read yet
    assert echo.wait_ended() == "reset"


def test_a_limit_closes_cleanly_after_exactly_so_many_bytes(proxy, echo):
    proxy.set(Fault(limit=5))
    with connected(proxy) as sock:
        sock.sendall(b"0123456789")
        assert received(sock, 100) == b"01234"
    assert echo.wait_ended()


def test_a_half_close_ends_one_direction_only(proxy, echo):
    proxy.set(Fault(half_close_after=3, up=True))
    with connected(proxy) as sock:
        sock.sendall(b"012345")
        assert received(sock, 100) == b"012"
    assert echo.wait_ended() == "closed"


def test_a_black_hole_takes_everything_and_closes_nothing(proxy, echo):
    with connected(proxy) as sock:
        sock.sendall(b"before")
        assert received(sock, 6) == b"before"
        proxy.set(Fault(black_hole_after=0))
        sock.sendall(b"lost")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert not echo.ended
        proxy.set(None)
        sock.settimeout(at_most(2))
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_slices_are_segments_of_their_own(proxy, echo):
    proxy.set(Fault(slices=(1, 2), up=True, latency_s=0))
    with connected(proxy) as sock:
        for _ in range(5):
            sock.sendall(b"abc")
            assert received(sock, 3) == b"abc"
    assert echo.wait_ended() == "closed"
    assert b"".join(echo.reads) == b"abc" * 5
    # More where one was sent again, to a machine that was late to acknowledge it.
    assert echo.segments >= 10


def test_latency_delays_each_way_as_told(proxy):
    proxy.set(Fault(latency_s=0.15))
    with connected(proxy) as sock:
        before = time.monotonic()
        sock.sendall(b"a")
        assert sock.recv(1) == b"a"
        assert 0.15 <= time.monotonic() - before < at_most(0.5)


def test_a_refused_connection_is_reset_and_the_server_never_hears_of_it(proxy, echo):
    proxy.set(Fault(refuse=True))
    with pytest.raises(ConnectionError), connected(proxy) as sock:
        sock.sendall(b"a")
        sock.recv(1)
    assert not echo.reads


def test_cut_ends_open_connections_in_silence_too(proxy, echo):
    with connected(proxy) as sock:
        sock.sendall(b"a")
        assert sock.recv(1) == b"a"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert echo.wait_ended() == "reset"


def test_a_unix_socket_can_be_stood_between_as_well(tmp_path):
    server = Echo(str(tmp_path / "real"))
    between = Proxy(to=str(tmp_path / "real"), listen=str(tmp_path / "between"))
    with between as proxy, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(proxy.address)
        sock.sendall(b"abc")
        assert received(sock, 3) == b"abc"
        proxy.set(Fault(limit=0))
        assert sock.recv(1) == b""
    server.listener.close()
