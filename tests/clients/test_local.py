"""A local model through /v1, by OpenAI's client and LangChain: thinking, calls, structured output, text to SQL.

The models say fixed texts, and what a grammar allows where it rules; their templates have the shape of Qwen3's and
DeepSeek-R1-Distill's.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel

from tests.clients import python_packages
from tests.clients.gateways import stations
from tests.gateway.live import Live
from tests.providers.local.models import make_speaker, make_tokenizer

TEMPLATES = Path(__file__).parents[1] / "providers" / "local" / "templates"
DRAFT = "A draft:\n```sql\nSELECT name FROM dtzpt LIMIT 2\n```\nNo, they want the number."
REPLY = "\n\n```sql\nSELECT count(*) AS n FROM dtzpt\n```\n"
CALL = ["<tool_call>", '\n{"name": "lookup", ', '"arguments": ', '{"line": "2"', "}}\n", "</tool_call>"]
SAYS = {
    "qwen": ("qwen3", ["<think>", DRAFT, "</think>", REPLY]),
    "caller": ("qwen3", CALL),
    "r1": ("r1_distill", [DRAFT, "</think>", REPLY]),
}
THINKING = ("qwen", "r1")


class Line(BaseModel):
    name: Literal["一号线", "2"]


class Found(BaseModel):
    """References to a definition, as pydantic writes them."""

    first: Line
    second: Line


TOOL: dict[str, Any] = {"type": "function", "function": {"name": "lookup", "parameters": Found.model_json_schema()}}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    providers: dict[str, Any] = {}
    for name, (template, pieces) in SAYS.items():
        source = (TEMPLATES / f"{template}.jinja").read_text("utf-8")
        model = make_speaker(folder / name, pieces, source, tags=template == "qwen3")
        providers[name] = {
            "type": "local", "model": str(model), "device": "cpu", "threads": 1, "kv_cache_mb": 16, "max_batch": 8,
            "timeouts": {"first_token": 200, "idle": 100},
        }  # fmt: skip
    databases = {"metro": {"url": stations(folder / "metro.db"), "tables": ["dtzpt"], "execute": True}}
    with Live({"default": "qwen", "providers": providers, "databases": databases}) as running:
        yield running


@pytest.fixture(scope="module")
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=240) as found:
        deadline = time.monotonic() + 240
        for model in SAYS:
            found.chat.completions.create(model=model, messages=ASKED, max_tokens=1)
            assert time.monotonic() < deadline
        yield found


@pytest.fixture(scope="module")
def closing(tmp_path_factory) -> str:
    """The token that ends an object: a random model is to prefer it, or it may write members without an end."""
    return str(make_tokenizer(tmp_path_factory.mktemp("tokenizer")).token_to_id("}"))


ASKED: Any = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize("model", THINKING)
@pytest.mark.parametrize("stream", [False, True])
def test_a_thought_is_reasoning_and_not_the_reply(client, model, stream):
    reply = client.chat.completions.create(model=model, messages=ASKED, stream=stream, temperature=0)
    if stream:
        deltas = [chunk.choices[0].delta for chunk in reply if chunk.choices]
        text = "".join(delta.content or "" for delta in deltas)
        thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    else:
        text, thought = reply.choices[0].message.content, reply.choices[0].message.reasoning_content
        assert reply.usage.completion_tokens_details.reasoning_tokens > 0
    assert (thought, text) == (DRAFT, REPLY)


@pytest.mark.parametrize("model", THINKING)
def test_a_draft_in_a_thought_is_not_run(client, gateway, model):
    reply = client.chat.completions.create(model=f"sql/metro@{model}", messages=ASKED, temperature=0)
    assert "| 3 |" in reply.choices[0].message.content and "龙翔桥" not in reply.choices[0].message.content
    body = {"question": "有多少个站？", "temperature": 0, "provider": model, "database": "metro"}
    with gateway.call("POST", "/getAnwser", body, {"Accept": "application/json"}) as answered:
        answer = json.loads(answered.read())
    assert answer["sql"]["sql"] == "SELECT count(*) AS n FROM dtzpt" and answer["rows"]["rows"] == [[3]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_the_model_writes_is_a_call(client, stream):
    reply = client.chat.completions.create(
        model="caller", messages=ASKED, tools=[TOOL], tool_choice="auto", stream=stream, temperature=0
    )
    if stream:
        chunks = [chunk for chunk in reply if chunk.choices]
        calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
        name, finish = calls[0].function.name, chunks[-1].choices[0].finish_reason
        arguments = "".join(call.function.arguments or "" for call in calls)
        assert calls[0].id and len(calls) > 1
    else:
        (call,) = reply.choices[0].message.tool_calls
        name, arguments, finish = call.function.name, call.function.arguments, reply.choices[0].finish_reason
        assert reply.choices[0].message.content is None
    assert (name, json.loads(arguments), finish) == ("lookup", {"line": "2"}, "tool_calls")


@pytest.mark.parametrize("model", THINKING)
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "lookup"}}], ids=str)
def test_a_forced_call_follows_the_functions_schema(client, closing, model, choice):
    reply = client.chat.completions.create(
        model=model, messages=ASKED, tools=[TOOL], tool_choice=choice, temperature=0, parallel_tool_calls=False,
        logit_bias={closing: 10},
    )  # fmt: skip
    (call,) = reply.choices[0].message.tool_calls
    assert Found.model_validate_json(call.function.arguments) and reply.choices[0].finish_reason == "tool_calls"
    assert reply.choices[0].message.reasoning_content == DRAFT


@pytest.mark.parametrize("model", THINKING)
def test_a_reply_is_parsed_into_a_model(client, model):
    reply = client.chat.completions.parse(model=model, messages=ASKED, response_format=Found, temperature=0)
    assert isinstance(reply.choices[0].message.parsed, Found)


def test_results_of_calls_go_back_in_the_history(client):
    first = client.chat.completions.create(model="caller", messages=ASKED, tools=[TOOL], temperature=0)
    said = first.choices[0].message
    for dumped in (said.model_dump(), said.model_dump(exclude_none=True)):
        history = [*ASKED, dumped, {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "3"}]
        for model in SAYS:
            reply = client.chat.completions.create(model=model, messages=history, max_tokens=2, temperature=0)
            assert reply.choices[0].finish_reason in ("stop", "length")


REFUSED = [
    {"tools": [TOOL], "tool_choice": "some"},
    {"n": 2},
    {"response_format": {"type": "xml"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
    {"logit_bias": {"1": 200}},
    {"logit_bias": {"99999999": 1}},
    {"max_tokens": "3"},
    {"temperature": "hot"},
    {"extra_body": {"min_tokens": "3"}},
    {"extra_body": {"min_tokens": 9}, "max_tokens": 2},
    {"extra_body": {"prompt_logprobs": 1}},
    {"extra_body": {"allowed_token_ids": [1]}},
    {"extra_body": {"guided_regex": "("}},
    {"extra_body": {"stop_token_ids": [99999999], "min_tokens": 1}},
    {"extra_body": {"chat_template_kwargs": {"messages": []}}},
]


@pytest.mark.parametrize("members", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_done_is_refused_and_the_member_named(client, members):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="qwen", messages=ASKED, **members)
    named = [name for name in (*members, *members.get("extra_body", ())) if name in caught.value.message]
    assert named, caught.value.message


@pytest.mark.parametrize(
    "members", [{"best_of": 1}, {"echo": True}, {"use_beam_search": True}, {"truncate_prompt_tokens": 5}], ids=str
)
def test_what_is_dropped_is_named(client, members):
    reply = client.chat.completions.with_raw_response.create(
        model="qwen", messages=ASKED, max_tokens=1, extra_body=members
    )
    assert next(iter(members)) in reply.headers["X-Sluice-Adjusted"]


EFFECTS: list[tuple[dict[str, Any], Any]] = [
    ({"stop": ["count"]}, "\n\n```sql\nSELECT "),
    ({"stop": ["count"], "extra_body": {"include_stop_str_in_output": True}}, "\n\n```sql\nSELECT count"),
    ({"extra_body": {"guided_choice": ["是", "否"]}}, ("是", "否")),
    ({"extra_body": {"guided_regex": "[0-9]{2}"}}, tuple(f"{n:02}" for n in range(100))),
    ({"extra_body": {"structured_outputs": {"choice": ["是"]}}}, "是"),
    ({"max_tokens": 1}, None),
    ({"seed": 1, "top_p": 0.5, "presence_penalty": 0.1, "frequency_penalty": 0.1}, REPLY),
    ({"extra_body": {"top_k": 1, "min_p": 0.1, "repetition_penalty": 1.0, "skip_special_tokens": True}}, REPLY),
    ({"extra_body": {"chat_template_kwargs": {"enable_thinking": False}, "min_tokens": 1}}, ...),
    ({"logprobs": True, "top_logprobs": 2}, REPLY),
]


@pytest.mark.parametrize(("members", "text"), EFFECTS, ids=range(len(EFFECTS)))
def test_what_is_taken_has_its_effect(client, members, text):
    reply = client.chat.completions.with_raw_response.create(model="qwen", messages=ASKED, temperature=0, **members)
    assert "X-Sluice-Adjusted" not in reply.headers
    said = reply.parse().choices[0].message.content
    if text is not ...:
        assert said in text if isinstance(text, tuple) else (said or None) == text


@pytest.mark.parametrize("model", THINKING)
@pytest.mark.parametrize("method", ["function_calling", "json_mode", "json_schema"])
@pytest.mark.usefixtures("client")
def test_langchains_structured_output(gateway, closing, model, method):
    python = python_packages.installed()
    asked = f"{model}#{closing}"
    found = python_packages.run(python, "ask.py", f"structured_{method}", gateway.url, asked, timeout_s=240)[asked]
    assert found["error"] == ""
    if method == "json_mode":
        assert isinstance(json.loads(found["text"]), dict)
    else:
        assert Found.model_validate_json(found["text"])
