"""OpenAI's API, judged by its official client against a running server, and by the bytes on the wire."""

from __future__ import annotations

import json

import openai
import pytest

from tests.gateway.configurations import SAYS, configuration
from tests.gateway.live import Live

PLANS = {
    "thinks": "think",
    "calls": "tools",
    "cut": "cut",
    "rate": "fail=rate,retry=0",
    "auth": "fail=auth",
    "context": "fail=context",
    "broken": "fail=server,after=2",
    "short": "finish=length",
    "slow": "lull=0.5",
}
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def live(upstream):
    server = {"heartbeat_s": 0.1, "commit_after_s": 0.3}
    with Live(configuration(upstream, PLANS, server=server)) as running:
        yield running


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0, timeout=20) as found:
        yield found


def test_a_completion_comes_whole(client):
    reply = client.chat.completions.create(model="vllm", messages=HI)
    assert reply.id.startswith("chatcmpl-")
    assert (reply.object, reply.model) == ("chat.completion", "vllm")
    assert reply.choices[0].message.content == SAYS
    assert reply.choices[0].finish_reason == "stop"
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (12, 9, 21)


def test_a_completion_streams_role_text_and_one_finish(client):
    chunks = list(client.chat.completions.create(model="vllm", messages=HI, stream=True))
    assert len({chunk.id for chunk in chunks}) == 1
    assert (chunks[0].choices[0].delta.role, chunks[0].choices[0].delta.content) == ("assistant", "")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SAYS
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1].choices[0].delta.content is None
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_in_a_chunk_of_its_own_if_asked_for(client):
    options = {"include_usage": True}
    *_, finish, last = client.chat.completions.create(model="vllm", messages=HI, stream=True, stream_options=options)
    assert finish.choices[0].finish_reason == "stop"
    assert (last.choices, last.usage.total_tokens) == ([], 21)


def test_reasoning_is_in_reasoning_content(client):
    chunks = list(client.chat.completions.create(model="thinks", messages=HI, stream=True))
    reasoning = "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks)
    whole = client.chat.completions.create(model="thinks", messages=HI)
    assert reasoning == whole.choices[0].message.reasoning_content == "先想一想."
    assert whole.choices[0].message.content == SAYS
    assert whole.usage.completion_tokens_details.reasoning_tokens == 3


def test_tool_calls_pass_through_in_both_directions(client, upstream):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    asked = {"model": "calls", "messages": HI, "tools": tools, "tool_choice": "auto", "parallel_tool_calls": True}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.content is None
    calls = whole.choices[0].message.tool_calls
    assert [(call.id, call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("call_1", "weather", {"city": "杭州"}),
        ("call_2", "clock", {"zone": "Asia/Shanghai"}),
    ]
    with client.chat.completions.stream(**{key: asked[key] for key in ("model", "messages")}) as stream:
        streamed = stream.get_final_completion().choices[0].message.tool_calls
    assert [(call.id, call.function.name, call.function.arguments) for call in streamed] == [
        (call.id, call.function.name, call.function.arguments) for call in calls
    ]
    body = upstream.asked[0].body
    assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == (tools, "auto", True)


def test_openais_and_vllms_fields_reach_the_upstream(client, upstream):
    client.chat.completions.create(
        model="vllm",
        messages=HI,
        temperature=0.3,
        top_p=0.9,
        max_completion_tokens=7,
        stop=["a", "b"],
        seed=5,
        presence_penalty=0.5,
        frequency_penalty=-0.5,
        response_format={"type": "json_object"},
        logprobs=True,
        top_logprobs=2,
        extra_body={"top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1, "surprise": {"known": False}},
    )
    body = upstream.asked[0].body
    told = {
        "temperature": 0.3, "top_p": 0.9, "max_completion_tokens": 7, "stop": ["a", "b"], "seed": 5,
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5, "response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 2,
        "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1,
    }  # fmt: skip
    assert {name: body.get(name) for name in told} == told
    assert body["surprise"] == {"known": False} and "max_tokens" not in body
    assert body["messages"] == HI


def test_nothing_is_sent_that_was_not_asked_for(client, upstream):
    client.chat.completions.create(model="vllm", messages=HI)
    assert not {"temperature", "max_tokens", "top_p", "stop", "seed"} & upstream.asked[0].body.keys()


def test_without_a_model_the_default_answers(live, upstream):
    with live.call("POST", "/v1/chat/completions", {"messages": HI}) as reply:
        assert reply.json()["model"] == "vllm"


REFUSED = [
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({}, "messages"),
    ({"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"messages": [*HI, {"role": "user", "content": 3}]}, "messages[1].content"),
    ({"messages": [{"role": "user", "content": "a\0"}]}, "messages[0].content"),
    ({"messages": HI, "n": 2}, "n"),
    ({"messages": HI, "temperature": 3}, "temperature"),
    ({"messages": HI, "max_tokens": 0}, "max_tokens"),
    ({"messages": HI, "stream_options": {"include_usage": True}}, "stream_options"),
    ({"messages": HI, "top_logprobs": 2}, "top_logprobs"),
    ({"messages": HI, "stream": "yes"}, "stream"),
    ({"messages": HI, "tools": [3]}, "tools[0]"),
]


@pytest.mark.parametrize(("body", "param"), REFUSED)
def test_a_bad_field_is_named_in_openais_form(live, upstream, body, param):
    with live.call("POST", "/v1/chat/completions", body) as reply:
        error = reply.json()["error"]
    assert reply.status == 400
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, "bad_request")
    assert upstream.asked == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_object_is_no_fields_fault(live, body):
    with live.call("POST", "/v1/chat/completions", body) as reply:
        error = reply.json()["error"]
    assert (reply.status, error["param"], error["code"]) == (400, None, "bad_request")
    assert "the body" in error["message"]


def test_an_unknown_model_is_not_found(client, upstream):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=HI)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("model", "raised", "code", "type_"),
    [
        ("rate", openai.RateLimitError, "upstream_rate_limited", "rate_limit_error"),
        ("auth", openai.InternalServerError, "upstream_auth", "upstream_error"),
        ("context", openai.BadRequestError, "context_length", "invalid_request_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_before_the_first_token_raises_what_the_client_knows(client, model, raised, code, type_, stream):
    with pytest.raises(raised) as caught:
        client.chat.completions.create(model=model, messages=HI, stream=stream)
    assert (caught.value.code, caught.value.type) == (code, type_)


@pytest.mark.parametrize(("model", "code"), [("cut", "truncated"), ("broken", "upstream_error")])
def test_a_failure_in_mid_stream_is_raised_after_the_text_so_far(client, live, model, code):
    text = ""
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(model=model, messages=HI, stream=True):
            text += chunk.choices[0].delta.content or ""
    assert text and SAYS.startswith(text)
    assert caught.value.code == code
    body = {"model": model, "messages": HI, "stream": True}
    with live.call("POST", "/v1/chat/completions", body) as reply:
        *_, failure, done = reply.body().split(b"\n\n")[:-1]
    assert json.loads(failure.removeprefix(b"data: "))["error"]["code"] == code
    assert done == b"data: [DONE]"


def test_heartbeats_do_not_disturb_the_client(client, live):
    assert (
        "".join(
            chunk.choices[0].delta.content or ""
            for chunk in client.chat.completions.create(model="slow", messages=HI, stream=True)
        )
        == SAYS
    )
    with live.call("POST", "/v1/chat/completions", {"model": "slow", "messages": HI, "stream": True}) as reply:
        body = reply.body()
    # A block of its own: Dify's reader skips blocks that begin with a colon.
    assert b"\n\n: ping\n\n" in body or body.startswith(b": ping\n\n")
    assert all(block.startswith((b"data: ", b": ping")) and b"\n" not in block for block in body.split(b"\n\n")[:-1])
    assert not [line for line in body.splitlines() if line.startswith((b"id:", b"event:", b"retry:"))]


def test_the_finish_reason_is_the_upstreams(client):
    assert client.chat.completions.create(model="short", messages=HI).choices[0].finish_reason == "length"


def test_the_models_are_the_providers_that_can_be_asked(client, upstream):
    assert [model.id for model in client.models.list()] == ["vllm", *PLANS]


def test_an_answer_of_this_route_can_be_followed_as_events(client, live):
    reply = client.chat.completions.with_raw_response.create(model="vllm", messages=HI)
    answer_id = reply.headers["x-answer-id"]
    with live.call("GET", f"/answers/{answer_id}") as state:
        assert state.json()["answer"] == SAYS
