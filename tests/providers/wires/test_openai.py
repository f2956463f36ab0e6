"""OpenAI's wire: what its chunks and its errors mean, whoever sends them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.delta import Delta, ToolCallDelta, Usage
from providers.errors import (
    BadKey,
    ContextTooLong,
    Moderated,
    NoSuchModel,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Rejected,
    TimedOut,
    UpstreamFailed,
)
from providers.stream.normaliser import Normaliser
from providers.stream.sse import Frame
from providers.wires.adapter import presentable, retry_after
from providers.wires.openai import Adapter, payload
from providers.wires.openai_chunks import Parser, parse_fast, read_usage
from providers.wires.openai_errors import body_failure


def chunk(delta=None, finish_reason=None, **more) -> dict:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason}], **more}


def read(told: dict, event: str = "") -> list[Delta]:
    return list(Parser().parse(told, Frame(json.dumps(told).encode(), event)))


def failure(told: dict, event: str = "") -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        read(told, event)
    return caught.value


# -- what is asked


def test_only_what_the_request_sets_is_sent_and_usage_is_asked_for():
    request = ChatRequest.of([{"role": "user", "content": "hi"}], temperature=0, top_k=5, stop=("a", "b"), max_tokens=7)
    assert payload(request, "m") == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "top_k": 5,
        "stop": ["a", "b"],
        "max_tokens": 7,
    }


def test_tools_and_logprobs_pass_through():
    tools = [{"type": "function", "function": {"name": "f"}}]
    body = payload(ChatRequest([], tools=tools, tool_choice="auto", logprobs=True, top_logprobs=2), "m")
    assert (body["tools"], body["tool_choice"], body["logprobs"], body["top_logprobs"]) == (tools, "auto", True, 2)


# -- what chunks say


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"role": "assistant", "content": ""}, Delta()),
        ({"content": "Hi"}, Delta("Hi")),
        ({"content": None, "reasoning": "why"}, Delta(reasoning="why")),
        ({"content": None, "reasoning_content": "why"}, Delta(reasoning="why")),
        ({"reasoning": "why", "reasoning_content": "why"}, Delta(reasoning="why")),
        ({"content": "so", "reasoning": "why"}, Delta("so", "why")),
        ({"content": [{"type": "text", "text": "a"}, "b", {"type": "image"}]}, Delta("ab")),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]}, Delta(reasoning="t")),
        ({"refusal": "no"}, Delta("no")),
    ],
)
def test_a_part_says_text_or_reasoning(part, expected):
    assert read(chunk(part)) == [expected]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"index": 1, "id": "c", "function": {"name": "f", "arguments": "{"}}, ToolCallDelta(1, "c", "f", "{")),
        ({"index": 0, "id": "", "function": {"name": "", "arguments": None}}, ToolCallDelta(0)),
        ({"index": 0, "id": None, "function": {"arguments": "}"}}, ToolCallDelta(0, arguments="}")),
        ({"function": {"name": "f", "arguments": {"a": 1}}}, ToolCallDelta(0, "", "f", '{"a":1}')),
        ({"index": 2}, ToolCallDelta(2)),
    ],
)
def test_tool_calls_come_in_pieces_with_members_missing_or_null(call, expected):
    assert read(chunk({"tool_calls": [call]}))[0].tool_calls == [expected]


def test_the_function_call_of_old_models_is_a_tool_call():
    out = read(chunk({"function_call": {"name": "f", "arguments": "{}"}}, "function_call"))
    assert out == [Delta(tool_calls=[ToolCallDelta(0, "", "f", "{}")], finish_reason="tool_calls")]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("content_filter", "content_filter"),
        ("repetition", "stop"),
        ("eos", "stop"),
        ("max_tokens", "length"),
        ("null", None),
        ("", None),
        (None, None),
    ],
)
def test_finish_reasons_are_told_in_one_vocabulary(reason, expected):
    assert read(chunk({"content": "x"}, reason)) == [Delta("x", finish_reason=expected)]


@pytest.mark.parametrize("reason", ["abort", "error", "insufficient_system_resource"])
def test_some_finish_reasons_are_failures_and_the_text_beside_them_stays(reason):
    told = Parser().parse(chunk({"content": "x"}, reason), Frame(b""))
    assert next(told) == Delta("x")
    with pytest.raises(UpstreamFailed):
        next(told)


def test_other_choices_are_not_this_reply():
    two = {"choices": [{"index": 1, "delta": {"content": "no"}}, {"index": 0, "delta": {"content": "yes"}}]}
    assert read(two) == [Delta("yes")]


def test_a_whole_reply_reads_like_a_chunk():
    told = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    assert read(told) == [Delta("Hi", finish_reason="stop", whole=True), Delta(usage=Usage(1, 2, 3))]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 5, "total_tokens": 7, "completion_tokens": 2}, Usage(5, 2, 7)),
        ({"prompt_tokens": 5, "total_tokens": 7, "completion_tokens": None}, Usage(5, 2, 7)),
        ({"prompt_tokens": 5}, None),
        ({"total_tokens": 5}, None),
        ({}, None),
        (None, None),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "total_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
            Usage(5, 2, 7, 3, 1),
        ),
    ],
)
def test_usage_is_what_was_told_and_never_made_up(usage, expected):
    assert read_usage({"usage": usage}) == expected


# -- the fast way has the slow one as its judge


anything = st.sampled_from([None, "", "x", "你", 0, 1, {}, [], [{"index": 0}], True, "stop", "null", {"code": 1}])
names = ["content", "reasoning", "reasoning_content", "refusal", "tool_calls", "function_call", "role"]
parts = st.dictionaries(st.sampled_from(names), anything, max_size=3)
usages = st.none() | st.fixed_dictionaries(
    {},
    optional={
        f"{name}_tokens": st.none() | st.integers(-1, 9) | st.booleans() for name in ("prompt", "completion", "total")
    },
)
choices = st.fixed_dictionaries(
    {},
    optional={
        "delta": parts | anything,
        "index": anything,
        "finish_reason": anything,
        "logprobs": anything,
        "text": anything,
    },
)
chunks = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.lists(choices, max_size=2),
        "usage": usages,
        "error": anything,
        "code": anything,
        "id": anything,
    },
)


@given(chunks, st.sampled_from(["", "error", "message"]))
def test_the_fast_way_gives_what_the_slow_one_gives(told, event):
    frame = Frame(json.dumps(told).encode(), event)
    fast = parse_fast(frame)
    if fast is not None:
        plain, out = Normaliser(), []
        plain.push(Parser().parse(told, frame), out)
        quick, fast_out = Normaliser(), []
        quick.push([fast], fast_out)
        assert (fast_out, quick.usage, quick.finish_reason) == (out, plain.usage, plain.finish_reason)


@pytest.mark.parametrize(
    "told",
    [
        chunk({"content": "x"}),
        chunk({"role": "assistant", "content": ""}, id="chatcmpl-1", model="m"),
        chunk({"reasoning_content": "x", "content": None}),
        chunk({"content": "x"}, usage={"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}),
        {
            "choices": [
                {"index": 0, "delta": {"content": "x"}, "logprobs": None, "finish_reason": None, "token_ids": None}
            ]
        },
    ],
)
def test_the_usual_chunks_go_the_fast_way(told):
    assert parse_fast(Frame(json.dumps(told).encode())) is not None


# -- errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "m", "type": "BadRequestError", "code": 400}, Rejected),
        ({"message": "This model's maximum context length is 4096 tokens.", "code": 400}, ContextTooLong),
        ({"message": "m", "code": "context_length_exceeded"}, ContextTooLong),
        ({"message": "m", "type": "Service Unavailable", "code": 503}, UpstreamFailed),
        ({"message": "m", "type": "InternalServerError", "code": 500}, UpstreamFailed),
        ({"message": "m", "code": "insufficient_quota"}, QuotaExceeded),
        ({"message": "m", "type": "insufficient_quota", "code": None}, QuotaExceeded),
        ({"message": "m", "code": "rate_limit_exceeded"}, RateLimited),
        ({"message": "m", "code": 429}, RateLimited),
        ({"message": "m", "code": "data_inspection_failed"}, Moderated),
        ({"message": "m", "type": "NotFoundError", "code": 404}, NoSuchModel),
        ({"message": "m", "code": 401}, BadKey),
        ({"message": "m"}, UpstreamFailed),
        ("Unauthorized", BadKey),
        ("something broke", UpstreamFailed),
    ],
)
def test_an_error_in_a_stream_is_named_by_its_meaning(error, kind):
    assert type(failure({"error": error})) is kind


def test_an_error_beside_choices_is_still_one_and_keeps_its_words():
    told = chunk({"content": ""}, "error", error={"message": "provider fell over", "code": 502})
    assert failure(told).message == "provider fell over"
    assert type(failure(told)) is UpstreamFailed


def test_an_error_event_without_an_error_member_is_one():
    assert failure({"message": "broke"}, event="error").message == "broke"
    assert type(failure({"code": "invalid_api_key", "message": "no"})) is BadKey
    assert type(failure({"object": "error", "message": "no", "type": "BadRequestError", "code": 400})) is Rejected


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "bad", "code": None}}, Rejected),
        (
            400,
            {"error": {"message": "prompt is too long: 9000 tokens", "type": "invalid_request_error"}},
            ContextTooLong,
        ),
        (400, {"error": {"message": "The model `x` does not exist", "type": "invalid_request_error"}}, NoSuchModel),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, Rejected),
        (401, {"error": "Unauthorized"}, BadKey),
        (401, {"error": {"message": "no", "type": "invalid_request_error"}}, BadKey),
        (403, {}, BadKey),
        (404, {"error": {"message": "no", "type": "NotFoundError", "code": 404}}, NoSuchModel),
        (404, {"detail": "Not Found"}, NoSuchModel),
        (429, {"error": {"message": "slow down"}}, RateLimited),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, QuotaExceeded),
        (500, {"error": {"message": "x", "type": "BadRequestError"}}, UpstreamFailed),
        (501, {"error": {"message": "x", "type": "NotImplementedError"}}, UpstreamFailed),
        (503, {"error": {"message": "x"}}, UpstreamFailed),
        (408, {}, TimedOut),
        (504, "<html>", TimedOut),
        (502, "<html><body>Bad gateway</body></html>", UpstreamFailed),
    ],
)
def test_a_status_and_its_body_say_what_went_wrong(status, body, kind):
    told = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    error = body_failure(status, {}, told)
    assert type(error) is kind
    assert "<" not in error.message


def test_busy_answers_say_try_again_and_for_how_long_to_wait():
    error = body_failure(429, {"retry-after": "7"}, b'{"error": {"message": "slow down"}}')
    assert (error.upstream_said_retry, error.retry_after) == (True, 7)
    assert body_failure(503, {}, b"{}").upstream_said_retry
    assert not body_failure(500, {}, b"{}").upstream_said_retry
    assert not body_failure(429, {}, b'{"error": {"code": "insufficient_quota", "message": "x"}}').upstream_said_retry


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 59),
        ("Fri, 31 Dec 1999 23:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(told, seconds):
    assert retry_after({"retry-after": told}, now=946684740) == seconds


@pytest.mark.parametrize(
    "words", ["Incorrect API key provided: sk-abcdefghijkl", "bearer abcdefgh", "x?access_token=24.abc"]
)
def test_a_message_shows_nothing_that_looks_like_a_secret(words):
    assert not {"abcdefgh", "24.abc", "sk-abcdefghijkl"} & {*presentable(words).replace("=", " ").split()}
    assert "abcdef" not in presentable(words) and "24.abc" not in presentable(words)


def test_a_message_is_short_and_on_one_line():
    assert presentable("a\n  b") == "a b"
    assert len(presentable("x" * 1000)) == 300
    assert "<" not in presentable("<!DOCTYPE html><p>no</p>")


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        ({"detail": "Payment Required"}, "upstream_quota", "Payment Required"),
        ({"message": "Too Many Requests"}, "upstream_rate_limited", "Too Many"),
        ({"message": "Unauthorized"}, "upstream_auth", "Unauthorized"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too large"}]}, "upstream_error", "body.n: too large"),
        ({"Error": {"Code": "x", "Message": "a sentence"}}, "upstream_error", "a sentence"),
        ({"errors": ["first", "second"]}, "upstream_error", "first; second"),
        ({"errors": "one"}, "upstream_error", "one"),
    ],
)
def test_an_error_without_its_status_is_no_end_of_the_reply(error, code, says):
    body = b'data: {"choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\ndata: ' + json.dumps(error).encode()
    configuration = ProviderConfiguration(type="openai", model="m", base_url="http://x")
    reading = Adapter(configuration, "p").reply_reader("text/event-stream")
    deltas = reading.feed(body + b"\n\ndata: [DONE]\n\n")
    assert "".join(delta.text for delta in deltas) == "Hel"
    assert reading.failure and reading.failure.code == code and says in reading.failure.message


@pytest.mark.parametrize("sign", [{"message": "ping"}, {"status": "processing"}, {"type": "ping"}, {"detail": ""}, {}])
def test_a_sign_of_life_is_no_error(sign):
    configuration = ProviderConfiguration(type="openai", model="m", base_url="http://x")
    reading = Adapter(configuration, "p").reply_reader("text/event-stream")
    body = b"data: " + json.dumps(sign).encode() + b'\n\ndata: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
    deltas = reading.feed(body + b"data: [DONE]\n\n")
    assert (deltas[0].text, deltas[-1].finish_reason) == ("Hi", "stop")
