"""What clients of OpenAI's API ask for by default, with OpenAI's own client: models, completions, embeddings, SQL."""

from __future__ import annotations

import base64
import itertools
import struct
import time

import openai
import pytest

from tests.clients.gateways import MODELS


@pytest.fixture(scope="module")
def client(live):
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="any", max_retries=0, timeout=20) as found:
        yield found


def test_models_are_the_providers_and_each_database_with_each_of_them(client):
    names = [model.id for model in client.models.list()]
    providers = [*MODELS, "text"]
    assert names == [*providers, "sql/metro", *(f"sql/metro@{provider}" for provider in providers)]


@pytest.mark.parametrize("name", ["plain", "sql/metro", "sql/metro@sql"])
def test_a_model_is_described(client, name):
    assert client.models.retrieve(name).id == name


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found" and "sql/metro" in caught.value.message


def test_a_text_completion_comes_whole_and_streamed(client):
    whole = client.completions.create(model="plain", prompt="hi")
    assert (whole.object, whole.choices[0].text, whole.choices[0].finish_reason) == (
        "text_completion", "一二三四五六", "stop",
    )  # fmt: skip
    options = {"include_usage": True}
    *chunks, last = client.completions.create(model="plain", prompt=["hi"], stream=True, stream_options=options)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "一二三四五六"
    assert chunks[-1].choices[0].finish_reason == "stop" and last.usage.total_tokens == 13


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": [["a"]]}, "prompt"),
        ({"prompt": [1, -2]}, "prompt"),
        ({"n": 2}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"logprobs": 1}, "logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_what_a_text_completion_cannot_do_is_named(client, service, fields, param):
    before = len(service.asked)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**({"model": "plain", "prompt": "a"} | fields))
    assert caught.value.param == param and len(service.asked) == before


@pytest.mark.parametrize("prompt", ["def", [1, 2, 3]])
def test_a_provider_with_text_completions_gets_the_prompt_as_it_is(client, service, prompt):
    fields = {"suffix": "end", "echo": True, "max_tokens": 9, "extra_body": {"guided_regex": "x+"}}
    found = client.completions.create(model="text", prompt=prompt, **fields)
    text = "<think>def f(x):\n    return x"
    assert (found.choices[0].text, found.choices[0].finish_reason, found.usage.total_tokens) == (text, "length", 13)
    asked = service.asked[-1]
    assert (asked["path"], asked["prompt"], "messages" in asked) == ("/v1/completions", prompt, False)
    assert (asked["suffix"], asked["echo"], asked["max_tokens"], asked["guided_regex"]) == ("end", True, 9, "x+")
    streamed = client.completions.create(model="text", prompt=[prompt], stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == text


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"prompt": ["a", "b"]}, "prompt"), ({"prompt": [[1], [2]]}, "prompt"), ({"prompt": [1.5]}, "prompt"),
     ({"prompt": [True]}, "prompt"), ({"logprobs": 1}, "logprobs"), ({"n": 2}, "n")],
)  # fmt: skip
def test_what_no_text_completion_here_can_do_is_named(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**({"model": "text", "prompt": "a"} | fields))
    assert caught.value.param == param


def test_members_that_we_do_not_know_go_with_a_prompt_that_is_asked_as_a_chat(client, service):
    client.completions.create(model="plain", prompt="hi", user="u1", extra_body={"guided_regex": "x+"})
    asked = service.asked[-1]
    assert (asked["path"], asked["user"], asked["guided_regex"]) == ("/v1/chat/completions", "u1", "x+")


def test_a_prompt_asks_a_database_too(client):
    found = client.completions.create(model="sql/metro@sql", prompt="全部地铁站的名称")
    assert "| 1 | 西湖文化广场 |" in found.choices[0].text and found.model == "sql/metro@sql"
    streamed = client.completions.create(model="sql/metro@sql", prompt="全部地铁站的名称", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == found.choices[0].text


def test_text_to_sql_has_no_embeddings(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="sql/metro", input="a")
    assert caught.value.param == "model"


def test_a_text_completion_that_fails_in_mid_stream_raises_after_the_text_so_far(client):
    text = ""
    with pytest.raises(openai.APIError):
        for chunk in client.completions.create(model="fails", prompt="hi", stream=True):
            text += chunk.choices[0].text
    assert text == "一二三"


def test_embeddings_come_batched_and_in_base64(client, service):
    found = client.embeddings.create(model="plain", input=["a", "bcd"])
    assert [entry.embedding for entry in found.data] == [[0.5, 1.0], [0.5, 3.0]]
    assert (found.usage.total_tokens, found.model) == (3, "plain")
    raw = client.embeddings.with_raw_response.create(model="plain", input="a", encoding_format="base64").http_response
    assert struct.unpack("<2f", base64.b64decode(raw.json()["data"][0]["embedding"])) == (0.5, 1.0)
    asked = service.asked[-1]
    assert (asked["path"], asked["input"]) == ("/v1/embeddings", ["a"])


def test_text_to_sql_is_a_model(client, live):
    messages = [{"role": "user", "content": "全部地铁站的名称"}]
    whole = client.chat.completions.create(model="sql/metro@sql", messages=messages)
    content = whole.choices[0].message.content
    assert whole.model == "sql/metro@sql"
    assert "```sql" in content and "| id | name |\n| --- | --- |\n| 1 | 西湖文化广场 |" in content
    streamed = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in client.chat.completions.create(model="sql/metro@sql", messages=messages, stream=True)
    )
    assert streamed == content
    by_field = client.chat.completions.create(model="sql", messages=messages, extra_body={"database": "metro"})
    assert by_field.choices[0].message.content == content


def test_a_follow_up_has_the_conversation(client, service):
    messages = [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "多少个站"},
        {"role": "assistant", "content": "三个"},
        {"role": "user", "content": "名称呢"},
    ]
    client.chat.completions.create(model="sql/metro@sql", messages=messages)
    told = [message["content"] for message in service.asked[-1]["messages"]]
    assert "多少个站" in "".join(told[:-1]) and "三个" in "".join(told[:-1]) and "名称呢" in told[-1]


TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}


def test_text_to_sql_says_that_it_calls_no_function(client):
    called = [
        {"role": "user", "content": "几点了"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "1", "content": "三点"},
        {"role": "user", "content": "全部地铁站的名称"},
    ]
    raw = client.chat.completions.with_raw_response.create(model="sql/metro@sql", messages=called, tools=[TOOL])
    assert raw.headers["x-sluice-adjusted"] == "tools: dropped, text to SQL calls no function"
    assert "| 1 | 西湖文化广场 |" in raw.parse().choices[0].message.content


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "now"}}}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
    ids=["required", "named", "structure"],
)
def test_text_to_sql_refuses_what_the_caller_would_miss(client, service, members, field):
    asked = len(service.asked)
    messages = [{"role": "user", "content": "全部地铁站的名称"}]
    with pytest.raises(openai.BadRequestError, match=field):
        client.chat.completions.create(model="sql/metro@sql", messages=messages, **members)
    if field == "response_format":
        with pytest.raises(openai.BadRequestError, match=field):
            client.responses.create(model="sql/metro@sql", input="hi", text={"format": {"type": "json_object"}})
    assert len(service.asked) == asked


@pytest.mark.parametrize("model", ["sql/none", "sql/nowhere", "sql/metro@nobody"])
def test_an_unknown_database_or_provider_is_no_model(client, model):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])


def test_a_client_that_leaves_and_cannot_come_back_closes_the_upstream_at_once(live, service):
    for headers, closed in (({}, True), ({"Idempotency-Key": "k1"}, False)):
        service.closed.clear()
        body = {"model": "counted", "stream": True, "messages": [{"role": "user", "content": "leaves"}]}
        reply = live.call("POST", "/v1/chat/completions", body, headers)
        assert list(itertools.islice(iter(reply.read, b""), 3))
        reply.close()
        time.sleep(0.6)
        assert bool(service.closed) is closed
