"""Clients from npm, unchanged, against a running gateway."""

from __future__ import annotations

import pytest

from tests.clients import node_modules
from tests.clients.service import COUNTED, LONG, SEPARATED
from tests.waiting import eventually

ALL = "".join(COUNTED)


@pytest.fixture(scope="module")
def folder():
    return node_modules.installed()


@pytest.mark.parametrize(
    ("model", "text", "calls", "error"),
    [
        ("plain", "一二三四五六", "", ""),
        ("silent", "一二三四五六", "", ""),
        ("separated", SEPARATED, "", ""),
        ("long", LONG, "", ""),
        ("tools", "", '{"city":"杭州"}', ""),
        ("cut", "一二三", "", "truncated"),
        ("fails", "一二三", "", "upstream_error"),
    ],
)
def test_openais_client(folder, live, model, text, calls, error):
    assert node_modules.run(folder, "openai_sdk.mjs", live.url, model) == {"text": text, "calls": calls, "error": error}


@pytest.mark.parametrize(
    ("provider", "text", "ended"),
    [
        ("plain", "一二三四五六", "done"),
        ("silent", "一二三四五六", "done"),
        ("separated", SEPARATED, "done"),
        ("long", LONG, "done"),
        ("cut", "一二三", "failed"),
        ("fails", "一二三", "failed"),
    ],
)
def test_fetch_event_source(folder, live, service, provider, text, ended):
    found = node_modules.run(folder, "fetch_event_source.mjs", live.url, provider)
    assert found == {"text": text, "opened": 1, "ended": ended}
    assert service.questions(f"fetched {provider}") == 1


@pytest.mark.parametrize(
    ("model", "text"), [("plain", "一二三四五六"), ("silent", "一二三四五六"), ("separated", SEPARATED), ("long", LONG)]
)
def test_the_ai_sdks_chat_reads_an_answer(folder, live, model, text):
    found = node_modules.run(folder, "ui_chat.mjs", live.url, "ask", model)
    assert (found["status"], found["text"]) == ("ready", text)
    assert found["metadata"]["provider"] == model and found["metadata"]["finishReason"] == "stop"


def test_the_ai_sdks_chat_has_the_thinking_apart(folder, live):
    found = node_modules.run(folder, "ui_chat.mjs", live.url, "ask", "thinks")
    reasoning = [part["text"] for part in found["parts"] if part["type"] == "reasoning"]
    assert (reasoning, found["text"]) == (["先想一想。"], "一二三四五六")


def test_the_ai_sdks_chat_gets_tool_calls_with_their_input(folder, live):
    found = node_modules.run(folder, "ui_chat.mjs", live.url, "ask", "tools")
    (call,) = [part for part in found["parts"] if part["type"] == "tool-weather"]
    assert (call["state"], call["input"], call["toolCallId"]) == ("input-available", {"city": "杭州"}, "call_1")


@pytest.mark.parametrize(("model", "code"), [("cut", "truncated"), ("fails", "upstream_error")])
def test_the_ai_sdks_chat_is_told_of_a_failure_after_the_text_so_far(folder, live, model, code):
    found = node_modules.run(folder, "ui_chat.mjs", live.url, "ask", model)
    assert (found["status"], found["text"]) == ("error", "一二三") and code in found["error"]


def test_the_ai_sdks_chat_has_sql_and_rows_as_data_parts(folder, live):
    found = node_modules.run(folder, "ui_chat.mjs", live.url, "sql", "sql")
    parts = {part["type"]: part.get("data") for part in found["parts"]}
    assert parts["data-sql"]["ok"] and parts["data-rows"]["rows"][0] == [1, "西湖文化广场"]


def test_a_reload_in_the_middle_of_an_answer_resumes_it_whole_and_asks_once(folder, live, service):
    found = node_modules.run(folder, "ui_chat.mjs", live.url, "reload", "counted")
    assert found["seen"] and ALL.startswith(found["seen"]) and found["seen"] != ALL
    assert (found["text"], found["status"]) == (ALL, "ready")
    # The finished answer is not resumed again: 204.
    assert found["left"] == 1
    assert service.questions("reloaded") == 1


def test_an_answer_of_a_chat_is_stopped_at_the_upstream(folder, live, service):
    service.closed.clear()
    found = node_modules.run(folder, "ui_chat.mjs", live.url, "stop", "counted")
    assert found["deleted"] == 204 and found["text"] != ALL and ALL.startswith(found["text"])
    eventually(lambda: service.closed == ["counted"])


def test_an_unknown_chat_has_nothing_to_resume(live):
    with live.call("GET", "/chat/nothing-here/stream") as reply:
        assert reply.status == 204
    with live.call("DELETE", "/chat/nothing-here/stream") as reply:
        assert reply.status == 404


def test_the_stream_says_what_it_is(live):
    body = {"id": "c1", "messages": [{"role": "user", "parts": [{"type": "text", "text": "hi"}]}], "database": "none"}
    with live.call("POST", "/chat", body) as reply:
        assert reply.headers["x-vercel-ai-ui-message-stream"] == "v1"
        assert reply.body().endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("model", "text"), [("plain", "一二三四五六"), ("silent", "一二三四五六"), ("separated", SEPARATED)]
)
def test_openais_client_reads_a_response(folder, live, model, text):
    found = node_modules.run(folder, "responses.mjs", live.url, "whole", model)
    assert (found["text"], found["status"], found["last"]) == (text, "completed", "response.completed")


def test_openais_client_resumes_a_cut_response_without_gap_or_repeat(folder, live, service):
    found = node_modules.run(folder, "responses.mjs", live.url, "resume", "counted")
    assert found["text"] == ALL and found["numbers"] == list(range(len(found["numbers"])))
    assert (found["status"], service.questions("node resume")) == ("completed", 1)


def test_openais_client_cancels_a_response(folder, live):
    assert node_modules.run(folder, "responses.mjs", live.url, "cancel", "counted")["status"] == "cancelled"


@pytest.mark.parametrize(
    ("model", "text", "reasoning", "finish"),
    [
        ("plain", "一二三四五六", "", "stop"),
        ("silent", "一二三四五六", "", "stop"),
        ("separated", SEPARATED, "", "stop"),
        ("thinks", "一二三四五六", "先想一想。", "stop"),
    ],
)
def test_the_ai_sdks_default_model_of_openai(folder, live, model, text, reasoning, finish):
    found = node_modules.run(folder, "responses.mjs", live.url, "ai", model)
    assert found == {"text": text, "reasoning": reasoning, "error": "", "finish": finish}
