"""The four deadlines: each ends its own kind of silence, and closes the connection."""

from __future__ import annotations

import socket
import time

import gevent
import pytest

from providers.errors import TimedOut
from providers.transport.client import Client
from tests.providers.raw_server import HEAD, Limits, hang, serving
from tests.reliability.rig import at_most


def timed_out(limits: Limits, script) -> tuple[TimedOut, float]:
    """The TimedOut that comes, and after how many seconds; the connection is closed by then."""
    with serving(script) as server:
        began = time.monotonic()
        with pytest.raises(TimedOut) as caught, Client(limits).ask("POST", server.url, {}) as response:
            for data in response.pieces():
                if data.startswith(b"data"):
                    response.deadlines.event(True)
        took = time.monotonic() - began
        assert all(caller.closes(at_most(0.2)) for caller in server.callers)
    assert f"timeouts.{caught.value.deadline}" in caught.value.message
    return caught.value, took


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 2", HEAD, HEAD + b": comment\n\n"])
def test_silence_before_the_first_token_ends_at_its_deadline(before):
    error, took = timed_out(Limits(first_token=0.1), hang(before))
    assert (error.deadline, error.request_sent) == ("first_token", True)
    assert 0.09 < took < at_most(0.5)


def test_silence_after_an_event_ends_at_the_idle_deadline():
    error, took = timed_out(Limits(idle=0.1), hang(HEAD + b"data: x\n\n"))
    assert error.deadline == "idle"
    assert 0.09 < took < at_most(0.5)


def test_bytes_that_are_no_event_do_not_put_the_idle_deadline_off():
    def script(caller):
        caller.request()
        caller.send(HEAD + b"data: x\n\n")
        caller.sock.settimeout(0.02)
        while True:
            try:
                if not caller.sock.recv(1):
                    break
            except TimeoutError:
                caller.send(b":\n")
            except ConnectionError:
                break
        caller.closed_at_once.set()

    error, took = timed_out(Limits(idle=0.15), script)
    assert error.deadline == "idle"
    assert took < at_most(0.5)


def test_events_put_the_idle_deadline_off_but_not_the_total():
    def script(caller):
        caller.request()
        caller.send(HEAD)
        caller.sock.settimeout(0.03)
        while True:
            try:
                if not caller.sock.recv(1):
                    break
            except TimeoutError:
                caller.send(b"data: x\n\n")
            except ConnectionError:
                break
        caller.closed_at_once.set()

    error, took = timed_out(Limits(idle=0.6, total=1), script)
    assert error.deadline == "total"
    assert 0.99 < took < at_most(1)


def test_connecting_has_a_deadline_and_nothing_was_asked_then():
    with socket.socket() as full:
        # A listener whose queue is full drops further SYNs: connecting then hangs.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(full.getsockname())
        with pytest.raises(TimedOut) as caught:
            Client(Limits(connect=0.1)).ask("POST", f"http://127.0.0.1:{full.getsockname()[1]}", {})
        for sock in waiting:
            sock.close()
    assert (caught.value.deadline, caught.value.request_sent) == ("connect", False)
    assert "timeouts.connect" in caught.value.message


def test_a_slow_reader_of_ours_is_no_silence_of_theirs():
    def script(caller):
        caller.request()
        caller.send(HEAD + b"data: x\n\n")
        caller.request()

    with serving(script) as server, Client(Limits(idle=0.3)).ask("POST", server.url, {}) as response:
        pieces = response.pieces()
        next(pieces)
        response.deadlines.event(True)
        server.callers[0].send(b"data: y\n\n")
        gevent.sleep(0.4)
        assert next(pieces) == b"data: y\n\n"
        response.deadlines.event(True)
        server.callers[0].send(b"data: z\n\n")
        assert next(pieces) == b"data: z\n\n"
