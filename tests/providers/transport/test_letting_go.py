"""Connections: kept where they ended cleanly, closed at once where nobody reads them."""

from __future__ import annotations

import threading
import time

import gevent
import pytest

from providers.stream.sse import Decoder
from providers.transport import client as client_module
from providers.transport import connection as connection_module
from tests.providers.raw_server import HEAD, answer, hang, read, serving
from tests.reliability.rig import at_most


def test_a_connection_that_ended_cleanly_is_used_again(client):
    def script(caller):
        while caller.request():
            caller.head("Transfer-Encoding: chunked")
            caller.chunk(b"ok")
            caller.chunk(b"")

    with serving(script) as server:
        for _ in range(3):
            assert read(client, server.url) == (b"ok", False)
        assert len(server.callers) == 1


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 2", "Connection: close"], b"ok"),
        (["Content-Length: 2"], b"ok and more"),
        (["Content-Length: 2", "Keep-Alive: timeout=1"], b"ok"),
    ],
)
def test_a_connection_that_may_not_be_sound_is_not_used_again(client, lines, body):
    def script(caller):
        while caller.request():
            caller.head(*lines)
            caller.send(body)

    with serving(script) as server:
        read(client, server.url)
        read(client, server.url)
        assert len(server.callers) == 2


def test_a_kept_connection_that_the_server_closed_is_not_used_again(client):
    with serving(answer("Content-Length: 2", body=b"ok")) as server:
        assert read(client, server.url) == (b"ok", False)
        server.wait_until_over(0)
        assert read(client, server.url) == (b"ok", False)
        assert len(server.callers) == 2


def test_a_kept_connection_is_closed_after_its_time(client, monkeypatch):
    monkeypatch.setattr(connection_module, "IDLE_S", 0.05)

    def script(caller):
        caller.request()
        caller.head("Content-Length: 2")
        caller.send(b"ok")
        caller.wait_for_close()

    with serving(script) as server:
        read(client, server.url)
        assert server.callers[0].closes(at_most(1))


def test_a_body_that_ends_just_after_the_reply_still_keeps_its_connection(client, monkeypatch):
    monkeypatch.setattr(client_module, "SETTLE_S", 5)
    kept, keep = [], client._pool.keep
    monkeypatch.setattr(client._pool, "keep", lambda connection: kept.append(connection) or keep(connection))
    go_on = threading.Event()

    def script(caller):
        while caller.request():
            caller.head("Transfer-Encoding: chunked")
            caller.chunk(b"data: [DONE]\n\n")
            go_on.wait(5)
            caller.chunk(b"")

    with serving(script) as server:
        for turn in (1, 2):
            with client.ask("POST", server.url, {}) as response:
                next(response.pieces())
                response.done()
            go_on.set()
            with gevent.Timeout(5):
                while len(kept) < turn:
                    gevent.sleep(0.002)
        assert len(server.callers) == 1


def test_an_upstream_that_hangs_after_the_reply_is_let_go(client):
    with serving(hang(HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"1\r\nx\r\n")) as server:
        with client.ask("POST", server.url, {}) as response:
            next(response.pieces())
            response.done()
        assert server.callers[0].closes(at_most(0.2))


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 2", HEAD, HEAD + b"data: x\n\n"])
def test_killing_the_greenlet_closes_the_connection_at_once(client, before):
    asked = threading.Event()

    def script(caller):
        caller.request()
        caller.send(before)
        asked.set()
        caller.wait_for_close()

    with serving(script) as server:
        reading = gevent.spawn(read, client, server.url)
        while not asked.is_set():
            gevent.sleep(0.002)
        gevent.sleep(0.01)
        began = time.monotonic()
        reading.kill()
        assert server.callers[0].closes(at_most(0.2))
        assert time.monotonic() - began < at_most(0.2)


def test_a_fast_upstream_does_not_keep_other_greenlets_waiting(client):
    def script(caller):
        caller.request()
        caller.head("Connection: close")
        for _ in range(200):
            caller.send(b"data: x\n\n" * 10_000)

    longest = 0.0

    def beat():
        nonlocal longest
        while True:
            # Processor time of this thread, the event loop's: however busy the machine is.
            began = time.thread_time()
            gevent.sleep(0.001)
            longest = max(longest, time.thread_time() - began)

    beating = gevent.spawn(beat)
    try:
        with serving(script) as server:
            assert len(read(client, server.url)[0]) == 18_000_000
    finally:
        beating.kill()
    assert longest < 0.1


@pytest.mark.parametrize("event", [b"\n", b":\n\n", b"data\n\n", b"data: x\n\n"])
def test_no_flood_of_events_keeps_other_greenlets_waiting(client, event):
    """Half a million bytes of the smallest events there are, with the decoder at work on them."""

    def script(caller):
        caller.request()
        caller.head("Connection: close")
        caller.send(event * ((1 << 19) // len(event)))

    longest = 0.0

    def beat():
        nonlocal longest
        while True:
            # Not sleep(0): that takes the interpreter's lock all the time, and the server is a thread.
            began = time.thread_time()
            gevent.sleep(0.001)
            longest = max(longest, time.thread_time() - began)

    beating = gevent.spawn(beat)
    try:
        with serving(script) as server, client.ask("POST", server.url, {}) as response:
            decoder = Decoder()
            for data in response.pieces():
                decoder.feed(data)
    finally:
        beating.kill()
    assert longest < 0.2
