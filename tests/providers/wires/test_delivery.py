"""Batches that are delivered from the event loop are those that would be iterated, whatever happens to the stream."""

from __future__ import annotations

import threading
import time

import gevent
import pytest

from providers import Providers
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.delta import Delta
from providers.errors import BrokenProtocol, CutOff, TimedOut
from tests.providers.raw_server import Caller, serving
from tests.reliability.rig import at_most

WORDS = [f"word{n} " for n in range(20)]
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def event(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % text.encode()


class Asking:
    """Asks, and sorts what came: `iterated` and `delivered` deltas."""

    def __init__(self, url: str, **timeouts: float) -> None:
        configuration = ProviderConfiguration(
            type="openai", model="m", base_url=f"{url}/v1", retries=0, timeouts=timeouts or {}
        )
        self.stream = Providers({"one": configuration}, "one").stream(
            ChatRequest.of([{"role": "user", "content": "hi"}])
        )
        self.iterated: list[Delta] = []
        self.delivered: list[Delta] = []

    def run(self) -> None:
        try:
            for batch in self.stream:
                self.iterated += batch
                self.stream.deliver_to(self.take, self.take_text)
        finally:
            self.stream.close()

    def take(self, batch: list[Delta]) -> None:
        assert gevent.getcurrent() is gevent.get_hub()
        self.delivered += batch

    def take_text(self, text: str) -> None:
        self.take([Delta(text)])

    @property
    def text(self) -> str:
        """In the order of arrival: the first batch is iterated, the last one too."""
        first, *rest = self.iterated
        return "".join(delta.text for delta in [first, *self.delivered, *rest])


def slowly(*pieces: bytes, then=None):
    """A script that sends each piece alone."""

    def script(caller: Caller) -> None:
        caller.request()
        caller.head("Transfer-Encoding: chunked")
        for piece in pieces:
            caller.chunk(piece)
            time.sleep(0.01)
        if then is not None:
            then(caller)
        else:
            caller.chunk(b"")

    return script


def test_the_reply_is_the_same_and_its_last_batch_is_iterated():
    with serving(slowly(*map(event, WORDS), END, DONE)) as server:
        asking = Asking(server.url)
        asking.run()
    assert asking.text == "".join(WORDS)
    assert asking.iterated[-1].finish_reason == "stop"
    assert len(asking.delivered) > len(WORDS) // 2
    assert not any(delta.finish_reason for delta in asking.delivered)


def test_an_end_of_the_body_without_an_end_of_the_reply_is_cut_off():
    with serving(slowly(*map(event, WORDS))) as server:
        asking = Asking(server.url)
        with pytest.raises(CutOff):
            asking.run()
    assert asking.text == "".join(WORDS)


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_connection_that_ends_is_cut_off_and_keeps_what_came(how):
    def ends(caller: Caller) -> None:
        caller.reset() if how == "reset" else caller.sock.close()

    with serving(slowly(*map(event, WORDS), then=ends)) as server:
        asking = Asking(server.url)
        with pytest.raises(CutOff):
            asking.run()
    assert asking.text == "".join(WORDS)


def test_a_broken_frame_is_broken_protocol_after_what_came_before_it():
    with serving(slowly(*map(event, WORDS), b'data: {"choices": [\n\n')) as server:
        asking = Asking(server.url)
        with pytest.raises(BrokenProtocol):
            asking.run()
    assert asking.text == "".join(WORDS)


def test_silence_between_events_runs_into_the_idle_deadline():
    left = threading.Event()
    with serving(slowly(*map(event, WORDS), then=lambda caller: left.wait(5))) as server:
        asking = Asking(server.url, idle=0.3)
        began = time.monotonic()
        with pytest.raises(TimedOut) as caught:
            asking.run()
        took = time.monotonic() - began
        left.set()
    assert caught.value.deadline == "idle"
    assert took < 0.3 + at_most(0.5)
    assert asking.text == "".join(WORDS)


def test_closing_it_closes_the_upstream_at_once():
    with serving(slowly(*map(event, WORDS), then=lambda caller: caller.wait_for_close())) as server:
        asking = Asking(server.url)
        running = gevent.spawn(asking.run)
        with gevent.Timeout(10):
            while len(asking.delivered) < len(WORDS) - 1:
                gevent.sleep(0.005)
        asking.stream.close()
        running.join(5)
        with gevent.Timeout(5):
            while not server.callers[0].closed_at_once.is_set():
                gevent.sleep(0.002)


def test_an_error_of_the_consumer_is_raised_where_it_iterates():
    with serving(slowly(*map(event, WORDS), END, DONE)) as server:
        asking = Asking(server.url)
        asking.take = lambda batch: 1 / 0  # type: ignore[method-assign]
        with pytest.raises(ZeroDivisionError):
            asking.run()


def test_other_greenlets_run_while_the_loop_reads():
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0)

    with serving(slowly(*map(event, WORDS), END, DONE)) as server:
        counting = gevent.spawn(count)
        Asking(server.url).run()
        counting.kill()
    assert turns > len(WORDS)


def test_a_reply_that_comes_in_a_few_large_reads_is_whole():
    many = [f"word{n} " for n in range(5000)]

    def script(caller: Caller) -> None:
        caller.request()
        caller.head("Transfer-Encoding: chunked")
        caller.chunk(event(many[0]))
        time.sleep(0.05)
        for part in (many[1:4], many[4:2500], many[2500:]):
            caller.chunk(b"".join(map(event, part)))
        caller.chunk(END + DONE)
        caller.chunk(b"")

    with serving(script) as server:
        asking = Asking(server.url)
        asking.run()
    assert asking.text == "".join(many)


def test_a_reply_that_comes_in_one_read_is_whole():
    many = [f"word{n} " for n in range(1000)]
    body = b"".join(map(event, many)) + END + DONE

    def script(caller: Caller) -> None:
        caller.request()
        caller.head("Transfer-Encoding: chunked")
        caller.chunk(body)
        caller.chunk(b"")

    with serving(script) as server:
        asking = Asking(server.url)
        asking.run()
    assert asking.text == "".join(many)
