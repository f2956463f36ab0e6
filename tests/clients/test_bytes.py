"""Bytes that every reader of the field survives."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http_chunks import CHUNK_BYTES, chunked, split
from tests.clients.service import LONG, MANY, SEPARATED

CHAT = [{"role": "user", "content": "hi"}]
ROUTES = {
    "sse": ("/getAnwser", {"question": "hi", "database": "none"}),
    "ndjson": ("/getAnwser?format=ndjson", {"question": "hi", "database": "none"}),
    "text": ("/getAnwser?format=text", {"question": "hi", "database": "none"}),
    "openai": ("/v1/chat/completions", {"messages": CHAT, "stream": True}),
    "api": ("/api", {"question": "hi"}),
}


def asked(live, route, model):
    path, body = ROUTES[route]
    return live.call("POST", path, body | {"model" if route == "openai" else "provider": model})


@given(st.text(max_size=4000))
def test_a_split_text_is_the_same_text_in_small_whole_pieces(text):
    data = (text * 3).encode()
    pieces = split(data)
    assert b"".join(pieces) == data
    assert all(len(piece) <= CHUNK_BYTES for piece in pieces)
    assert "".join(piece.decode() for piece in pieces) == text * 3


def test_chunks_have_their_sizes_before_them():
    framed, found = chunked(LONG.encode()), b""
    while framed:
        size, _, framed = framed.partition(b"\r\n")
        found += framed[: int(size, 16)]
        assert framed[int(size, 16) :].startswith(b"\r\n")
        framed = framed[int(size, 16) + 2 :]
    assert found == LONG.encode()


@pytest.mark.parametrize("route", ROUTES)
def test_an_http_chunk_is_small_and_ends_between_characters(live, route):
    with asked(live, route, "long") as reply:
        pieces = list(iter(reply.read, b""))
    assert max(map(len, pieces)) <= CHUNK_BYTES
    assert LONG in "".join(piece.decode() for piece in pieces)


@pytest.mark.parametrize("route", ["sse", "ndjson", "openai", "api"])
def test_line_ends_of_unicode_are_escaped_and_nothing_else_is(live, route):
    with asked(live, route, "separated") as reply:
        body = reply.body().decode()
    assert not {"\u2028", "\u2029", "\x85"} & set(body)
    assert body.count("\n") == len(body.splitlines())
    assert "一" in body and "四" in body
    if route in ("ndjson", "api"):
        lines = [json.loads(line) for line in body.splitlines() if line]
        assert lines[-1]["content"] == SEPARATED


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/getAnwser?format=json", {"question": "hi", "database": "none", "provider": "separated"}),
        ("/conversation/", {"query": "hi", "provider": "separated"}),
        ("/v1/chat/completions", {"messages": CHAT, "model": "separated"}),
        ("/v1/completions", {"prompt": "hi", "model": "separated"}),
        ("/v1/responses", {"input": "hi", "model": "separated"}),
        ("/getAnwser", {"question": "hi", "provider": "no\u2028such\x85one"}),
    ],
)
def test_a_whole_reply_and_a_failure_are_one_line_as_well(live, path, body):
    with live.call("POST", path, body) as reply:
        found, answer_id = reply.body().decode(), reply.headers.get("x-answer-id")
    assert len(found.splitlines()) == 1 and "\\u2028" in found
    if answer_id is not None:
        with live.call("GET", f"/answers/{answer_id}") as reply:
            state = reply.body().decode()
        assert len(state.splitlines()) == 1 and json.loads(state)["answer"] == SEPARATED


@pytest.mark.parametrize("form", ["text/event-stream", "application/x-ndjson", "text/plain", "application/json"])
def test_format_takes_the_media_type_itself_as_accept_does(live, form):
    body = {"question": "hi", "database": "none", "provider": "plain"}
    with live.call("POST", f"/getAnwser?format={form}", body) as reply:
        assert reply.status == 200 and reply.headers["content-type"].startswith(form)


def test_a_head_that_would_ask_says_what_it_may_be_instead(live):
    with live.call("HEAD", "/getAnwser?question=hi") as reply:
        assert reply.status == 405 and "GET" in reply.headers["allow"] and "HEAD" not in reply.headers["allow"]


def test_retry_is_in_the_first_events_block_and_a_heartbeat_is_no_block(live):
    with asked(live, "sse", "silent") as reply:
        body = reply.body()
    assert body.startswith((b"retry: 1000\nid: ", b": ping\n"))
    assert b": ping\n" in body and b": ping\n\n" not in body
    # As @microsoft/fetch-event-source does it: each block is a message, and its data is parsed.
    blocks = body.split(b"\n\n")[:-1]
    assert all(json.loads(line[6:]) for block in blocks for line in block.split(b"\n") if line.startswith(b"data: "))
    assert all(b"data: " in block for block in blocks)


def test_a_heartbeat_of_v1_is_a_block_so_that_difys_splitter_loses_no_chunk(live):
    with asked(live, "openai", "silent") as reply:
        body = reply.body().decode()
    assert ": ping\n\n" in body
    text = ""
    for block in body.split("\n\n"):
        if block.strip() and not block.startswith(":") and "[DONE]" not in block:
            choices = json.loads(block.strip().removeprefix("data: "))["choices"]
            text += choices[0]["delta"].get("content") or ""
    assert text == "一二三四五六"


def test_resuming_a_fully_read_answer_is_an_empty_stream_for_post_and_204_for_get(live):
    with asked(live, "sse", "plain") as reply:
        last = [event.id for event in reply.events()][-1]
        answer_id = reply.headers["x-answer-id"]
    with live.call("POST", "/getAnwser", {"question": "hi"}, {"Last-Event-ID": last}) as reply:
        assert (reply.status, reply.body()) == (200, b"")
        assert reply.headers["content-type"].startswith("text/event-stream")
    for path in ("/getAnwser?question=hi", f"/answers/{answer_id}/events"):
        with live.call("GET", path, headers={"Last-Event-ID": last}) as reply:
            assert reply.status == 204


@pytest.mark.parametrize(
    ("path", "body", "status", "again"),
    [
        ("/v1/chat/completions", {"model": "refused", "messages": CHAT}, 502, "false"),
        ("/v1/chat/completions", {"model": "cut", "messages": CHAT}, 502, "true"),
        ("/v1/chat/completions", {"model": "nobody"}, 400, "false"),
        ("/getAnwser", {"question": "hi", "provider": "refused"}, 502, "false"),
    ],
)
def test_a_failure_says_whether_asking_again_can_help(live, path, body, status, again):
    with live.call("POST", path, body) as reply:
        assert (reply.status, reply.headers["x-should-retry"]) == (status, again)


def test_an_unknown_v1_route_answers_its_preflight_and_names_what_there_is(live):
    preflight = {"Origin": "http://app.example", "Access-Control-Request-Method": "POST"}
    with live.call("OPTIONS", "/v1/assistants", headers=preflight) as reply:
        assert reply.status == 204
    with live.call("POST", "/v1/assistants", {}) as reply:
        error = reply.json()["error"]
    assert (reply.status, error["code"]) == (404, "not_found")
    assert "POST /v1/chat/completions" in error["message"] and "GET /v1/models" in error["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/getAnwser/", "/api/", "/conversation"])
def test_a_trailing_slash_changes_nothing(live, path):
    with live.call("POST", path, {"messages": CHAT} if "v1" in path else {"question": "hi"}) as reply:
        assert reply.status == 200


def test_api_without_a_body_asks_the_configured_question(live, service):
    with live.call("POST", "/api", headers={"Content-Length": "0"}) as reply:
        assert reply.status == 200
        assert json.loads(reply.body().splitlines()[-1])["content"] == "一二三四五六"
    assert service.asked[-1]["messages"][-1]["content"] == "你好"


EVERY_BODY = {
    "/getAnwser": {"question": "unfinished"},
    "/api": {"question": "unfinished"},
    "/conversation/": {"query": "unfinished"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "unfinished"}]},
    "/v1/completions": {"prompt": "unfinished"},
    "/v1/embeddings": {"input": "unfinished"},
    "/v1/responses": {"input": "unfinished"},
    "/chat": {"id": "c", "messages": [{"role": "user", "parts": [{"type": "text", "text": "unfinished"}]}]},
    "/feedback": {"id": "unfinished", "right": True},
}


@pytest.mark.parametrize("path", EVERY_BODY)
@pytest.mark.parametrize("how", ["short", "unchunked"])
def test_a_body_that_ends_too_early_is_refused_and_nothing_is_asked(live, service, path, how):
    data = json.dumps(EVERY_BODY[path]).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    if how == "short":
        sent = f"{head}Content-Length: {len(data) + 7}\r\n\r\n".encode() + data
    else:
        sent = f"{head}Transfer-Encoding: chunked\r\n\r\n{len(data):x}\r\n".encode() + data + b"\r\n"
    with socket.create_connection(("127.0.0.1", live.port), 10) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        reply = b"".join(iter(lambda: sock.recv(65536), b""))
    assert reply.startswith(b"HTTP/1.1 400 "), reply
    assert service.questions("unfinished") == 0


def test_a_byte_order_mark_is_skipped(live):
    data = b"\xef\xbb\xbf" + json.dumps({"model": "plain", "messages": CHAT}).encode()
    with live.call("POST", "/v1/chat/completions", data) as reply:
        assert reply.json()["choices"][0]["message"]["content"] == "一二三四五六"


def test_what_clients_send_for_not_set_is_not_sent_on(live, service):
    unset = {"seed": -1, "top_p": 0, "max_tokens": -1, "max_completion_tokens": -1}
    stops = [f"s{n}" for n in range(12)]
    with live.call("POST", "/v1/chat/completions", {"messages": CHAT, "stop": stops, **unset}) as reply:
        assert reply.status == 200
    assert not {"seed", "top_p", "max_tokens", "max_completion_tokens"} & service.asked[-1].keys()
    assert service.asked[-1]["stop"] == stops
    with live.call("POST", "/v1/chat/completions", {"messages": CHAT, "max_tokens": 0}) as reply:
        assert (reply.status, reply.json()["error"]["param"]) == (400, "max_tokens")


HISTORIES = [
    [{"question": "a", "answer": "b"}],
    [["a", "b"]],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
    [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"}],
]


@pytest.mark.parametrize("history", HISTORIES)
def test_history_is_taken_in_each_form(live, service, history):
    body = {"question": "c", "provider": "plain", "database": "none", "history": history}
    with live.call("POST", "/getAnwser", body) as reply:
        assert reply.status == 200
        reply.body()
    told = [(message["role"], message["content"]) for message in service.asked[-1]["messages"]]
    assert told == [("user", "a"), ("assistant", "b"), ("user", "c")]


@pytest.mark.parametrize(
    ("history", "at"),
    [
        ([["a"]], "history[0]"),
        ([["a", "b"], ["c", 1]], "history[1]"),
        ([{"role": "system", "content": "x"}], "history[0].role"),
        ([{"role": "assistant", "content": "x"}], "history[0].role"),
        ([{"role": "user", "content": "x"}], "history[0].role"),
        ([{"role": "user", "content": 3}], "history[0].content"),
        ([{"role": "user", "content": "a"}, {"question": "b", "answer": "c"}], "history[1].role"),
    ],
)
def test_a_wrong_history_is_named(live, history, at):
    with live.call("POST", "/getAnwser", {"question": "c", "history": history}) as reply:
        assert reply.status == 400
        assert reply.json()["error"]["message"].startswith(f"{at}")


def test_a_large_reply_that_arrives_at_once_loses_nothing(live, service):
    """Its first read is handed on in slices, the rest is read in another way: nothing falls between the two."""
    with asked(live, "sse", "many") as reply:
        text = "".join(event.data["text"] for event in reply.events() if event.name == "message")
    assert text == "".join(MANY)
