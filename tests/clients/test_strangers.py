"""Odd bodies, methods, headers and addresses on every route: each answer is a clear error, and never a 500."""

from __future__ import annotations

import gzip
import json
import socket

import pytest

from tests.gateway.live import Reply

HI = [{"role": "user", "content": "hi"}]
GOOD = {
    "/v1/chat/completions": {"model": "plain", "messages": HI},
    "/v1/completions": {"model": "plain", "prompt": "hi"},
    "/v1/embeddings": {"model": "plain", "input": "hi"},
    "/v1/responses": {"model": "plain", "input": "hi"},
    "/chat": {"id": "c", "database": "none", "messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}]},
    "/getAnwser": {"question": "hi", "database": "none"},
    "/conversation/": {"query": "hi"},
    "/sql": {"sql": "select 1"},
}
ODD_BODIES = {
    "an array": b"[]",
    "a number": b"1",
    "null": b"null",
    "a string": b'"x"',
    "nothing": b"",
    "blanks": b"  ",
    "half": b"{",
    "two objects": b"{}{}",
    "NaN": b'{"temperature": NaN}',
    "too large a number": b'{"temperature": 1e999}',
    "a number of 5,000 digits": b'{"max_tokens": ' + b"9" * 5000 + b"}",
    "arrays in arrays": b"[" * 100_000 + b"]" * 100_000,
    "objects in objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "UTF-16": '{"model": "plain"}'.encode("utf-16"),
    "bad UTF-8": b'{"model": "\xff"}',
    "half a pair": b'{"model": "\\ud800"}',
    "a mark alone": b"\xef\xbb\xbf",
    "a long name": b'{"' + b"k" * 1_000_000 + b'": 1}',
    "compressed": gzip.compress(b"{}"),
}
ODD_VALUES = [
    *(True, -1, 1.5, 1e308, 10**30, "", "x" * (1 << 20), "\x00", {}, {"a": 1}),
    *([], [[]], [{}], [None], [1, 2], [[1]]),
    *([{"role": "user", "content": 5}], [{"role": "user", "parts": [5]}], [{"role": "king", "content": "x"}]),
]
FIELDS = {
    "/v1/chat/completions": ["messages", "model", "stream", "stream_options", "n", "max_tokens", "temperature", "top_p",
                             "stop", "tools", "tool_choice", "response_format", "logprobs", "extra_body", "database"],
    "/v1/completions": ["prompt", "model", "stream", "max_tokens", "suffix", "echo", "logprobs", "stop", "best_of"],
    "/v1/embeddings": ["input", "model", "encoding_format", "dimensions", "user"],
    "/v1/responses": ["input", "model", "instructions", "previous_response_id", "stream", "background", "store",
                      "tools", "tool_choice", "text", "reasoning", "metadata", "max_output_tokens", "conversation",
                      "prompt"],
    "/chat": ["id", "messages", "model", "provider", "database", "language", "stop", "execute"],
}  # fmt: skip


def refused(path: str, reply: Reply) -> dict:
    """The error of a reply, in the form of its route."""
    data = reply.body()
    assert 400 <= reply.status < 500, (reply.status, data[:200])
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["x-should-retry"] == "false"
    error = json.loads(data)["error"]
    assert error["code"] and len(error["message"]) <= 600
    if path.startswith("/v1"):
        assert {"message", "type", "param", "code"} <= error.keys()
    else:
        assert {"message", "code", "retryable", "retry_after", "request_id"} <= error.keys()
    return error


@pytest.mark.parametrize("body", ODD_BODIES)
@pytest.mark.parametrize("path", GOOD)
def test_an_odd_body_is_a_clear_error(live, service, path, body):
    before = len(service.asked)
    with live.call("POST", path, ODD_BODIES[body]) as reply:
        refused(path, reply)
    assert len(service.asked) == before


@pytest.mark.parametrize(("path", "field"), [(path, field) for path, fields in FIELDS.items() for field in fields])
def test_an_odd_value_is_taken_or_named_and_never_breaks_the_gateway(live, path, field):
    for value in ODD_VALUES:
        with live.call("POST", path, GOOD[path] | {field: value}) as reply:
            if reply.status != 200:
                refused(path, reply)
            else:
                reply.body()


@pytest.mark.parametrize("path", [*GOOD, "/v1/models", "/v1/nothing", "/v1"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_another_method_is_refused_and_the_allowed_ones_are_named(live, path, method):
    for slash in ("", "/"):
        with live.call(method, path + slash) as reply:
            refused(path, reply)
            assert (reply.status == 405) == ("allow" in reply.headers)


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize(
    "declared", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "x" * 3000]
)
def test_a_body_that_is_not_declared_as_json_is_refused_by_name(live, path, declared):
    with live.call("POST", path, GOOD[path], {"Content-Type": declared}) as reply:
        assert reply.status == 415 and refused(path, reply)["message"].startswith("Content-Type: ")


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "x"])
def test_a_compressed_body_is_refused_by_name(live, path, coding):
    with live.call("POST", path, GOOD[path], {"Content-Encoding": coding}) as reply:
        assert reply.status == 415 and refused(path, reply)["message"].startswith("Content-Encoding: ")
    with live.call("POST", path, GOOD[path], {"Content-Encoding": "identity"}) as reply:
        assert reply.status == 200


def raw(live, head: str, body: bytes = b"") -> Reply:
    sock = socket.create_connection(("127.0.0.1", live.port), 20)
    sock.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
    return Reply(sock)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"GET /v1/models/{'a' * 9000} HTTP/1.1\nHost: localhost", 414),
        (f"GET /getAnwser?question={'a' * 9000} HTTP/1.1\nHost: localhost", 414),
        (f"POST /v1/responses HTTP/1.1\nHost: localhost\nCookie: {'c' * 20_000}\nContent-Length: 0", 431),
        ("POST /v1/responses HTTP/1.1\nHost: localhost\nContent-Length: -1", 400),
        ("POST /v1/responses HTTP/1.1\nHost: localhost\nContent-Length: 5\nTransfer-Encoding: chunked", 400),
        ("POST /v1/responses HTTP/1.1\nHost: localhost\nTransfer-Encoding: gzip", 400),
        ("POST /v1/responses HTTP/1.1\nHost: localhost\nExpect: nonsense\nContent-Length: 0", 417),
    ],
)
def test_a_request_that_cannot_be_read_has_the_members_of_both_forms(live, head, status):
    with raw(live, head) as reply:
        error = refused("/v1", reply)
        assert reply.status == status and {"retryable", "request_id", "type", "param"} <= error.keys()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/getAnwser"])
@pytest.mark.parametrize("how", ["whole", "bytewise", "extension", "trailer", "bad size", "negative size"])
def test_a_chunked_body_is_read_or_refused(live, path, how):
    data = json.dumps(GOOD[path]).encode()
    size = b"%x" % len(data)
    chunks = {
        "whole": size + b"\r\n" + data + b"\r\n0\r\n\r\n",
        "bytewise": b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n",
        "extension": size + b";a=b\r\n" + data + b"\r\n0\r\n\r\n",
        "trailer": size + b"\r\n" + data + b"\r\n0\r\nX-Y: z\r\n\r\n",
        "bad size": b"zz\r\n" + data + b"\r\n0\r\n\r\n",
        "negative size": b"-1\r\n" + data + b"\r\n0\r\n\r\n",
    }
    head = f"POST {path} HTTP/1.1\nHost: localhost\nContent-Type: application/json\nTransfer-Encoding: chunked"
    with raw(live, f"{head}\nConnection: close", chunks[how]) as reply:
        if "size" in how:
            refused(path, reply)
        else:
            assert reply.status == 200


def test_the_addresses_of_v1_are_named_as_people_write_them(live):
    with live.call("GET", "/v1/nothing") as reply:
        assert "GET /v1/models/<model>," in refused("/v1", reply)["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"truncation": "sometimes"}, "truncation"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"instructions": "a\x00b"}, "instructions"),
    ],
)
def test_what_a_response_would_miss_is_refused_by_name(live, service, fields, param):
    before = len(service.asked)
    with live.call("POST", "/v1/responses", GOOD["/v1/responses"] | fields) as reply:
        assert refused("/v1", reply)["param"] == param
    assert len(service.asked) == before
