"""What each service sends, byte for byte in its own manner: events of a stream, whole replies, refusals.

`Dialect.refusal` is what the real service would answer to a request that breaks its rules, so an adapter that maps a
parameter wrongly is caught here and not by a customer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from providers.delta import Delta, ToolCallDelta, Usage
from providers.scripted.plan import Plan

CREATED = 1_700_000_000
SEARCH_RESULTS = [{"index": 1, "title": "Weather", "url": "https://example.org/weather"}]


@dataclass(slots=True)
class Refusal:
    """An HTTP answer instead of the reply. `headers` go beside the usual ones."""

    status: int
    body: dict[str, Any] | list[Any] | bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()

    def bytes(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else compact(self.body)


@dataclass(slots=True)
class Call:
    """One request as it came: `model` without its plan, `key` as it was sent, `streamed` as it was asked for."""

    model: str
    key: str
    body: dict[str, Any]
    streamed: bool
    multimodal: bool = False

    @property
    def question(self) -> str:
        """The last message's text."""
        entered = self.body.get("input") or {}
        messages = self.body.get("messages") or entered.get("messages") or [{"content": entered.get("prompt", "")}]
        content = messages[-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def event(value: Any, space: bool = True) -> bytes:
    return b"data:" + b" " * space + compact(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"


class Dialect:
    """One wire. `key` "" accepts any key."""

    wire = ""
    headers: tuple[tuple[str, str], ...] = ()
    # meaning → (HTTP status, the service's code, its words)
    failures: ClassVar[dict[str, tuple[int, Any, str]]] = {}

    def refusal(self, call: Call, key: str) -> Refusal | None:
        raise NotImplementedError

    def failed(self, plan: Plan, call: Call) -> Refusal | list[bytes]:
        """The failure `plan.fail` before the stream: an HTTP answer, or a stream that holds nothing else."""
        raise NotImplementedError

    def failed_event(self, plan: Plan) -> list[bytes]:
        """The failure `plan.fail` in mid-stream."""
        raise NotImplementedError

    def events(self, steps: Iterable[Delta], call: Call, plan: Plan) -> list[bytes]:
        raise NotImplementedError

    def whole(self, steps: list[Delta], call: Call, plan: Plan) -> dict[str, Any]:
        raise NotImplementedError


def joined(steps: list[Delta]) -> tuple[str, str, list[ToolCallDelta], str, Usage | None]:
    """Text, reasoning, whole tool calls, finish reason and usage of a reply."""
    calls: dict[int, ToolCallDelta] = {}
    for step in steps:
        for piece in step.tool_calls:
            call = calls.setdefault(piece.index, ToolCallDelta(piece.index))
            call.id, call.name = call.id or piece.id, call.name or piece.name
            call.arguments += piece.arguments
    text = "".join(step.text for step in steps)
    reasoning = "".join(step.reasoning for step in steps)
    return text, reasoning, list(calls.values()), steps[-1].finish_reason or "stop", steps[-1].usage


def openai_usage(usage: Usage) -> dict[str, Any]:
    """As OpenAI, vLLM and Qianfan write it."""
    value: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    if usage.reasoning_tokens is not None:
        value["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return value


def openai_calls(pieces: Iterable[ToolCallDelta]) -> list[dict[str, Any]]:
    """First fragments have id, type and name; the following ones neither."""
    written = []
    for piece in pieces:
        fragment: dict[str, Any] = {"index": piece.index, "function": {"arguments": piece.arguments}}
        if piece.id:
            fragment |= {"id": piece.id, "type": "function"}
            fragment["function"] = {"name": piece.name, "arguments": piece.arguments}
        written.append(fragment)
    return written


class OpenAI(Dialect):
    """vLLM's frames; `reasoning` as it writes it since 2026."""

    wire = "openai"
    key_needed = False
    thought = "reasoning"
    failures: ClassVar[dict[str, tuple[int, Any, str]]] = {
        "bad": (400, 400, "temperature must be in [0, 2], got 7"),
        "context": (400, 400, "This model's maximum context length is 4096 tokens. However, your request has 5000."),
        "moderation": (400, "content_filter", "The response was filtered due to the content management policy."),
        "model": (404, 404, "The model `none` does not exist."),
        "auth": (401, 401, "Unauthorized"),
        "forbidden": (403, 403, "This key may not use this model."),
        "rate": (429, 429, "Too many requests."),
        "allocation": (429, "rate_limit_exceeded", "Rate limit reached on tokens per min (TPM)."),
        "quota": (429, "insufficient_quota", "You exceeded your current quota."),
        "arrears": (429, "insufficient_quota", "You exceeded your current quota, check your plan and billing."),
        "busy": (503, 503, "The queue is full, try again later."),
        "server": (500, 500, "EngineCore encountered an issue."),
        "timeout": (504, 504, "The request took too long."),
    }
    types: ClassVar[dict[int, str]] = {
        400: "BadRequestError",
        404: "NotFoundError",
        503: "Service Unavailable",
        500: "InternalServerError",
    }

    def refusal(self, call: Call, key: str) -> Refusal | None:
        if (key and call.key != key) or (self.key_needed and not call.key):
            return Refusal(401, self.error(401, self.failures["auth"][1], self.failures["auth"][2]))
        messages = call.body.get("messages")
        if not isinstance(messages, list) or not messages:
            return Refusal(400, self.error(400, 400, "messages: Field required"))
        temperature = call.body.get("temperature")
        if temperature is not None and not 0 <= temperature <= 2:
            return Refusal(400, self.error(400, 400, "temperature must be in [0, 2]"))
        if "stream_options" in call.body and not call.streamed:
            return Refusal(400, self.error(400, 400, "stream_options can only be set with stream"))
        return None

    def error(self, status: int, code: Any, message: str) -> dict[str, Any]:
        if status == 401:
            return {"error": message}
        kind = self.types.get(status, "Bad Request")
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def failed(self, plan: Plan, call: Call) -> Refusal | list[bytes]:
        status, code, message = self.failures[plan.fail or "server"]
        if plan.form in ("", "http"):
            return Refusal(status, self.error(status, code, message))
        return self.failed_event(plan)

    def failed_event(self, plan: Plan) -> list[bytes]:
        status, code, message = self.failures[plan.fail or "server"]
        error = {"error": {"message": message, "type": self.types.get(status, "Bad Request"), "code": code}}
        if plan.form == "lost":
            return [DONE]
        if plan.form == "string":
            return [event({"error": message}), DONE]
        if plan.form == "event":
            return [b"event: error\n" + event(error)]
        if plan.form == "beside":
            beside = {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}
            return [event(error | beside), DONE]
        return [event(error), DONE]

    def chunk(self, call: Call, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": call.model}
        return head | {"choices": choices} | more

    def events(self, steps: Iterable[Delta], call: Call, plan: Plan) -> list[bytes]:
        written = [self._choice(call, {"role": "assistant", "content": ""})]
        so_far, ended = "", None
        for step in steps:
            ended = step if step.finish_reason else ended
            delta: dict[str, Any] = {}
            if step.text or step.finish_reason:
                so_far += step.text
                delta["content"] = so_far if plan.snapshots else step.text
            if step.reasoning:
                delta[self.thought] = step.reasoning
            if step.tool_calls:
                delta["tool_calls"] = openai_calls(step.tool_calls)
            reason = None if plan.nofinish else plan.finish or step.finish_reason
            written.append(self._choice(call, delta, reason if step.finish_reason else None))
        options = call.body.get("stream_options") or {}
        if options.get("include_usage") and ended and ended.usage and not plan.nousage:
            written.append(event(self.chunk(call, [], usage=openai_usage(ended.usage))))
        return written if plan.nodone else [*written, DONE]

    def _choice(self, call: Call, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event(self.chunk(call, [choice]))

    def whole(self, steps: list[Delta], call: Call, plan: Plan) -> dict[str, Any]:
        text, reasoning, calls, reason, usage = joined(steps)
        message: dict[str, Any] = {"role": "assistant", "content": text or None}
        if reasoning:
            message[self.thought] = reasoning
        if calls:
            message["tool_calls"] = openai_calls(calls)
        answer = self.chunk(call, [{"index": 0, "message": message, "finish_reason": plan.finish or reason}])
        answer["object"] = "chat.completion"
        return answer | ({"usage": openai_usage(usage)} if usage and not plan.nousage else {})


class DashScopeCompatible(OpenAI):
    """DashScope in OpenAI's shape: snake_case codes, `"usage": null` until the end, empty ids in later fragments."""

    wire = "dashscope_compatible"
    key_needed = True
    thought = "reasoning_content"
    failures = OpenAI.failures | {
        "bad": (400, "invalid_parameter_error", "<400> InternalError.Algo.InvalidParameter: Range of temperature"),
        "context": (400, "invalid_parameter_error", "Range of input length should be [1, 30720]"),
        "moderation": (400, "data_inspection_failed", "Input data may contain inappropriate content."),
        "model": (404, "model_not_found", "The model `none` does not exist or you do not have access to it."),
        "auth": (401, "invalid_api_key", "Incorrect API key provided."),
        "rate": (429, "limit_requests", "You exceeded your current requests list."),
        "arrears": (400, "Arrearage", "Access denied, please make sure your account is in good standing."),
    }

    def error(self, status: int, code: Any, message: str) -> dict[str, Any]:
        error = {"code": code, "message": message, "param": None, "type": "invalid_request_error"}
        return {"error": error, "request_id": "r-1"}

    def chunk(self, call: Call, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        return super().chunk(call, choices, **({"usage": None} | more))
