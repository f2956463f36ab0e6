"""Clients from PyPI, unchanged, against a running gateway: silence, cuts, errors in mid-stream, odd line ends."""

from __future__ import annotations

import pytest

from tests.clients import python_packages
from tests.clients.service import LONG, SEPARATED

GOOD = {"plain": "一二三四五六", "silent": "一二三四五六", "separated": SEPARATED, "long": LONG}
EVENTS = ("httpx_sse", "sseclient", "aiohttp_lines")
OPENAI = ("langchain", "pydantic_ai")


@pytest.fixture(scope="module")
def python():
    return python_packages.installed()


@pytest.mark.parametrize("client", EVENTS + OPENAI)
@pytest.mark.parametrize("model", GOOD)
def test_a_client_reads_an_answer_whole(python, live, client, model):
    found = python_packages.run(python, client, live.url, model)
    assert (found["text"], found["error"]) == (GOOD[model], "")


@pytest.mark.parametrize("client", EVENTS)
@pytest.mark.parametrize(("model", "code"), [("cut", "truncated"), ("fails", "upstream_error")])
def test_a_reader_of_events_sees_the_failure_after_the_text_so_far(python, live, client, model, code):
    found = python_packages.run(python, client, live.url, model)
    assert (found["text"], found["error"]) == ("一二三", code)


@pytest.mark.parametrize("client", OPENAI)
@pytest.mark.parametrize("model", ["cut", "fails"])
def test_a_client_of_openais_api_raises_after_the_text_so_far(python, live, client, model):
    found = python_packages.run(python, client, live.url, model)
    assert "一二三".startswith(found["text"]) and found["error"]


def test_tool_calls_come_through_langchain(python, live):
    assert python_packages.run(python, "langchain", live.url, "tools")["calls"] == '{"city":"杭州"}'
