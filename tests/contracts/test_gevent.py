"""gevent's insides that gateway/ builds on, each named.

Where one fails after an upgrade: read gevent/_socket3.py for the socket and gevent/baseserver.py for the server, and
run tests/gateway/answers and tests/reliability/test_leaving.py.
"""

from __future__ import annotations

import _socket
import os
import socket as plain

import gevent
import pytest
from gevent import socket
from gevent.baseserver import BaseServer
from gevent.monkey import get_original
from gevent.server import StreamServer

from gateway.bare_socket import accepted, bare, close_now, is_tls


def test_a_socket_holds_the_plain_one_which_does_not_block():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as sock:
        assert isinstance(bare(sock), _socket.socket)
        assert bare(sock).fileno() == sock.fileno()
        assert bare(sock).gettimeout() == 0
        assert not is_tls(sock)


def test_a_listener_gives_the_descriptor_of_a_waiting_connection():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        gevent.sleep(0.05)
        with plain.socket(fileno=accepted(listener)) as client:
            assert client.getsockname() == listener.getsockname()


def test_a_tls_socket_is_known_by_its_object():
    from gevent.ssl import SSLSocket

    assert "_sslobj" in SSLSocket.__init__.__code__.co_names


def test_the_loop_watches_descriptors_and_has_a_clock():
    loop = gevent.get_hub().loop
    watcher = loop.io(0, 1)
    assert callable(watcher.start) and callable(watcher.stop) and callable(watcher.close)
    watcher.close()
    before = loop.now()
    loop.update_now()
    assert loop.now() >= before


def test_what_was_patched_can_be_had_as_it_was():
    import select

    assert get_original("select", "epoll") is select.epoll


def test_a_server_says_how_many_connections_it_accepts_in_one_turn():
    assert BaseServer.max_accept > 0
    assert StreamServer.max_accept > 0


def test_a_server_that_stopped_accepting_starts_again_by_its_timer():
    server = StreamServer(("127.0.0.1", 0), handle=print)
    assert callable(server.stop_accepting)
    assert callable(server._start_accepting_if_started)
    assert server._timer is None


def test_a_descriptor_is_closed_at_once_where_that_is_wanted():
    spare = os.open(os.devnull, os.O_RDONLY)
    close_now(spare)
    with pytest.raises(OSError):
        os.fstat(spare)
