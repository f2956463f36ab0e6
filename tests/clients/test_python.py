"""Clients from PyPI, unchanged, against a running gateway: silence, cuts, failures, tools, odd line ends."""

from __future__ import annotations

import json

import pytest

from tests.clients import python_packages
from tests.clients.service import LONG, SEPARATED

SIX = "一二三四五六"
GOOD = {"plain": SIX, "silent": SIX, "separated": SEPARATED, "long": LONG}
MODELS = (*GOOD, "cut", "fails", "tools")
CITY = {"city": "杭州"}

# client → the environment that has it
EVENTS = {"httpx_sse": "newer", "sseclient": "newer", "aiohttp_lines": "newer"}
OPENAI = {
    "langchain": "newer",
    "langchain_responses": "newer",
    "pydantic_ai": "newer",
    "openai_agents": "newer",
    "litellm": "newer",
    "qwen_agent": "newer",
    "llama_index": "older",
    "llama_index_completion": "older",
    "dify": "older",
}
# Those that show a tool call's arguments.
TOOLS = ("langchain", "openai_agents", "litellm", "qwen_agent", "llama_index", "dify")


@pytest.fixture(scope="module")
def played(live):
    """What a client made of each model; every client is started once."""
    found: dict[str, dict[str, dict[str, str]]] = {}

    def of(client: str) -> dict[str, dict[str, str]]:
        if client not in found:
            python = python_packages.installed((EVENTS | OPENAI).get(client, "older"))
            found[client] = python_packages.run(python, "ask.py", client, live.url, *MODELS)
        return found[client]

    return of


@pytest.mark.parametrize("model", GOOD)
@pytest.mark.parametrize("client", [*EVENTS, *OPENAI])
def test_a_client_reads_an_answer_whole(played, client, model):
    found = played(client)[model]
    assert (found["text"], found["error"]) == (GOOD[model], "")


@pytest.mark.parametrize(("model", "code"), [("cut", "truncated"), ("fails", "upstream_error")])
@pytest.mark.parametrize("client", EVENTS)
def test_a_reader_of_events_sees_the_failure_after_the_text_so_far(played, client, model, code):
    found = played(client)[model]
    assert (found["text"], found["error"]) == ("一二三", code)


@pytest.mark.parametrize("model", ["cut", "fails"])
@pytest.mark.parametrize("client", OPENAI)
def test_a_client_of_openais_api_raises_after_the_text_so_far(played, client, model):
    found = played(client)[model]
    assert "一二三".startswith(found["text"]) and found["error"]


@pytest.mark.parametrize("client", TOOLS)
def test_tool_calls_come_through(played, client):
    found = played(client)["tools"]
    assert (json.loads(found["calls"]), found["error"]) == (CITY, "")


def test_an_agent_sends_the_tools_result_and_gets_the_answer(played):
    assert played("openai_agents")["tools"]["text"] == SIX


def test_instructor_reads_an_object_from_a_tool_call(played):
    assert json.loads(played("instructor")["tools"]["calls"]) == CITY
    assert all(played("instructor")[model]["error"] for model in ("cut", "fails"))
