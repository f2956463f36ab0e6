"""The fault table through the server as it is shipped, and the same reply in every form that it can be asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import TABLE
from providers.scripted import Upstream
from tests.gateway.live import Live
from tests.ports import free_port
from tests.upstream.faults import (
    ALONE,
    CANARIES,
    HOSTED,
    QUESTION,
    TEXT,
    Outcome,
    Row,
    closed_after,
    judge,
    placed,
    rows,
    well,
)
from tests.waiting import eventually

AT_ONCE = 24
# (what is asked, form): the table in full as events, and once more in the forms that have their own way to fail.
FORMS = ("events", "openai", "openai_whole", "json", "ndjson", "text", "completions", "responses", "ui")
SAID = {"first_token": "did not begin to answer", "idle": "fell silent", "total": "did not finish"}
GOOD = ("", "think", "tools", "finish=length", "finish=content_filter", "nousage")
THOUGHTS = "先想一想."


def asks() -> list[tuple[Row, str]]:
    """Every row as events; those of one wire in the other forms too."""
    return [(row, form) for row in rows() for form in FORMS if form == "events" or row.wire == "openai"]


@dataclasses.dataclass
class Running:
    live: Live
    metrics_port: int
    names: dict[tuple[str, str], str]  # (row or good reply, form) → provider
    upstreams: dict[str, Upstream]  # provider → where it is asked
    models: dict[str, str]
    sockets: int


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    shared, ending = Upstream(), []
    names, upstreams, providers = {}, {}, {}
    for number, (row, form) in enumerate(asks()):
        upstream, provider, done = placed(row, shared)
        names[str(row), form], upstreams[f"p{number}"], providers[f"p{number}"] = f"p{number}", upstream, provider
        ending.append(done)
    for wire in HOSTED:
        for plan in GOOD:
            told = {"type": wire, "model": f"good@{plan}", "base_url": shared.base_url(wire), **CANARIES}
            providers[f"{wire}-{plan}"] = told
    metrics_port = free_port()
    # A long time to hold the head back: a busy machine must not turn a real status into an event.
    server = {"metrics_bind": f"127.0.0.1:{metrics_port}", "resume_window_s": 0, "commit_after_s": 20}
    with Live({"server": server, "default": "p0", "providers": providers}) as live:
        models = {name: provider["model"] for name, provider in providers.items()}
        with live.ask(QUESTION, provider=f"{HOSTED[0]}-") as reply:
            assert reply.status == 200 and reply.body()
        yield Running(live, metrics_port, names, upstreams, models, sockets(live))
        for done in ending:
            done()
    shared.close()


def sockets(live: Live) -> int:
    """How many are open in the workers."""
    count = 0
    for worker in live.workers():
        for descriptor in Path(f"/proc/{worker}/fd").iterdir():
            with contextlib.suppress(OSError):
                count += os.readlink(descriptor).startswith("socket:")
    return count


# -- one question in one form


def as_events(live: Live, provider: str) -> Outcome:
    with live.ask(QUESTION, provider=provider) as reply:
        if reply.status != 200:
            return refused(reply)
        outcome = Outcome()
        for event in reply.events():
            assert not outcome.ends, "an event came after the terminal one"
            if event.name == "message":
                outcome.text += event.data["text"]
            elif event.name == "done":
                outcome.ends += 1
                outcome.finish, outcome.usage = event.data["finish_reason"], event.data["usage"]
            elif event.name == "failed":
                outcome.ends += 1
                outcome.failure = failure(event.data)
        return outcome


def as_chunks(live: Live, path: str, body: dict[str, Any], text_of: Callable[[dict[str, Any]], str]) -> Outcome:
    """What a route of OpenAI's streams: chunks with choices, of which `text_of` gives the text, then [DONE]."""
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    with live.call("POST", path, body) as reply:
        if reply.status != 200:
            return refused(reply)
        frames = [line[6:] for line in reply.body().decode().split("\n") if line.startswith("data: ")]
    assert frames.pop() == "[DONE]"
    outcome = Outcome()
    for frame in map(json.loads, frames):
        if "error" in frame:
            outcome.ends += 1
            outcome.failure = failure(frame["error"])
            continue
        assert outcome.failure is None
        outcome.usage = frame.get("usage") or outcome.usage
        for choice in frame["choices"]:
            outcome.text += text_of(choice)
            if choice["finish_reason"]:
                outcome.ends += 1
                outcome.finish = choice["finish_reason"]
    return outcome


def as_openai(live: Live, provider: str) -> Outcome:
    body = {"model": provider, "messages": [{"role": "user", "content": QUESTION}]}
    return as_chunks(live, "/v1/chat/completions", body, lambda choice: choice["delta"].get("content") or "")


def as_completions(live: Live, provider: str) -> Outcome:
    body = {"model": provider, "prompt": QUESTION}
    return as_chunks(live, "/v1/completions", body, lambda choice: choice["text"])


def as_responses(live: Live, provider: str) -> Outcome:
    body = {"model": provider, "input": QUESTION, "stream": True}
    with live.call("POST", "/v1/responses", body) as reply:
        if reply.status != 200:
            return refused(reply)
        frames = [line[6:] for line in reply.body().decode().split("\n") if line.startswith("data: ")]
    outcome = Outcome()
    for number, frame in enumerate(map(json.loads, frames)):
        assert frame["sequence_number"] == number and not outcome.ends
        if frame["type"] == "response.output_text.delta":
            outcome.text += frame["delta"]
        elif frame["type"] in ("response.completed", "response.incomplete", "response.failed"):
            outcome.ends += 1
            response = frame["response"]
            outcome.failure = failure(response["error"]) if response["error"] else None
            calls = any(item["type"] == "function_call" for item in response["output"])
            words = {"max_output_tokens": "length", "content_filter": "content_filter"}
            why = (response["incomplete_details"] or {}).get("reason")
            outcome.finish = words[why] if why else "tool_calls" if calls else "stop"
            if usage := response["usage"]:
                names = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
                outcome.usage = {ours: usage[theirs] for theirs, ours in names.items()}
                outcome.usage["total_tokens"] = usage["total_tokens"]
                if thought := usage["output_tokens_details"]["reasoning_tokens"]:
                    # This API always has the member; 0 where the upstream does not count.
                    outcome.usage["reasoning_tokens"] = thought
    return outcome


def as_ui(live: Live, provider: str) -> Outcome:
    message = {"role": "user", "parts": [{"type": "text", "text": QUESTION}]}
    with live.call("POST", "/chat", {"id": provider, "model": provider, "messages": [message]}) as reply:
        if reply.status != 200:
            return refused(reply)
        frames = [line[6:] for line in reply.body().decode().split("\n") if line.startswith("data: ")]
    assert frames.pop() == "[DONE]"
    outcome = Outcome()
    for frame in map(json.loads, frames):
        assert not outcome.ends
        if frame["type"] == "text-delta":
            outcome.text += frame["delta"]
        elif frame["type"] == "finish":
            outcome.ends += 1
            about = frame["messageMetadata"]
            outcome.finish, outcome.usage = about["finishReason"], about["usage"]
        elif frame["type"] == "error":
            outcome.ends += 1
            message, _, code = frame["errorText"].rpartition(" (")
            outcome.failure = failure({"code": code.rstrip(")"), "message": message})
    return outcome


def as_openai_whole(live: Live, provider: str) -> Outcome:
    body = {"model": provider, "messages": [{"role": "user", "content": QUESTION}]}
    with live.call("POST", "/v1/chat/completions", body) as reply:
        if reply.status != 200:
            return refused(reply)
        told = reply.json()
    choice = told["choices"][0]
    return Outcome(choice["message"]["content"] or "", 1, choice["finish_reason"], told.get("usage"))


def as_json(live: Live, provider: str) -> Outcome:
    with live.ask(QUESTION, {"Accept": "application/json"}, provider=provider) as reply:
        if reply.status != 200:
            return refused(reply)
        told = reply.json()
    return Outcome(told["answer"], 1, told["finish_reason"], told["usage"])


def as_ndjson(live: Live, provider: str) -> Outcome:
    with live.ask(QUESTION, {"Accept": "application/x-ndjson"}, provider=provider) as reply:
        if reply.status != 200:
            return refused(reply)
        lines = [json.loads(line) for line in reply.body().decode().split("\n") if line]
    last, outcome = lines[-1], Outcome(lines[-1]["content"])
    outcome.ends = sum("done" in line or "error" in line for line in lines)
    outcome.failure = failure(last["error"]) if "error" in last else None
    outcome.finish, outcome.usage = last.get("finish_reason"), last.get("usage")
    return outcome


def as_text(live: Live, provider: str) -> Outcome:
    with live.ask(QUESTION, {"Accept": "text/plain"}, provider=provider) as reply:
        if reply.status != 200:
            return refused(reply)
        text, mark, told = reply.body().decode().partition("[failed: ")
    if not mark:
        # This form has no place to say how a reply ended.
        return Outcome(text, 1, "stop")
    code, _, message = told.partition("] ")
    return Outcome(text.removesuffix("\n"), 1, failure=failure({"code": code, "message": message}))


ASK: dict[str, Callable[[Live, str], Outcome]] = {
    "events": as_events,
    "openai": as_openai,
    "openai_whole": as_openai_whole,
    "json": as_json,
    "ndjson": as_ndjson,
    "text": as_text,
    "completions": as_completions,
    "responses": as_responses,
    "ui": as_ui,
}


def refused(reply: Any) -> Outcome:
    """A failure by HTTP status; a whole reply may show what came before it."""
    told = reply.json()
    made = failure(told["error"], reply.status, reply.headers.get("retry-after"))
    return Outcome(told.get("answer") or "", 1, failure=made)


def failure(error: dict[str, Any], status: int = 200, retry_after: str | None = None) -> Any:
    message = error["message"]
    deadline = next((name for name, said in SAID.items() if said in message), "")
    return SimpleNamespace(
        code=error["code"], status=status, deadline=deadline, retry_after=retry_after, message=message
    )


# -- the table


def asked(running: Running, row: Row, form: str) -> Outcome:
    name = running.names[str(row), form]
    upstream, model = running.upstreams[name], running.models[name]
    before = len(upstream.asked)
    outcome = ASK[form](running.live, name)
    ended_at = time.monotonic()
    mine = [one for one in upstream.asked[before:] if one.model == model]
    numbers = {one.connection for one in mine}
    if row.where == "before":
        numbers = {connection.number for connection in upstream.ledger.connections}
    outcome.asked = len(mine)
    if row.connection == "closed":
        outcome.closed_after_s = closed_after(upstream, numbers, ended_at)
    return outcome


@pytest.fixture(scope="module")
def outcomes(running: Running) -> dict[tuple[str, str], Outcome]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda ask: asked(running, *ask), asks())
        outcomes = dict(zip(((str(row), form) for row, form in asks()), found, strict=True))
    for row, form in asks():
        # On a busy machine a deadline can pass by itself: alone it must not. (What fails only once cannot be repeated.)
        for _ in range(0 if "times=" in row.plan else ALONE):
            outcome = outcomes[str(row), form]
            if well(as_written(row, form, outcome), outcome):
                break
            outcomes[str(row), form] = asked(running, row, form)
    return outcomes


def as_written(row: Row, form: str, outcome: Outcome) -> Row:
    """What the table asks of a form that cannot say everything."""
    row = dataclasses.replace(row, retry_after=None)
    if form == "text":
        row = dataclasses.replace(row, finish="stop")
    if form == "openai_whole" and outcome.failure:
        row = dataclasses.replace(row, text="none")
    return row


@pytest.mark.parametrize(("row", "form"), asks(), ids=str)
def test_a_fault_ends_once_in_every_form_with_its_code_and_its_prefix(row: Row, form: str, outcomes: Any):
    outcome = outcomes[str(row), form]
    judge(as_written(row, form, outcome), outcome)
    if outcome.failure and (row.text == "none" or form in ("json", "openai_whole")):
        assert outcome.failure.status == TABLE[row.ends][0]
    if row.retry_after is not None:
        assert outcome.failure.retry_after is not None


def test_nothing_is_left_in_the_worker(running: Running, outcomes: Any):
    for upstream in set(running.upstreams.values()):
        eventually(lambda upstream=upstream: not upstream.open_connections())
    eventually(lambda: sockets(running.live) <= running.sockets)


def test_no_secret_in_log_events_or_metrics(running: Running, outcomes: Any):
    with urllib.request.urlopen(f"http://127.0.0.1:{running.metrics_port}/metrics") as reply:
        metrics = reply.read().decode()
    messages = "".join(outcome.failure.message for outcome in outcomes.values() if outcome.failure)
    everything = running.live.log.read_text("utf-8") + metrics + messages
    assert "upstream_auth" in metrics
    for secret in (*CANARIES.values(), QUESTION, "24.token", "http://127.0.0.1"):
        assert secret not in everything.replace(running.live.url, "")


# -- the same reply in every form


def whole_reply(running: Running, provider: str) -> dict[str, Any]:
    """The JSON form: everything that an answer has."""
    with running.live.ask(QUESTION, {"Accept": "application/json"}, provider=provider) as reply:
        assert reply.status == 200
        told: dict[str, Any] = reply.json()
        return told


def counted(usage: dict[str, Any] | None) -> dict[str, Any] | None:
    """Usage in our own shape: OpenAI's puts the tokens of thoughts one floor deeper."""
    flat = dict(usage or {})
    return flat | flat.pop("completion_tokens_details", {}) if usage else None


def reasoning_in_events(running: Running, provider: str) -> str:
    with running.live.ask(QUESTION, provider=provider) as reply:
        return "".join(event.data["text"] for event in reply.events() if event.name == "reasoning")


def reasoning_for_openai(running: Running, provider: str) -> str:
    body = {"model": provider, "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    with running.live.call("POST", "/v1/chat/completions", body) as reply:
        frames = [json.loads(line[6:]) for line in reply.body().decode().split("\n") if line.startswith("data: {")]
    return "".join(choice["delta"].get("reasoning_content") or "" for frame in frames for choice in frame["choices"])


@pytest.mark.parametrize("plan", GOOD)
@pytest.mark.parametrize("wire", HOSTED)
def test_every_form_has_the_same_text_finish_reason_and_usage(wire: str, plan: str, running: Running):
    provider = f"{wire}-{plan}"
    whole = whole_reply(running, provider)
    assert whole["answer"] == ("" if plan == "tools" else TEXT)
    for form, ask in ASK.items():
        outcome = ask(running.live, provider)
        assert outcome.ends == 1 and outcome.failure is None
        assert outcome.text == whole["answer"]
        if form != "text":
            assert outcome.finish == whole["finish_reason"]
            assert counted(outcome.usage) == whole["usage"]


@pytest.mark.parametrize("wire", HOSTED)
def test_every_form_that_has_a_place_for_it_has_the_same_reasoning(wire: str, running: Running):
    provider = f"{wire}-think"
    # ERNIE V1 tells its thoughts beside its last words; all of them are reasoning all the same.
    assert whole_reply(running, provider)["reasoning"] == THOUGHTS
    assert reasoning_in_events(running, provider) == THOUGHTS
    assert reasoning_for_openai(running, provider) == THOUGHTS
