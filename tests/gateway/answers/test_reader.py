"""Readers that leave, stall or read slowly: the upstream is closed at once, and nobody else notices anything."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.gateway.answers.hangups import closes, connection_of
from tests.gateway.configurations import configuration
from tests.gateway.live import Live, text_of
from tests.reliability.rig import at_most, sockets_to
from tests.waiting import eventually

PLANS = {
    "silent": "hang=first",
    "headless": "hang=head",
    "stuck": "hang=between",
    "slow": "count=1000,pace=0.02",
    "numbered": "count=40,pace=0.005",
    "flood": "count=2000",
    "whole": "onewrite",
}


@pytest.fixture(scope="module")
def live(upstream):
    """Nothing is resumed, and no heartbeat helps to notice that a client has left."""
    server = {"heartbeat_s": 30, "commit_after_s": 30, "resume_window_s": 0, "write_timeout_s": 1.5}
    with Live(configuration(upstream, PLANS, server=server)) as running:
        yield running


@pytest.fixture(scope="module")
def patient(upstream):
    server = {"heartbeat_s": 0.15, "commit_after_s": 0.15, "resume_window_s": 1, "max_streams": 3, "drain_s": 0.5}
    with Live(configuration(upstream, PLANS, server=server)) as running:
        yield running


@pytest.mark.parametrize("form", ["sse", "ndjson", "text", "json"])
@pytest.mark.parametrize("provider", ["silent", "headless"])
def test_a_client_that_leaves_before_the_first_token_closes_the_upstream(live, upstream, provider, form):
    question = f"early {provider} {form}"
    sock = live.connect("POST", f"/getAnwser?format={form}", {"question": question, "provider": provider})
    connection = connection_of(upstream, question)
    sock.close()
    assert closes(upstream, connection)


def test_a_client_that_leaves_in_the_midst_of_silence_closes_the_upstream(live, upstream):
    reply = live.ask("silence", provider="stuck")
    assert [event.name for event in itertools.islice(reply.events(), 2)] == ["start", "message"]
    connection = connection_of(upstream, "silence")
    assert not closes(upstream, connection, 0.05)
    reply.close()
    assert closes(upstream, connection)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api"])
def test_a_client_of_any_route_that_leaves_between_tokens_closes_the_upstream(live, upstream, path):
    question = f"between {path}"
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": question}]}
    if path == "/api":
        body = {"question": question, "provider": "slow"}
    reply = live.call("POST", path, body)
    assert reply.read()
    connection = connection_of(upstream, question)
    reply.close()
    assert closes(upstream, connection)


def test_a_half_closed_client_counts_as_gone(live, upstream):
    with live.ask("half", provider="stuck") as reply:
        next(reply.events())
        connection = connection_of(upstream, "half")
        reply.sock.shutdown(socket.SHUT_WR)
        assert closes(upstream, connection)


@pytest.mark.parametrize("stray", [b"\r\n", b"G"])
@pytest.mark.parametrize("how", ["closes", "half-closes", "resets"])
def test_a_client_that_sent_more_than_its_question_is_watched_all_the_same(live, upstream, stray, how):
    question = f"stray {stray!r} {how}"
    with live.ask(question, headers={"Connection": "keep-alive"}, provider="stuck") as reply:
        assert [event.name for event in itertools.islice(reply.events(), 2)] == ["start", "message"]
        connection = connection_of(upstream, question)
        reply.sock.sendall(stray)
        assert not closes(upstream, connection, 0.2)
        if how == "half-closes":
            reply.sock.shutdown(socket.SHUT_WR)
        elif how == "resets":
            reply.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reply.sock.close()
        else:
            reply.sock.close()
        assert closes(upstream, connection)


def test_a_slow_reader_that_leaves_is_not_waited_for(upstream):
    """Neither its write deadline nor a heartbeat could end the answer in time."""
    server = {"heartbeat_s": 60, "resume_window_s": 0, "write_timeout_s": 60, "log_bytes": 128 << 20}
    plans = {"endless": "count=6000,pace=0.001"}
    with Live(configuration(upstream, plans, server=server)) as running:
        question = "x" * 4000
        sock = running.connect("POST", "/getAnwser", {"question": question, "provider": "endless"}, receive_bytes=4096)
        connection = connection_of(upstream, question)
        # It has taken something, and then nothing until the kernel takes no more for it.
        assert sock.recv(100)
        sent = 0
        while (now := untaken_bytes(running.port)) > sent or not now:
            sent = now
            assert not closes(upstream, connection, 0.3)
        sock.shutdown(socket.SHUT_WR)
        assert closes(upstream, connection, 5)
        sock.close()


def untaken_bytes(port):
    """What the kernel holds on connections of this listener's that nobody has taken."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(line[4].partition(":")[0], 16) for line in lines if line[1].endswith(f":{port:04X}"))


def test_the_answer_stays_as_cancelled_when_its_last_reader_left(live, upstream):
    with live.ask("kept", provider="slow") as reply:
        seen = list(itertools.islice(reply.events(), 3))
    assert closes(upstream, connection_of(upstream, "kept"))
    answer_id = seen[0].data["id"]
    with live.call("GET", f"/answers/{answer_id}/events") as again:
        found = list(again.events())
    assert (found[-1].name, found[-1].data["finish_reason"]) == ("done", "cancelled")
    assert text_of(found).startswith(text_of(seen))


def test_a_reader_that_takes_nothing_is_dropped_alone(live):
    """2,000 chunks of 4,000 characters: more than the sockets between us hold."""
    question = "x" * 4000
    said = "".join(f"<{question}:{n}>" for n in range(1, 2001)).encode()
    asked = {"question": question, "provider": "flood"}
    stalled, leisurely = (live.connect("POST", "/getAnwser?format=text", asked, receive_bytes=4096) for _ in range(2))
    # One that takes its time, but takes something within every write_timeout_s, gets everything. The other is dropped
    # after one to two of them: what its system takes in the first counts as taken.
    taken = bytearray()

    def dropped():
        return not sockets_to(live.port, stalled.getsockname()[1])

    def take():
        while not dropped():
            time.sleep(0.1)
            taken.extend(leisurely.recv(4096))
        while data := leisurely.recv(1 << 20):
            taken.extend(data)

    taking = threading.Thread(target=take)
    taking.start()
    with live.call("POST", "/getAnwser?format=text", asked) as reply:
        assert reply.body() == said
    eventually(dropped, at_most(3))
    taking.join()
    leisurely.close()
    assert taken.endswith(b"\r\n0\r\n\r\n")
    assert taken.count(b"<xxx") == 2000
    received = b""
    try:
        while data := stalled.recv(1 << 20):
            received += data
    except ConnectionResetError:
        pass
    stalled.close()
    assert 0 < received.count(b"<xxx") < 2000
    assert not received.endswith(b"\r\n0\r\n\r\n")


def test_a_pipelined_request_is_no_disconnect(live):
    body = b'{"question": "pipe", "provider": "numbered"}'
    one = (
        b"POST /getAnwser HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        % len(body)
    )
    with socket.create_connection(("127.0.0.1", live.port), 20) as sock:
        sock.sendall((one + b"\r\n" + body) * 2)
        received = b""
        while received.count(b"event: done") < 2:
            data = sock.recv(65536)
            assert data
            received += data
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.count(b"<pipe:40>") == 2


def test_a_connection_serves_one_answer_after_the_other(live):
    body = b'{"question": "again", "provider": "numbered"}'
    one = (
        b"POST /getAnwser HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        % len(body)
    )
    with socket.create_connection(("127.0.0.1", live.port), 20) as sock:
        for _ in range(3):
            sock.sendall(one + b"\r\n" + body)
            received = b""
            while not received.endswith(b"\r\n0\r\n\r\n"):
                data = sock.recv(65536)
                assert data
                received += data
            assert received.count(b"event: done") == 1


def test_an_answer_that_came_in_one_piece_is_framed_like_any_other(live):
    with live.ask("piece", provider="whole", headers={"Connection": "keep-alive"}) as reply:
        assert [event.name for event in reply.events()] == ["start", "message", "done"]
        assert (reply.headers["transfer-encoding"], reply.headers["connection"]) == ("chunked", "keep-alive")


def test_an_old_client_gets_the_answer_without_chunks(live):
    with socket.create_connection(("127.0.0.1", live.port), 20) as sock:
        sock.sendall(b"GET /getAnwser?question=old&provider=numbered&format=text HTTP/1.0\r\n\r\n")
        received = b""
        while data := sock.recv(65536):
            received += data
    assert received.partition(b"\r\n\r\n")[2].decode() == "".join(f"<old:{n}>" for n in range(1, 41))


def test_the_head_waits_for_the_first_delta_but_not_for_ever(live, patient):
    with patient.ask(provider="silent") as reply:
        assert reply.status == 200
        assert reply.read() == b": ping\n"
    sock = live.connect("POST", "/getAnwser", {"question": "hi", "provider": "silent"})
    sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    sock.close()


@pytest.mark.parametrize(
    ("path", "body", "ping"),
    [
        ("/getAnwser", {"question": "a", "provider": "silent"}, b": ping\n"),
        ("/getAnwser?format=ndjson", {"question": "a", "provider": "silent"}, b"\n"),
        ("/v1/chat/completions", {"model": "silent", "stream": True}, b": ping\n\n"),
    ],
)
def test_heartbeats_fill_the_silence_before_the_first_token(patient, path, body, ping):
    body = body | ({"messages": [{"role": "user", "content": "a"}]} if path.startswith("/v1") else {})
    began = time.monotonic()
    with patient.call("POST", path, body) as reply:
        assert [reply.read() for _ in range(3)] == [ping] * 3
        assert 0.4 < time.monotonic() - began < at_most(0.6)


def test_a_reader_that_returns_within_the_window_finds_its_answer_running(patient, upstream):
    with patient.ask("window", provider="slow") as reply:
        seen = list(itertools.islice(reply.events(), 3))
    connection = connection_of(upstream, "window")
    assert not closes(upstream, connection, 0.2)
    headers = {"Last-Event-ID": seen[-1].id}
    with patient.call("GET", "/getAnwser?question=window", headers=headers) as reply:
        assert next(reply.events()).n == 4
        assert not closes(upstream, connection, 1.3)
    assert closes(upstream, connection, 1 + at_most(0.5))


def filling(live, question):
    """A reply that runs, as soon as there is room for it: answers of tests before have their window."""
    deadline = time.monotonic() + 1 + at_most(1)
    while (reply := live.ask(question, provider="stuck")).status != 200:
        reply.close()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return reply


def test_a_question_beyond_the_limit_is_told_so_at_once(patient, upstream):
    replies = [filling(patient, f"fill {n}") for n in range(3)]
    began = time.monotonic()
    with patient.ask("one too many", provider="stuck") as reply:
        assert (reply.status, reply.json()["error"]["code"]) == (503, "overloaded")
        assert int(reply.headers["retry-after"]) >= 1
    assert time.monotonic() - began < at_most(0.2)
    assert not [one for one in upstream.asked if one.body["messages"][-1]["content"] == "one too many"]
    answer_id = next(replies[0].events()).data["id"]
    with patient.call("DELETE", f"/answers/{answer_id}") as reply:
        assert reply.status == 204
    with patient.ask("room again", provider="stuck") as reply:
        assert reply.status == 200
    for reply in replies:
        reply.close()


def test_a_hundred_streams_at_once_do_not_mix(live):
    def ask(n):
        with live.ask(f"q{n}", provider="numbered") as reply:
            events = list(reply.events())
        return text_of(events) == "".join(f"<q{n}:{m}>" for m in range(1, 41)) and events[-1].name == "done"

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(ask, range(100)))


def test_at_the_end_running_answers_are_told_and_idle_connections_do_not_hold_it(upstream):
    server = {"heartbeat_s": 5, "drain_s": 1.5, "workers": 1}
    live = Live(configuration(upstream, PLANS, server=server))
    try:
        idle = socket.create_connection(("127.0.0.1", live.port), 20)
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        endless, ending = live.ask("endless", provider="stuck"), live.ask("ending", provider="numbered")
        head = next(endless.events())
        assert head.name == "start"
        began = time.monotonic()
        live.process.terminate()
        assert list(ending.events())[-1].name == "done"
        *_, last = endless.events()
        assert (last.name, last.data["code"], last.data["retryable"]) == ("failed", "shutting_down", True)
        assert endless.complete
        assert live.process.wait(30) == 0
        assert time.monotonic() - began < 1.5 + at_most(1)
        idle.close()
    finally:
        live.stop()


@pytest.mark.parametrize("framing", ["Content-Length", "chunked"])
def test_a_body_over_a_mebibyte_is_413_however_it_is_framed(live, upstream, framing):
    body = b'{"question": "' + b"x" * (1 << 20) + b'"}'
    head = b"POST /getAnwser HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
    if framing == "chunked":
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        sent = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    with socket.create_connection(("127.0.0.1", live.port), 20) as sock:
        sock.sendall(sent)
        received = b""
        while b"}}" not in received:
            data = sock.recv(65536)
            assert data
            received += data
    assert received.startswith(b"HTTP/1.1 413")
    assert b'"too_large"' in received
    assert upstream.asked == []


def test_a_long_question_fits_a_query_string(live):
    question = "%E9%97%AE" * 800
    with live.call("GET", f"/getAnwser?question={question}&provider=numbered&format=text") as reply:
        assert reply.status == 200
        assert reply.body().decode().startswith("<" + "问" * 800 + ":1>")


def test_head_asks_nothing_and_does_not_hang(live, upstream):
    with live.call("HEAD", "/getAnwser?question=head") as reply:
        assert reply.status == 405
    with live.ask("running", provider="stuck") as running:
        answer_id = next(running.events()).data["id"]
        with live.call("HEAD", f"/answers/{answer_id}/events") as reply:
            assert reply.status == 200
    assert len(upstream.asked) == 1
