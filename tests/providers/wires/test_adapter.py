"""One attempt end to end, through `Providers`, against a server on plain sockets that speaks OpenAI's wire."""

from __future__ import annotations

import json
import socket
import threading
import time

import gevent
import pytest

from providers import Providers
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.delta import Delta, Usage
from providers.errors import BadKey, BrokenProtocol, CutOff, ProviderError, RateLimited, TimedOut, Unreachable
from tests.providers.raw_server import Caller, serving
from tests.reliability.rig import at_most

REQUEST = ChatRequest.of([{"role": "user", "content": "hi"}], temperature=0)
KEY = "sk-canary-0123456789"


def event(text: str = "", reason: str | None = None, **more) -> bytes:
    told = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}], **more}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"


def providers(*urls: str, **settings) -> Providers:
    base_url = [f"{url}/v1" for url in urls]
    settings = {"type": "openai", "model": "m", "base_url": base_url, "api_key": KEY, "retries": 0} | settings
    return Providers({"one": ProviderConfiguration(**settings)}, "one")


def reply(*events: bytes, hold: threading.Event | None = None):
    """A script that answers every request with these events, chunked."""

    def script(caller: Caller) -> None:
        while caller.request():
            caller.head("Transfer-Encoding: chunked")
            for told in events:
                caller.chunk(told)
            if hold:
                hold.wait(5)
            caller.chunk(b"")

    return script


def test_a_reply_streams_from_question_to_deltas():
    seen = []

    def script(caller):
        seen.append(caller.request())
        caller.head("Transfer-Encoding: chunked")
        for told in (event(), event("He"), event("llo", "stop"), USAGE, DONE, b""):
            caller.chunk(told)

    with serving(script) as server:
        stream = providers(server.url, extra={"seed": 4}).stream(REQUEST)
        deltas = [delta for batch in stream for delta in batch]
    assert deltas == [Delta("He"), Delta("llo"), Delta(finish_reason="stop", usage=Usage(5, 2, 7))]
    assert (stream.provider, stream.model, stream.parameter_changes) == ("one", "m", [])
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}".encode() in head
    assert json.loads(body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "seed": 4,
    }


def test_streams_that_end_cleanly_share_a_connection():
    def script(caller):
        while caller.request():
            caller.head("Transfer-Encoding: chunked")
            caller.chunk(event("x", "stop"))
            # The end of the reply and of its body in one write: they are read together, and the connection is free.
            caller.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE))

    with serving(script) as server:
        asking = providers(server.url)
        for _ in range(5):
            assert sum(len(batch) for batch in asking.stream(REQUEST)) == 2
        assert len(server.callers) == 1


def test_a_token_is_handed_out_before_the_next_one_comes():
    go_on = threading.Event()

    def script(caller):
        caller.request()
        caller.head("Transfer-Encoding: chunked")
        caller.chunk(event("a"))
        assert go_on.wait(5)
        caller.chunk(event("b", "stop") + DONE)

    with serving(script) as server:
        batches = iter(providers(server.url).stream(REQUEST))
        assert next(batches) == [Delta("a")]
        go_on.set()
        assert next(batches) == [Delta("b"), Delta(finish_reason="stop")]


def test_the_connection_is_let_go_at_the_end_marker_although_the_upstream_keeps_it_open():
    def script(caller):
        caller.request()
        caller.head("Transfer-Encoding: chunked")
        caller.chunk(event("a", "stop") + DONE)
        caller.wait_for_close()

    with serving(script) as server:
        began = time.monotonic()
        assert list(providers(server.url).stream(REQUEST))[-1][-1].finish_reason == "stop"
        assert time.monotonic() - began < at_most(0.2)
        assert server.callers[0].closes(at_most(0.2))


def test_silence_after_the_finish_reason_is_a_complete_reply():
    def script(caller):
        caller.request()
        caller.head("Transfer-Encoding: chunked")
        caller.chunk(event("a", "stop"))
        caller.wait_for_close()

    with serving(script) as server:
        stream = providers(server.url, timeouts={"idle": 0.1}).stream(REQUEST)
        assert [delta for batch in stream for delta in batch] == [Delta("a"), Delta(finish_reason="stop")]


def test_stopping_closes_the_upstreams_connection_at_once():
    def script(caller):
        caller.request()
        caller.head("Transfer-Encoding: chunked")
        caller.chunk(event("a"))
        caller.wait_for_close()

    with serving(script) as server:
        stream = providers(server.url).stream(REQUEST)
        next(iter(stream))
        began = time.monotonic()
        stream.close()
        assert server.callers[0].closes(at_most(0.2))
        assert time.monotonic() - began < at_most(0.2)


def test_a_stream_can_be_stopped_from_outside_while_it_waits():
    def script(caller):
        caller.request()
        caller.wait_for_close()

    with serving(script) as server:
        stream = providers(server.url).stream(REQUEST)
        waiting = gevent.spawn(list, stream)
        while not server.callers:
            gevent.sleep(0.002)
        gevent.sleep(0.02)
        stream.close()
        waiting.join(at_most(1))
        assert waiting.dead
        assert server.callers[0].closes(at_most(0.2))


def failing(script, **settings) -> tuple[str, ProviderError, int]:
    """(text, the failure, how often the upstream was asked)."""
    with serving(script) as server:
        text = ""
        stream = providers(server.url, **settings).stream(REQUEST)
        with pytest.raises(ProviderError) as caught:
            for batch in stream:
                text += "".join(delta.text for delta in batch)
        return text, caught.value, len(server.callers)


def refusal(status: str, body: bytes, *lines: str, kind: str = "application/json"):
    def script(caller):
        caller.request()
        caller.head(f"Content-Length: {len(body)}", *lines, status=status, kind=kind)
        caller.send(body)

    return script


def test_a_cut_keeps_the_prefix_and_is_not_asked_again():
    def script(caller):
        caller.request()
        caller.head("Transfer-Encoding: chunked")
        caller.chunk(event("Hel"))

    text, error, asked = failing(script, retries=3)
    assert (text, type(error), asked) == ("Hel", CutOff, 1)


def test_a_fault_names_no_secret_and_shows_no_page():
    page = b"<html><title>Bad Gateway</title></html>"
    told = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
    for script in (refusal("502 Bad", page, kind="text/html"), refusal("401 No", told), refusal("200 OK", page)):
        _, error, _ = failing(script)
        assert KEY not in str(error) + error.message and "<" not in error.message


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("<p>Bad <b class=x>gateway</b></p><br/><center>nginx</center>", "Bad gateway nginx"),
        ("<400> a < b > c, no <think> or <tool_call>", "<400> a < b > c, no <think> or <tool_call>"),
    ],
)
def test_pieces_of_html_are_taken_out_of_a_message(said, shown):
    _, error, _ = failing(refusal("400 No", json.dumps({"error": {"message": said}}).encode()))
    assert error.message == shown


def test_the_words_of_a_refusal_are_kept():
    _, error, _ = failing(refusal("401 No", b'{"error": {"message": "this key has expired"}}'))
    assert (type(error), error.message) == (BadKey, "this key has expired")


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect", "204 No Content"])
def test_redirects_are_not_followed(status):
    _, error, asked = failing(refusal(status, b"", "Location: http://127.0.0.1:1/v1/chat?key=SECRET"))
    assert (type(error), asked) == (BrokenProtocol, 1)
    if "204" not in status:
        assert "redirects to http://127.0.0.1:1/v1/chat (status" in error.message and "SECRET" not in error.message


def test_try_again_is_asked_again_and_then_told():
    script = refusal("429 Slow", b'{"error": {"message": "slow down"}}', "Retry-After: 0", "Connection: close")
    _, error, asked = failing(script, retries=2)
    assert (type(error), error.retry_after, asked) == (RateLimited, 0, 3)


def test_deadlines_say_which_one_passed():
    def silent(caller):
        caller.request()
        caller.wait_for_close()

    def falls_silent(caller):
        caller.request()
        caller.head("Connection: close")
        caller.send(event("a"))
        caller.wait_for_close()

    def only_a_role(caller):
        caller.request()
        caller.head("Connection: close")
        caller.send(event(""))
        caller.wait_for_close()

    for script, deadline in ((silent, "first_token"), (falls_silent, "idle"), (only_a_role, "first_token")):
        _, error, asked = failing(script, timeouts={"first_token": 5, "idle": 5} | {deadline: 0.1})
        assert isinstance(error, TimedOut)
        assert (error.deadline, asked) == (deadline, 1)


def test_the_wait_for_the_first_token_has_the_length_of_its_own_deadline():
    def only_a_role(caller):
        caller.request()
        caller.head("Connection: close")
        caller.send(event(""))
        caller.wait_for_close()

    began = time.monotonic()
    failing(only_a_role, timeouts={"first_token": 0.3, "idle": 0.05})
    assert 0.29 < time.monotonic() - began < at_most(0.5)


def dead_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


def test_a_dead_replica_is_passed_over_and_costs_no_retry():
    with serving(reply(event("x", "stop"), DONE)) as server:
        asking = providers(dead_url(), server.url, dead_url(), retries=0)
        for _ in range(6):
            stream = asking.stream(REQUEST)
            assert next(iter(stream))[0] == Delta("x")


def test_where_every_replica_is_dead_it_is_unreachable():
    with pytest.raises(Unreachable) as caught:
        list(providers(dead_url(), dead_url()).stream(REQUEST))
    assert not caught.value.request_sent


def test_replicas_share_the_streams():
    hold = threading.Event()
    with serving(reply(event("x"), hold=hold)) as a, serving(reply(event("x"), hold=hold)) as b:
        asking = providers(a.url, b.url)
        streams = [iter(asking.stream(REQUEST)) for _ in range(6)]
        for stream in streams:
            next(stream)
        assert (len(a.callers), len(b.callers)) == (3, 3)
        assert asking.described()[0].in_flight == 6
        hold.set()


def test_many_streams_at_once_leave_nothing_behind():
    with serving(reply(event("a"), event("b", "stop"), DONE)) as server:
        asking = providers(server.url)

        def one() -> str:
            return "".join(delta.text for batch in asking.stream(REQUEST) for delta in batch)

        running = [gevent.spawn(one) for _ in range(50)]
        assert [greenlet.get(timeout=10) for greenlet in running] == ["ab"] * 50
        assert asking.described()[0].in_flight == 0
        asking.close()
        for caller in range(len(server.callers)):
            server.wait_until_over(caller)
