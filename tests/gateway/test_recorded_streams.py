"""Every recorded stream through the shipped server, read by OpenAI's official client: it gets what the case says."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest

from tests.cases import Case, recorded_cases
from tests.gateway.live import Live

CASES = recorded_cases()
TOKEN = b'{"access_token": "24.token", "expires_in": 2592000}'
AT_ONCE = 16


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


def ask(client: openai.OpenAI, number: int) -> Got:
    """What the official client makes of one case."""
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
                    for piece in choice.delta.tool_calls or ():
                        call = got.tools.setdefault(piece.index, ["", ""])
                        call[0] += piece.function.name or ""
                        call[1] += piece.function.arguments or ""
    except openai.APIError as error:
        got.code = str(error.code or "")
    return got


@pytest.fixture(scope="module")
def found(client: openai.OpenAI) -> list[Got]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda number: ask(client, number), range(len(CASES))))


def tools(case: Case) -> dict[int, list[str]]:
    """Name and arguments of each tool call."""
    calls: dict[int, list[str]] = {}
    for delta in case.deltas:
        for piece in delta.tool_calls:
            call = calls.setdefault(piece.index, ["", ""])
            call[0] += piece.name
            call[1] += piece.arguments
    return calls


@pytest.mark.parametrize("number", range(len(CASES)), ids=[str(case) for case in CASES])
def test_the_official_client_gets_what_was_recorded(number: int, found: list[Got]):
    case, got = CASES[number], found[number]
    assert got.text == "".join(delta.text for delta in case.deltas)
    assert got.reasoning == "".join(delta.reasoning for delta in case.deltas)
    assert got.tools == tools(case)
    assert got.finish_reason == case.finish_reason
    assert got.code == (case.failure["code"] if case.failure else "")
    assert counted(got.usage) == counted(case.usage)


def counted(usage: Any) -> tuple[int, int, int] | None:
    return usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
