"""Requests to an application of DashScope: its address, a prompt or messages, a session, and what it cannot do."""

from __future__ import annotations

import pytest

from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import Rejected
from providers.wires.dashscope_app import Adapter

HI = {"role": "user", "content": "hi"}


@pytest.fixture
def adapter():
    row = {"type": "dashscope_app", "model": "app/1", "api_key": "k", "headers": {"X-DashScope-WorkSpace": "w"}}
    adapter = Adapter(ProviderConfiguration(**row), "app")
    yield adapter
    adapter.close()


def test_it_is_asked_by_its_id_in_its_workspace(adapter):
    assert adapter.url("https://h/api/v1") == "https://h/api/v1/apps/app%2F1/completion"
    headers = adapter.headers("https://h/api/v1")
    assert (headers["X-DashScope-SSE"], headers["X-DashScope-WorkSpace"]) == ("enable", "w")


def test_one_turn_is_a_prompt_and_several_are_messages(adapter):
    assert adapter.body(ChatRequest([HI])) == {
        "input": {"prompt": "hi"},
        "parameters": {"has_thoughts": True, "incremental_output": True},
        "debug": {},
    }
    turns = [{"role": "developer", "content": "be brief"}, HI]
    assert adapter.body(ChatRequest(turns))["input"] == {"messages": [{"role": "system", "content": "be brief"}, HI]}


def test_a_session_goes_on_with_the_last_turn_alone(adapter):
    request = ChatRequest([HI, {"role": "assistant", "content": "a"}, {"role": "user", "content": "and?"}])
    request.extra = {"session_id": "s-1", "rag_options": {"pipeline_ids": ["p"]}, "odd": 1}
    body = adapter.body(request)
    assert body["input"] == {"prompt": "and?", "session_id": "s-1"}
    assert body["parameters"]["rag_options"] == {"pipeline_ids": ["p"]}
    assert adapter.parameter_changes(request) == ["odd dropped: an application of DashScope has no such parameter"]


def test_what_it_has_no_parameter_for_is_dropped_and_said_or_refused(adapter):
    assert adapter.parameter_changes(ChatRequest.of([HI], temperature=0.0, seed=1)) == [
        "temperature dropped: an application of DashScope has no such parameter",
        "seed dropped: an application of DashScope has no such parameter",
    ]
    for members in (
        {"tools": [{}]},
        {"stop": ("a",)},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
    ):
        with pytest.raises(Rejected):
            adapter.check(ChatRequest.of([HI], **members))
