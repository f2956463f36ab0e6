# ruff: noqa: E501 - the services' own bytes and sentences stay on one line
"""The twelve services that ship as rows, each in its own dialect: what it accepts, its odd chunks, its errors.

`service` answers at one address, or, where the path begins with `/<name>/`, as that service (`/<name>/broke/` with its error).
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

from providers.configuration import ProviderConfiguration
from providers.services import SERVICES

Rule = Callable[[dict[str, Any], dict[str, str], str], str]


def chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish_reason}
    return "data: " + json.dumps({"choices": [choice], **more}, ensure_ascii=False) + "\n\n"


HELLO = chunk({"role": "assistant", "content": ""}) + chunk({"content": "杭州"}) + chunk({"content": "，早"})
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
END = chunk({}, "stop") + "data: " + json.dumps({"choices": [], "usage": USAGE}) + "\n\ndata: [DONE]\n\n"


def only(*names: str) -> Rule:
    """Members beside these, and roles beside the classic four, are refused."""
    allowed = {"model", "messages", "stream", *names}

    def rule(body: dict[str, Any], headers: dict[str, str], path: str) -> str:
        odd = sorted(body.keys() - allowed)
        if odd:
            return f"Unrecognized request argument supplied: {odd[0]}"
        roles = {message["role"] for message in body["messages"]} - {"system", "user", "assistant", "tool"}
        return f"{roles.pop()} is not one of ['system', 'user', 'assistant', 'tool']" if roles else ""

    return rule


def bearer(body: dict[str, Any], headers: dict[str, str], path: str) -> str:
    return "" if headers.get("authorization") == "Bearer sk-service-key" else "no key"


def azure(body: dict[str, Any], headers: dict[str, str], path: str) -> str:
    if headers.get("api-key") != "sk-service-key" or "authorization" in headers:
        return "no key"
    wanted = "/openai/deployments/d/chat/completions?api-version=2024-10-21"
    return "" if path.endswith(wanted) else f"wrong address {path}"


def anybody(body: dict[str, Any], headers: dict[str, str], path: str) -> str:
    return "a key" if "authorization" in headers else ""


COMMON = ("temperature", "max_tokens", "top_p", "stream_options")
DIALECTS: dict[str, tuple[list[Rule], str]] = {
    "deepseek": ([bearer, only(*COMMON)], ": keep-alive\n\n" * 3 + HELLO + END),
    "moonshot": (
        [bearer, only("max_tokens", "stream_options")],
        HELLO + 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop","usage":' + json.dumps(USAGE)
        + "}]}\n\ndata: [DONE]\n\n",
    ),
    "zhipu": (
        [bearer, only("temperature", "max_tokens", "top_p")],
        HELLO + chunk({"content": ""}, "stop", usage=USAGE) + "data: [DONE]\n\n",
    ),
    "minimax": (
        [bearer, only(*COMMON)],
        HELLO + 'data: {"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"杭州，早"}}],'
        '"usage":' + json.dumps(USAGE) + ',"base_resp":{"status_code":0,"status_msg":""}}\n\n',
    ),
    "ark": ([bearer, only(*COMMON)], HELLO + END),
    "siliconflow": ([bearer, only(*COMMON)], HELLO + END),
    "openrouter": ([bearer], ": OPENROUTER PROCESSING\n\n" + HELLO + END),
    "groq": (
        [bearer, lambda body, headers, path: "top_k is not supported" if "top_k" in body else ""],
        HELLO + chunk({}, "stop", x_groq={"usage": USAGE}) + "data: [DONE]\n\n",
    ),
    "azure": ([azure], 'data: {"choices":[],"prompt_filter_results":[]}\n\n' + HELLO + END),
    "ollama": ([anybody], HELLO + END),
    "llamacpp": ([anybody], HELLO + END),
    "lmstudio": ([anybody], HELLO + END),
}  # fmt: skip
ERRORS = {
    "deepseek": (
        402,
        {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}},
        "upstream_quota",
    ),
    "moonshot": (
        429,
        {"error": {"message": "please recharge your account", "type": "exceeded_current_quota_error"}},
        "upstream_quota",
    ),
    "zhipu": (429, {"error": {"code": "1113", "message": "余额不足或无可用资源包,请充值。"}}, "upstream_quota"),
    "minimax": (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "upstream_quota"),
    "ark": (
        403,
        {"error": {"code": "AccountOverdueError", "message": "overdue", "type": "Forbidden"}},
        "upstream_quota",
    ),
    "siliconflow": (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}, "upstream_quota"),
    "openrouter": (402, {"error": {"code": 402, "message": "More credits are required"}}, "upstream_quota"),
    "groq": (429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}}, "upstream_rate_limited"),
    "azure": (
        404,
        {"error": {"code": "DeploymentNotFound", "message": "The deployment does not exist."}},
        "model_not_found",
    ),
    "ollama": (404, {"error": {"message": "model 'x' not found", "type": "api_error"}}, "model_not_found"),
    "llamacpp": (
        400,
        {"error": {"code": 400, "message": "exceeds the context size", "type": "exceed_context_size_error"}},
        "context_length",
    ),
    "lmstudio": (400, {"error": "Model unloaded."}, "bad_request"),
}


class Service:
    """A running service. accepted: the bodies that it took, refusals: the sentences it refused others with, by name."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.accepted: dict[str, list[dict[str, Any]]] = {name: [] for name in SERVICES}
        self.refusals: dict[str, list[str]] = {name: [] for name in SERVICES}


class Answering(BaseHTTPRequestHandler):
    """A handler that answers with a text, and logs nothing."""

    def answer(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def all_services() -> Iterator[Service]:
    """Every service behind one port: `/<name>/…` answers, `/<name>/broke/…` fails in the service's own words."""
    running = Service("")

    class Handler(Answering):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            _, name, rest = self.path.split("/", 2)
            headers = {header.lower(): value for header, value in self.headers.items()}
            rules, reply = DIALECTS[name]
            refused = next(filter(None, (rule(body, headers, self.path) for rule in rules)), "")
            if rest.startswith("broke/"):
                status, error, _ = ERRORS[name]
                self.answer(status, "application/json", json.dumps(error))
            elif refused:
                running.refusals[name].append(refused)
                self.answer(400, "application/json", json.dumps({"error": {"message": refused}}))
            else:
                running.accepted[name].append(body)
                self.answer(200, "text/event-stream", reply)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    running.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()


def row(name: str, address: str) -> dict[str, Any]:
    """The row as `sluice providers` prints it, with the address of this test and a key put in."""
    (written,) = yaml.safe_load(SERVICES[name].snippet()).values()
    path = "/openai/deployments/d" if name == "azure" else "/v1"
    key = {"api_key": "sk-service-key"} if "api_key" in written else {}
    return {**written, "base_url": address + path, **key, "retries": 0}


@contextlib.contextmanager
def service(
    rules: list[Rule], status: int, reply: str, kind: str = "text/event-stream"
) -> Iterator[tuple[str, list[Any]]]:
    """(address, the bodies that were accepted) of a service with these rules."""
    accepted: list[dict[str, Any]] = []

    class Handler(Answering):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            refused = next(filter(None, (rule(body, headers, self.path) for rule in rules)), "")
            if refused:
                self.answer(400, "application/json", json.dumps({"error": {"message": refused}}))
                return
            accepted.append(body)
            self.answer(status, kind, reply)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", accepted
    finally:
        server.shutdown()
        server.server_close()


def shipped(name: str, address: str) -> ProviderConfiguration:
    """The provider of `row`."""
    return ProviderConfiguration(**row(name, address))
