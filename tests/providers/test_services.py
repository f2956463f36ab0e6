# ruff: noqa: E501 - the services' own bytes and sentences stay on one line
"""Each shipped row against its service's own dialect: what it accepts, what it refuses, its odd chunks and errors."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from providers import Providers
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import ProviderError
from providers.services import SERVICES

QUESTION = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}]
# What /getAnwser and OpenAI's clients send of their own.
ASKED = {"temperature": 0.0, "max_tokens": 1024}
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
    return "" if path == "/openai/deployments/d/chat/completions?api-version=2024-10-21" else "wrong address"


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
    "azure": (404, {"error": {"code": "DeploymentNotFound", "message": "It does not exist."}}, "model_not_found"),
    "ollama": (404, {"error": {"message": "model 'x' not found", "type": "api_error"}}, "model_not_found"),
    "llamacpp": (
        400,
        {"error": {"code": 400, "message": "exceeds the context size", "type": "exceed_context_size_error"}},
        "context_length",
    ),
    "lmstudio": (400, {"error": "Model unloaded."}, "bad_request"),
}


@contextlib.contextmanager
def service(
    rules: list[Rule], status: int, reply: str, kind: str = "text/event-stream"
) -> Iterator[tuple[str, list[Any]]]:
    """(address, the bodies that were accepted) of a service with these rules."""
    accepted: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            refused = next(filter(None, (rule(body, headers, self.path) for rule in rules)), "")
            if refused:
                self.answer(400, "application/json", json.dumps({"error": {"message": refused}}))
                return
            accepted.append(body)
            self.answer(status, kind, reply)

        def answer(self, status: int, kind: str, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", accepted
    finally:
        server.shutdown()
        server.server_close()


def shipped(name: str, address: str) -> ProviderConfiguration:
    """The row as the snippet has it, its host and its key put in."""
    (row,) = yaml.safe_load(SERVICES[name].snippet()).values()
    path = "/openai/deployments/d" if name == "azure" else "/v1"
    key = {"api_key": "sk-service-key"} if "api_key" in row else {}
    return ProviderConfiguration(**{**row, "base_url": address + path, **key, "retries": 0})


def ask(configuration: ProviderConfiguration, **members: Any) -> tuple[str, list[str], Any]:
    """(text, what was adjusted, the last delta) of one question."""
    providers = Providers({"p": configuration}, "p")
    stream = providers.stream(ChatRequest.of(QUESTION, **{**ASKED, **members}))
    deltas = [delta for batch in stream for delta in batch]
    adjusted = stream.parameter_changes
    providers.close()
    return "".join(delta.text for delta in deltas), adjusted, deltas[-1]


@pytest.mark.parametrize("name", SERVICES)
def test_a_shipped_row_is_accepted_by_its_service_at_once(name):
    rules, reply = DIALECTS[name]
    refusals: list[str] = []
    counting = [
        lambda *asked, rule=rule: refusals.append(said) or said if (said := rule(*asked)) else "" for rule in rules
    ]
    with service(counting, 200, reply) as (address, accepted):
        text, adjusted, last = ask(shipped(name, address))
    assert (text, last.finish_reason, refusals) == ("杭州，早", "stop", [])
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (5, 2)
    assert ("temperature" in accepted[0]) == (name != "moonshot")
    assert any("temperature" in sentence for sentence in adjusted) == (name == "moonshot")


@pytest.mark.parametrize("name", SERVICES)
def test_a_services_own_error_is_named_by_its_meaning(name):
    status, body, code = ERRORS[name]
    with service([], status, json.dumps(body), "application/json") as (address, accepted):
        with pytest.raises(ProviderError) as caught:
            ask(shipped(name, address))
        assert (caught.value.code, len(accepted)) == (code, 1)


# -- what a service refuses is learned


REFUSALS = {
    "an OpenAI model of the o series": (
        lambda body, *_: (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
            if "max_tokens" in body
            else "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
            if body.get("temperature", 1) != 1
            else ""
        ),
        ["max_tokens sent as max_completion_tokens", "temperature dropped: the service refused it"],
    ),
    "kimi": (
        lambda body, *_: (
            "invalid temperature: only 1 is allowed for this model" if body.get("temperature", 1) != 1 else ""
        ),
        ["temperature dropped: the service refused it"],
    ),
    "mistral": (
        lambda body, *_: "stream_options: Extra inputs are not permitted" if "stream_options" in body else "",
        [],
    ),
    "a role": (
        lambda body, *_: (
            "developer is not one of ['system', 'assistant', 'user', 'tool', 'function'] - 'messages.[0].role'"
            if any(message["role"] == "developer" for message in body["messages"])
            else ""
        ),
        ["role developer sent as system"],
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_parameter_is_left_out_and_remembered(name):
    rule, adjusted = REFUSALS[name]
    refusals: list[str] = []
    with service(
        [lambda *asked: refusals.append(said) or said if (said := rule(*asked)) else ""], 200, HELLO + END
    ) as (
        address,
        accepted,
    ):
        configuration = ProviderConfiguration(type="openai", model="m", base_url=f"{address}/v1", retries=0)
        providers = Providers({"p": configuration}, "p")
        for _ in range(2):
            stream = providers.stream(ChatRequest.of(QUESTION, **ASKED))
            assert "".join(delta.text for batch in stream for delta in batch) == "杭州，早"
            assert stream.parameter_changes == adjusted
        providers.close()
    # The second question is written right at once.
    assert (len(refusals), len(accepted)) == (max(1, len(adjusted)), 2)


def test_a_value_out_of_range_is_refused_and_not_left_out():
    with (
        service([lambda body, *_: "max_tokens must not be greater than 100"], 200, HELLO + END) as (address, _),
        pytest.raises(ProviderError, match="greater than 100"),
    ):
        ask(ProviderConfiguration(type="openai", model="m", base_url=address))


def test_what_the_configuration_says_goes_out_as_it_says():
    row = {
        "extra": {"max_tokens": None, "temperature": 1, "max_completion_tokens": 4096},
        "headers": {"X-Team": "metro"}, "query": {"v": "1 2"}, "path": "/ask", "auth": "X-Key", "api_key": "sk-service-key",
        "rename": {"top_p": "nucleus"}, "drop": ["seed"], "roles": {"developer": "system"}, "stream_options": False,
    }  # fmt: skip
    seen: list[tuple[dict[str, Any], dict[str, str], str]] = []
    with service([lambda *asked: seen.append(asked) or ""], 200, HELLO + END) as (address, _):
        configuration = ProviderConfiguration(type="openai", model="m", base_url=f"{address}/v1?w=2", **row)
        ask(configuration, top_p=0.5, seed=3, extra={"reasoning_effort": "low", "model": "other", "stream": False})
    body, headers, path = seen[0]
    assert path == "/v1/ask?w=2&v=1+2"
    assert (headers["x-team"], headers["x-key"]) == ("metro", "sk-service-key") and "authorization" not in headers
    assert body == {
        "model": "m", "messages": [{"role": "system", "content": "be brief"}, QUESTION[1]], "stream": True,
        "temperature": 1, "max_completion_tokens": 4096, "nucleus": 0.5, "reasoning_effort": "low",
    }  # fmt: skip
