"""Qianfan's requests: names, ranges and turns of an ERNIE model, and everything as asked for any other."""

from __future__ import annotations

from typing import Any

import pytest

from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import Rejected
from providers.wires.qianfan import Adapter

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "hi"}


def adapter(model: str = "ernie-4.5-turbo-128k", **told: Any) -> Adapter:
    return Adapter(ProviderConfiguration(type="qianfan", model=model, api_key="k", **told))


def asking(*messages: dict[str, Any], **more: Any) -> ChatRequest:
    return ChatRequest.of(list(messages) or [USER], **more)


def test_a_bare_question_asks_for_a_stream_with_its_usage():
    told = {"model": "ernie-4.5-turbo-128k", "messages": [USER], "stream": True}
    assert adapter().body(asking()) == told | {"stream_options": {"include_usage": True}}


def test_names_and_ranges_of_an_ernie_model():
    request = asking(temperature=0.0, repetition_penalty=0.5, max_tokens=9, top_k=3, min_p=0.1, seed=1)
    sent = adapter().body(request)
    assert (sent["temperature"], sent["penalty_score"], sent["max_completion_tokens"]) == (0.01, 1.0, 9)
    assert not {"top_k", "min_p", "max_tokens", "repetition_penalty"} & set(sent)
    assert sent["seed"] == 1
    assert len(adapter().parameter_changes(request)) == 4


def test_another_model_keeps_its_temperature():
    request = asking(temperature=0.0, repetition_penalty=1.5)
    assert adapter("deepseek-v3").body(request)["temperature"] == 0.0
    assert adapter("deepseek-v3").parameter_changes(request) == []


def test_an_ernie_models_turns_alternate_behind_the_systems():
    messages = [USER, SYSTEM, {"role": "user", "content": "and?"}]
    sent = adapter().body(asking(*messages))["messages"]
    assert sent == [SYSTEM, {"role": "user", "content": "hi\nand?"}]
    assert len(adapter().parameter_changes(asking(*messages))) == 1
    assert adapter("deepseek-v3").body(asking(*messages))["messages"] == messages


def test_a_conversation_with_tools_is_passed_on_as_it_is():
    call = {"id": "c", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}]
    messages.append({"role": "tool", "tool_call_id": "c", "content": "9"})
    assert adapter().body(asking(*messages))["messages"] == messages
    assert adapter().parameter_changes(asking(*messages)) == []


@pytest.mark.parametrize("request_", [asking(logprobs=True), asking(SYSTEM)], ids=["logprobs", "no question"])
def test_what_cannot_be_done_is_refused_before_anything_is_sent(request_):
    with pytest.raises(Rejected):
        adapter().check(request_)
