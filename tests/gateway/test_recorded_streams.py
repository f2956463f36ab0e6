"""Every recorded stream through the shipped server, in four forms: each gives what the case says.

The forms: `/v1` streamed and whole, read by OpenAI's official client; `/getAnwser` as events and as JSON.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest

from tests.cases import Case, recorded_cases
from tests.gateway.live import Live

CASES = recorded_cases()
TOKEN = b'{"access_token": "24.token", "expires_in": 2592000}'
AT_ONCE = 8


class Recorded(socketserver.StreamRequestHandler):
    """Answers with the case whose number is the first part of the path, and hands out ERNIE's token."""

    def handle(self) -> None:
        path = self.rfile.readline().split(b" ")[1]
        length = 0
        while (line := self.rfile.readline().strip().lower()) != b"":
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        self.rfile.read(length)
        if b"/oauth/" in path:
            self.reply(200, {"content-type": "application/json"}, TOKEN)
            return
        case = CASES[int(path.split(b"/")[1])]
        self.reply(case.status, {"content-type": case.content_type, **case.headers}, case.body, case.cut)

    def reply(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        told = {**headers, "transfer-encoding": "chunked", "connection": "close"}
        lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in told.items())]
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        if body:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
        if not cut:
            self.wfile.write(b"0\r\n\r\n")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with Server(("127.0.0.1", 0), Recorded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        providers = {
            f"case-{number}": {**case.provider, "base_url": f"{base}/{number}", "retries": 0}
            for number, case in enumerate(CASES)
        }
        with Live({"default": "case-0", "providers": providers}) as live:
            yield openai.OpenAI(api_key="none", base_url=f"{live.url}/v1", max_retries=0, timeout=20)
        server.shutdown()


@dataclass
class Got:
    text: str = ""
    reasoning: str = ""
    tools: dict[int, list[str]] = field(default_factory=dict)
    finish_reason: str | None = None
    usage: Any = None
    code: str = ""
    raw: str | None = None


def ask_whole(client: openai.OpenAI, number: int) -> Got:
    """One case as a whole completion."""
    got = Got()
    try:
        completion: Any = client.chat.completions.create(
            model=f"case-{number}", messages=[{"role": "user", "content": "hi"}]
        )
    except openai.APIError as error:
        return Got(code=str(error.code or ""))
    choice = completion.choices[0]
    got.text, got.finish_reason, got.usage = choice.message.content or "", choice.finish_reason, completion.usage
    got.reasoning = getattr(choice.message, "reasoning_content", None) or ""
    got.raw = getattr(choice, "finish_reason_raw", None)
    for at, call in enumerate(choice.message.tool_calls or ()):
        got.tools[at] = [call.function.name, call.function.arguments]
    return got


def ask_native(client: openai.OpenAI, number: int, accept: str) -> tuple[int, str]:
    """(status, body) of one case asked at /getAnwser."""
    url = str(client.base_url).removesuffix("/v1/") + "/getAnwser"
    question = {"question": "hi", "provider": f"case-{number}"}
    response = httpx.post(url, json=question, headers={"Accept": accept}, timeout=30)
    return response.status_code, response.text


def ask_events(client: openai.OpenAI, number: int) -> Got:
    """One case as events."""
    status, body = ask_native(client, number, "text/event-stream")
    if status != 200:
        return Got(code=json.loads(body)["error"]["code"])
    got, ends = Got(), 0
    for block in body.split("\n\n"):
        lines = [line.partition(": ")[::2] for line in block.split("\n") if line and not line.startswith(":")]
        fields = dict(lines)
        if "data" not in fields:
            continue
        data, name = json.loads(fields["data"]), fields.get("event", "message")
        if name == "message":
            got.text += data["text"]
        elif name == "reasoning":
            got.reasoning += data["text"]
        elif name == "tool_calls":
            for piece in data["tool_calls"]:
                call = got.tools.setdefault(piece["index"], ["", ""])
                call[0], call[1] = call[0] + piece["name"], call[1] + piece["arguments"]
        elif name == "done":
            ends += 1
            got.finish_reason, got.raw = data["finish_reason"], data.get("finish_reason_raw")
            got.usage = data["usage"] and SimpleNamespace(**data["usage"])
        elif name == "failed":
            ends += 1
            got.code = data["code"]
    assert ends == 1
    return got


def ask_json(client: openai.OpenAI, number: int) -> Got:
    """One case as JSON."""
    status, body = ask_native(client, number, "application/json")
    data = json.loads(body)
    if status != 200:
        return Got(text=data.get("answer") or "", code=data["error"]["code"])
    usage = data["usage"] and SimpleNamespace(**data["usage"])
    raw = data.get("finish_reason_raw")
    return Got(data["answer"], data["reasoning"] or "", finish_reason=data["finish_reason"], usage=usage, raw=raw)


def ask_stream(client: openai.OpenAI, number: int) -> Got:
    """One case as a stream of chunks."""
    got = Got()
    try:
        stream: Any = client.chat.completions.create(
            model=f"case-{number}",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        with contextlib.closing(stream):
            for chunk in stream:
                got.usage = chunk.usage or got.usage
                for choice in chunk.choices:
                    got.text += choice.delta.content or ""
                    got.reasoning += getattr(choice.delta, "reasoning_content", None) or ""
                    got.finish_reason = choice.finish_reason or got.finish_reason
                    got.raw = getattr(choice, "finish_reason_raw", None) or got.raw
                    for piece in choice.delta.tool_calls or ():
                        call = got.tools.setdefault(piece.index, ["", ""])
                        call[0] += piece.function.name or ""
                        call[1] += piece.function.arguments or ""
    except openai.APIError as error:
        got.code = str(error.code or "")
    return got


def admitted(ask: Any, client: openai.OpenAI, number: int) -> Got:
    """What a case gives once it is begun: a worker that is late on a busy machine turns new questions away."""
    for _ in range(40):
        got: Got = ask(client, number)
        if got.code != "overloaded":
            break
        time.sleep(0.5)
    return got


FORMS = {"v1 stream": ask_stream, "v1 whole": ask_whole, "events": ask_events, "json": ask_json}


@pytest.fixture(scope="module")
def found(client: openai.OpenAI) -> dict[str, list[Got]]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return {
            form: list(pool.map(lambda number, ask=ask: admitted(ask, client, number), range(len(CASES))))
            for form, ask in FORMS.items()
        }


def tools(case: Case) -> dict[int, list[str]]:
    """Name and arguments of each tool call."""
    calls: dict[int, list[str]] = {}
    for delta in case.deltas:
        for piece in delta.tool_calls:
            call = calls.setdefault(piece.index, ["", ""])
            call[0] += piece.name
            call[1] += piece.arguments
    return calls


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case) for case in CASES])
def test_each_form_gives_what_was_recorded(number: int, form: str, found: dict[str, list[Got]]):
    case, got = CASES[number], found[form][number]
    assert got.code == (case.failure["code"] if case.failure else "")
    if case.failure and form == "v1 whole":
        return  # an error of OpenAI's form has no room for the text so far
    assert got.text == "".join(delta.text for delta in case.deltas)
    if form == "json" and case.failure:
        return
    assert got.reasoning == "".join(delta.reasoning for delta in case.deltas)
    if form != "json":
        assert got.tools == tools(case)
    assert got.finish_reason == case.finish_reason
    assert got.raw == case.finish_reason_raw
    assert counted(got.usage) == counted(case.usage)


def counted(usage: Any) -> tuple[int, int, int] | None:
    return usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
