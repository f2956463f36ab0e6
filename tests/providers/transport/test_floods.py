"""Upstreams that flood: deadlines hold by the clock, and no connection keeps the event loop."""

from __future__ import annotations

import contextlib
import os
import resource
import time

import gevent
import pytest

from providers.catalogue import WIRES
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import Overloaded, TimedOut
from providers.transport import client as client_module
from tests.providers.raw_server import serving
from tests.reliability.rig import at_most

QUESTION = ChatRequest([{"role": "user", "content": "hi"}])
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
WORD = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
MOST_LATE_S = 0.15  # far below what a flood did before, and above what a busy machine of two cores does by itself


def adapter(url: str, **timeouts: float):
    configuration = ProviderConfiguration(type="openai", model="m", base_url=url, timeouts=timeouts)
    return WIRES["openai"].load().Adapter(configuration, "flood")


def flood(before: bytes, unit: bytes):
    def script(caller):
        caller.request()
        caller.send(HEAD + before)
        piece = unit * (65536 // len(unit))
        with contextlib.suppress(OSError):
            while True:
                caller.send(piece)

    return script


def lateness(stop: list[bool]) -> float:
    worst = 0.0
    while not stop:
        began = time.monotonic()
        gevent.sleep(0.01)
        worst = max(worst, time.monotonic() - began - 0.01)
    return worst


@pytest.mark.parametrize(
    ("before", "unit", "deadline"),
    [
        (b"", b":\n", "first_token"),
        (b"", b"id\n", "first_token"),
        (WORD, b": x\n\n", "idle"),
        (WORD, b'data: {"choices":[{"index":0,"delta":{"content":""}}]}\n\n', "total"),
    ],
    ids=["comments", "fields", "comment blocks", "empty deltas"],
)
def test_deadlines_hold_by_the_clock_and_others_have_their_turn(before, unit, deadline):
    stop: list[bool] = []
    watch = gevent.spawn(lateness, stop)
    with serving(flood(before, unit)) as server:
        asking = adapter(server.url, first_token=0.5, idle=0.5, total=1.0)
        began = time.monotonic()
        with pytest.raises(TimedOut) as caught:
            for _ in asking.ask(QUESTION):
                pass
        took = time.monotonic() - began
    stop.append(True)
    assert caught.value.deadline == deadline
    assert took < 2.5
    assert watch.get(timeout=5) < at_most(MOST_LATE_S)


def test_a_comment_now_and_then_says_that_the_question_waits_in_a_queue():
    def script(caller):
        caller.request()
        caller.send(HEAD)
        for _ in range(6):
            time.sleep(0.2)
            caller.send(b": keep-alive\n\n")
        caller.send(WORD + b"data: [DONE]\n\n")

    with serving(script) as server:
        batches = list(adapter(server.url, first_token=0.6, idle=5, total=5).ask(QUESTION))
    assert "".join(delta.text for batch in batches for delta in batch) == "x"


def test_silence_still_has_the_first_tokens_deadline_and_a_queue_the_total_one():
    def script(caller):
        caller.request()
        caller.send(HEAD)
        with contextlib.suppress(OSError):
            while True:
                time.sleep(0.1)
                caller.send(b": keep-alive\n\n")

    with serving(script) as server, pytest.raises(TimedOut) as caught:
        list(adapter(server.url, first_token=0.3, idle=5, total=1).ask(QUESTION))
    assert caught.value.deadline == "total"


# -- our own shortage is never the upstream's


def test_without_descriptors_it_is_overloaded_and_no_breaker_counts_it(client):
    with serving(flood(b"", WORD)) as server:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        opened: list[int] = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
            with contextlib.suppress(OSError):
                while True:
                    opened.append(os.open("/dev/null", os.O_RDONLY))
            with pytest.raises(Overloaded) as caught:
                client.ask("POST", server.url, {})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for descriptor in opened:
                os.close(descriptor)
    assert not caught.value.request_sent


def test_a_connect_deadline_that_fires_late_is_tried_once_more(client, monkeypatch):
    """The loop is busy for longer than the deadline: the connection was there, only nobody looked."""
    tries = []
    connect = client_module.connect

    def slow(where, tls=None):
        tries.append(where)
        if len(tries) == 1:
            time.sleep(1.0)  # the loop stands still, and the timer fires when it goes on
            gevent.sleep(0.01)
        return connect(where, tls)

    monkeypatch.setattr(client_module, "connect", slow)

    def script(caller):
        caller.request()
        caller.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    with serving(script) as server:
        limits = ProviderConfiguration(
            type="openai", model="m", base_url="http://x", timeouts={"connect": 0.2}
        ).timeouts
        with client_module.Client(limits).ask("POST", server.url, {}) as response:
            assert response.body() == b"hi"
    assert len(tries) == 2
