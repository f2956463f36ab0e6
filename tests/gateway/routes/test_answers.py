"""/getAnwser from outside: its forms, its refusals, and what is sent to the upstream."""

from __future__ import annotations

import json
import sqlite3

import pytest

from gateway.app import create_app
from gateway.settings import parse
from providers.stream.sse import Decoder
from tests.gateway.configurations import SAYS, configuration

FORMS = {
    "sse": "text/event-stream",
    "ndjson": "application/x-ndjson",
    "text": "text/plain",
    "json": "application/json",
}


def events(reply):
    frames = [frame for frame in Decoder().feed(reply.get_data()) if frame.data]
    return [(frame.id, frame.event or "message", json.loads(frame.data)) for frame in frames]


def error(reply):
    return reply.get_json()["error"]


def test_an_answer_is_start_text_and_done_with_ids_without_gaps(client):
    reply = client.post("/getAnwser", json={"question": "hi"})
    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    assert reply.headers["X-Accel-Buffering"] == "no"
    assert reply.headers["Cache-Control"] == "no-cache"
    assert reply.get_data().startswith(b"retry: 1000\nid: ")
    found = events(reply)
    answer_id = reply.headers["X-Answer-Id"]
    assert [id for id, _, _ in found] == [f"{answer_id}.{n}" for n in range(1, len(found) + 1)]
    names = [name for _, name, _ in found]
    assert names == ["start"] + ["message"] * (len(found) - 2) + ["done"]
    start, done = found[0][2], found[-1][2]
    assert start.keys() == {"id", "provider", "model", "created"}
    assert (start["id"], start["provider"], start["model"]) == (answer_id, "vllm", "m")
    assert "".join(data["text"] for _, name, data in found if name == "message") == SAYS
    assert done["finish_reason"] == "stop"
    assert done["usage"] == {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21}
    assert done["timing"].keys() == {"queue", "prompt", "first_token", "generate", "sql", "gateway"}


@pytest.mark.parametrize("by", ["Accept", "format"])
def test_the_four_forms_tell_the_same_answer(client, by):
    replies = {}
    for name, media in FORMS.items():
        asked = {"headers": {"Accept": media}} if by == "Accept" else {"query_string": {"format": name}}
        replies[name] = client.post("/getAnwser", json={"question": "hi"}, **asked)
        assert replies[name].headers["Content-Type"].split(";")[0] == media
    told = events(replies["sse"])
    assert "".join(data["text"] for _, name, data in told if name == "message") == SAYS
    assert replies["text"].get_data(as_text=True) == SAYS
    whole = replies["json"].get_json()
    assert list(whole) == [
        "id", "provider", "model", "answer", "reasoning", "sql", "rows", "finish_reason", "usage", "timing"
    ]  # fmt: skip
    assert (whole["answer"], whole["reasoning"], whole["finish_reason"]) == (SAYS, "", "stop")
    lines = [json.loads(line) for line in replies["ndjson"].get_data().splitlines() if line]
    assert all(SAYS.startswith(line["content"]) for line in lines)
    assert [line.get("done") for line in lines[:-1]] == [None] * (len(lines) - 1)
    last = lines[-1]
    assert last.pop("content") == SAYS
    assert last == {
        "done": True,
        "id": replies["ndjson"].headers["X-Answer-Id"],
        "finish_reason": "stop",
        "usage": told[-1][2]["usage"],
        "sql": None,
        "rows": None,
    }


def test_reasoning_is_kept_apart_from_the_reply(app_for):
    client = app_for({"thinks": "think"}).test_client()
    found = events(client.post("/getAnwser", json={"question": "hi", "provider": "thinks"}))
    reasoning = "".join(data["text"] for _, name, data in found if name == "reasoning")
    text = "".join(data["text"] for _, name, data in found if name == "message")
    whole = client.post("/getAnwser?format=json", json={"question": "hi", "provider": "thinks"}).get_json()
    assert reasoning and reasoning not in text
    assert (whole["reasoning"], whole["answer"]) == (reasoning, text)


def test_get_asks_the_same_as_post(client, upstream):
    client.post("/getAnswer", json={"question": "hi", "top_p": 0.5, "stop": ["x"]}).get_data()
    client.get("/getAnwser", query_string={"question": "hi", "top_p": "0.5", "stop": "x"}).get_data()
    by_post, by_get = (asked.body for asked in upstream.asked)
    assert by_post == by_get


def test_the_question_is_sent_as_it_came_after_its_history(client, upstream):
    client.post(
        "/getAnwser", json={"question": " hi ", "history": [{"question": "a", "answer": "b"}], "seed": 7}
    ).get_data()
    body = upstream.asked[0].body
    assert [(message["role"], message["content"]) for message in body["messages"]] == [
        ("user", "a"), ("assistant", "b"), ("user", " hi ")
    ]  # fmt: skip
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.0, 1024, 7)


def test_a_providers_defaults_come_before_those_of_the_route(app_for, upstream):
    defaults = {"temperature": 0.7, "max_tokens": 5, "top_p": 0.9}
    row = {"type": "openai", "base_url": upstream.base_url("openai"), "model": "m", "defaults": defaults}
    client = app_for(providers={"tuned": row}).test_client()
    client.post("/getAnwser", json={"question": "hi", "provider": "tuned", "max_tokens": 9}).get_data()
    body = upstream.asked[0].body
    assert (body["temperature"], body["max_tokens"], body["top_p"]) == (0.7, 9, 0.9)


@pytest.mark.parametrize("accept", ["*/*", "", "text/html,application/xhtml+xml,*/*;q=0.8", "text/event-stream"])
def test_events_are_what_is_sent_unless_something_else_is_liked_better(client, accept):
    reply = client.post("/getAnwser", json={"question": "hi"}, headers={"Accept": accept})
    assert reply.headers["Content-Type"].startswith("text/event-stream")


REFUSED = [
    ({"data": b"{}", "content_type": "text/plain"}, 415, "Content-Type"),
    ({"data": b"question=a", "content_type": "application/x-www-form-urlencoded"}, 415, "Content-Type"),
    ({"data": b"nonsense", "content_type": "application/json"}, 400, "must be JSON"),
    ({"data": b"", "content_type": "application/json"}, 400, "question"),
    ({}, 400, "question"),
    ({"json": {"question": "a" * 8001}}, 400, "question"),
    ({"json": {"question": "a", "colour": "red"}}, 400, "colour"),
    ({"json": {"question": "a", "provider": "nobody"}}, 400, "provider"),
    ({"json": {"question": "a", "provider": "keyless"}}, 400, "provider"),
    ({"json": {"question": "a", "database": "nothing"}}, 400, "database"),
    ({"json": {"question": "a", "max_tokens": True}}, 400, "max_tokens"),
    ({"json": {"question": "a"}, "query_string": {"format": "xml"}}, 400, "format"),
    ({"json": {"question": "a"}, "query_string": {"question": "b"}}, 400, "question"),
    ({"json": {"question": "a"}, "headers": {"Accept": "image/png"}}, 406, "Accept"),
    ({"data": b" " * ((1 << 20) + 1), "content_type": "application/json"}, 413, "1 MiB"),
]


@pytest.mark.parametrize(("asked", "status", "named"), REFUSED)
def test_what_cannot_be_understood_is_refused_by_name_and_nothing_is_asked(app_for, upstream, asked, status, named):
    keyless = {"type": "dashscope", "model": "qwen-plus", "api_key": "${NOT_SET}"}
    reply = app_for(providers={"keyless": keyless}).test_client().post("/getAnwser", **asked)
    assert reply.status_code == status
    told = error(reply)
    assert told["code"] == ("too_large" if status == 413 else "bad_request")
    assert named in told["message"]
    assert told["request_id"] == reply.headers["X-Request-Id"]
    assert told["retryable"] is False
    assert upstream.asked == []


def test_addresses_and_methods_that_are_not_there_are_errors_in_json(client, upstream):
    assert error(client.get("/nowhere"))["code"] == "not_found"
    reply = client.delete("/getAnwser")
    assert (reply.status_code, error(reply)["code"]) == (405, "bad_request")
    assert "POST" in reply.headers["Allow"]
    assert client.head("/getAnwser?question=a").status_code == 405
    assert upstream.asked == []


BEFORE = [
    ("fail=rate,retry=3", 429, "upstream_rate_limited"),
    ("fail=auth", 502, "upstream_auth"),
    ("fail=server", 502, "upstream_error"),
    ("fail=context", 400, "context_length"),
    ("html=200", 502, "upstream_protocol"),
    ("drop=head", 502, "upstream_connect"),
]


@pytest.mark.parametrize("query", ["question=%ff", "question=%E4%BD", "question=a&language=%C0%80"])
def test_a_query_that_is_not_utf8_is_refused_and_not_repaired(client, upstream, query):
    reply = client.get(f"/getAnwser?{query}")
    assert reply.status_code == 400
    assert error(reply)["message"].endswith("must be UTF-8, and is not")
    assert upstream.asked == []


@pytest.mark.parametrize(("plan", "status", "code"), BEFORE)
@pytest.mark.parametrize("form", FORMS)
def test_a_failure_before_the_first_delta_is_a_real_status_in_every_form(app_for, plan, status, code, form):
    client = app_for({"bad": plan}).test_client()
    reply = client.post(f"/getAnwser?format={form}", json={"question": "hi", "provider": "bad"})
    assert (reply.status_code, error(reply)["code"]) == (status, code)
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["X-Answer-Id"]
    if "retry" in plan:
        assert reply.headers["Retry-After"] == "3"
    assert reply.headers["X-Request-Id"] == error(reply)["request_id"]


def test_a_failure_after_the_first_delta_is_the_last_event_or_line(app_for):
    client = app_for({"cut": "cut"}).test_client()
    asked = {"json": {"question": "hi", "provider": "cut"}}
    found = events(client.post("/getAnwser", **asked))
    assert [name for _, name, _ in found].count("failed") == 1
    _, name, failed = found[-1]
    assert (name, failed["code"], failed["retryable"]) == ("failed", "truncated", True)
    assert failed.keys() == {"code", "message", "retryable", "retry_after", "request_id"}
    so_far = "".join(data["text"] for _, name, data in found if name == "message")
    assert so_far and SAYS.startswith(so_far)

    text = client.post("/getAnwser?format=text", **asked).get_data(as_text=True)
    assert text.startswith(so_far + "\n[failed: truncated] ") and text.count("\n") == 2
    last = json.loads(client.post("/getAnwser?format=ndjson", **asked).get_data().splitlines()[-1])
    assert (last["content"], last["error"]["code"], "done" in last) == (so_far, "truncated", False)
    whole = client.post("/getAnwser?format=json", **asked)
    assert whole.status_code == 502
    assert (whole.get_json()["answer"], error(whole)["code"]) == (so_far, "truncated")


def test_a_failure_after_the_head_went_out_is_a_failed_event_after_start(app_for):
    client = app_for({"bad": "hang=first"}, server={"commit_after_s": 0}).test_client()
    settings = client.application.extensions["sluice"].settings
    settings.providers["bad"].timeouts.first_token = 0.1
    reply = client.post("/getAnwser", json={"question": "hi", "provider": "bad"})
    assert reply.status_code == 200
    assert [name for _, name, _ in events(reply)] == ["start", "failed"]
    assert events(reply)[0][2]["provider"] == "bad"
    assert events(reply)[1][2]["code"] == "upstream_timeout"


def test_a_fault_of_ours_is_internal_and_shows_nothing_of_its_inside(upstream, monkeypatch):
    def broken(*_):
        raise RuntimeError("/secret/path")
        yield

    monkeypatch.setattr("gateway.text2sql.flow.answer", broken)
    client = create_app(parse(configuration(upstream), environ={})).test_client()
    reply = client.post("/getAnwser", json={"question": "hi"})
    assert (reply.status_code, error(reply)["code"]) == (500, "internal")
    assert "secret" not in reply.get_data(as_text=True)


def test_a_flow_that_stops_without_an_end_still_ends_its_answer(upstream, monkeypatch):
    monkeypatch.setattr("gateway.text2sql.flow.answer", lambda *_: iter([]))
    client = create_app(parse(configuration(upstream), environ={})).test_client()
    assert error(client.post("/getAnwser", json={"question": "hi"}))["code"] == "internal"


def test_older_clients_get_the_text_so_far_or_the_whole(client):
    for name in ("question", "query", "prompt"):
        lines = client.post("/api", json={name: "hi"}).get_data().splitlines()
        assert json.loads(lines[-1])["content"] == SAYS
        assert client.post("/conversation/", json={name: "hi"}).get_json() == {"response": SAYS}
    assert client.post("/conversation", json={"query": "hi"}).get_json() == {"response": SAYS}
    assert error(client.post("/api", json={}))["message"].startswith("question: required")
    assert error(client.post("/conversation/", json={}))["message"].startswith("query: required")
    assert error(client.post("/api", json={"prompt": " "}))["message"].startswith("prompt: must not be blank")
    assert error(client.post("/api", json={"query": "a", "prompt": "b"}))["message"].startswith("prompt: ")


def test_a_request_id_is_taken_over_if_it_is_one(client):
    assert client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
    assert client.get("/healthz", headers={"X-Request-Id": "a b<>"}).headers["X-Request-Id"] != "a b<>"


def test_health_is_this_workers_and_readiness_is_the_default_providers(app_for):
    client = app_for(providers={"q": {"type": "dashscope", "model": "m", "api_key": ""}}).test_client()
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "ok")
    assert {row["name"]: row["available"] for row in ready.get_json()["providers"]} == {"vllm": True, "q": False}


def test_a_grammar_is_asked_of_those_who_can_hold_to_one(app_for, tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as made:
        made.execute("create table goods (name text)")
    client = app_for(databases={"shop": {"url": f"sqlite:///{tmp_path}/shop.db"}}).test_client()
    reply = client.post("/getAnwser", json={"question": "hi", "constrain": "sql"})
    assert "constrain dropped" in " ".join(events(reply)[0][2]["adjusted"])
    refused = client.post("/getAnwser", json={"question": "hi", "constrain": "sql", "database": "none"})
    assert (refused.status_code, error(refused)["message"][:12]) == (400, "constrain: n")
