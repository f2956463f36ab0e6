"""Baidu's two wires as the services send them: ERNIE V1 and Qianfan V2."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from providers.delta import Delta, Usage
from providers.scripted.dialects import (
    CREATED,
    DONE,
    SEARCH_RESULTS,
    Call,
    Dialect,
    OpenAI,
    Refusal,
    compact,
    event,
    joined,
    openai_usage,
)
from providers.scripted.plan import Plan


class Ernie(Dialect):
    """Refusals are HTTP 200 and JSON without `data:`; only `is_end` ends a reply."""

    wire = "ernie"
    headers = (("X-Baidu-Request-Id", "b-1"), ("X-Ratelimit-Remaining-Requests", "299"))
    failures: ClassVar[dict[str, tuple[int, Any, str]]] = {
        "bad": (200, 336003, "the messages must be an odd number"),
        "context": (200, 336007, "the max length of current question is 4800"),
        "moderation": (200, 336104, "unsafe content in system"),
        "model": (200, 336005, "the API name does not exist"),
        "auth": (200, 14, "IAM Certification failed"),
        "forbidden": (200, 6, "No permission to access data"),
        "rate": (200, 18, "Open api qps request limit reached"),
        "allocation": (200, 336502, "tpm limit reached"),
        "quota": (200, 17, "Open api daily request limit reached"),
        "arrears": (200, 19, "Open api total request limit reached"),
        "busy": (200, 336100, "the service is busy, try again later"),
        "server": (200, 336000, "internal error"),
        "timeout": (200, 2, "Service temporarily unavailable"),
    }
    reasons: ClassVar[dict[str, str]] = {
        "stop": "normal",
        "length": "length",
        "tool_calls": "function_call",
        "content_filter": "content_filter",
    }

    def refusal(self, call: Call, key: str) -> Refusal | None:
        messages, temperature = call.body.get("messages"), call.body.get("temperature")
        penalty, stops = call.body.get("penalty_score"), call.body.get("stop") or []
        wrong = ""
        if not isinstance(messages, list) or len(messages) % 2 == 0:
            wrong = "the messages must be an odd number"
        elif any(
            message.get("role") not in (("user", "function") if n % 2 == 0 else ("assistant",))
            for n, message in enumerate(messages)
        ):
            wrong = "the role of message with even index must be user or function, with odd index assistant"
        elif any(not message.get("content") and not message.get("function_call") for message in messages):
            wrong = "the content of message must not be empty"
        elif temperature is not None and not 0 < temperature <= 1:
            wrong = "temperature must be in (0, 1]"
        elif penalty is not None and not 1 <= penalty <= 2:
            wrong = "penalty_score must be in [1, 2]"
        elif len(stops) > 4 or any(len(stop) > 20 for stop in stops):
            wrong = "stop takes at most 4 strings of at most 20 characters"
        elif call.body.get("max_output_tokens", 2) < 2 or "max_tokens" in call.body:
            wrong = "max_output_tokens must be at least 2"
        return Refusal(200, {"error_code": 336003, "error_msg": wrong, "id": "as-1"}) if wrong else None

    def failed(self, plan: Plan, call: Call) -> Refusal | list[bytes]:
        if plan.form in ("event", "sse"):
            return self.failed_event(plan)
        return Refusal(200, self.error(plan))

    def error(self, plan: Plan) -> dict[str, Any]:
        _, code, message = self.failures[plan.fail or "server"]
        if plan.form == "legacy":
            return {"code": code, "msg": message}
        return {"error_code": code, "error_msg": message, "id": "as-1"}

    def failed_event(self, plan: Plan) -> list[bytes]:
        if plan.form == "bare":
            return [compact(self.error(plan)) + b"\n"]
        return [event(self.error(plan))]

    def events(self, steps: Iterable[Delta], call: Call, plan: Plan) -> list[bytes]:
        steps = list(steps)
        written: list[bytes] = []
        thoughts = so_far = ""
        for step in steps[:-1]:
            thoughts += step.reasoning
            if step.text:
                so_far += step.text
                written.append(event(self._chunk(len(written), so_far if plan.snapshots else step.text, None, plan)))
        _, _, calls, _, _ = joined(steps)
        last = self._chunk(len(written), so_far if plan.snapshots else "", None if plan.nofinish else steps[-1], plan)
        if calls:
            # V1 tells one call, whole, with the thoughts that led to it.
            last["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments, "thoughts": thoughts}
        elif thoughts:
            last["thoughts"] = thoughts
        return [*written, event(last)]

    def _chunk(self, number: int, text: str, end: Delta | None, plan: Plan) -> dict[str, Any]:
        reason = plan.finish or (end.finish_reason if end else None) or "stop"
        chunk: dict[str, Any] = {
            "id": "as-1",
            "object": "chat.completion",
            "created": CREATED,
            "sentence_id": number,
            "is_end": end is not None,
            "is_truncated": end is not None and reason == "length",
            "result": text,
            "need_clear_history": end is not None and reason == "content_filter",
            "finish_reason": self.reasons[reason] if end else "normal",
        }
        if plan.search:
            chunk["search_info"] = {"search_results": SEARCH_RESULTS}
        if not plan.nousage:
            chunk["usage"] = openai_usage((end.usage if end else None) or Usage(12, 1, 13))
        return chunk

    def whole(self, steps: list[Delta], call: Call, plan: Plan) -> dict[str, Any]:
        text, _, calls, _reason, _ = joined(steps)
        answer = self._chunk(0, text, steps[-1], plan)
        del answer["sentence_id"], answer["is_end"]
        if calls:
            answer["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments, "thoughts": ""}
        return answer


class Qianfan(OpenAI):
    """OpenAI's shape with `flag`, `normal`, string codes, and an HTTP status that means something."""

    wire = "qianfan"
    key_needed = True
    thought = "reasoning_content"
    types: ClassVar[dict[int, str]] = {
        401: "invalid_request_error",
        429: "rate_limit_exceeded",
        500: "internal_error",
        503: "internal_error",
    }
    failures: ClassVar[dict[str, tuple[int, Any, str]]] = {
        "bad": (400, "invalid_argument", "temperature must be in [0, 1]"),
        "context": (400, "tokens_too_long", "the max input tokens is 8192"),
        "moderation": (400, "image_url_unsafe", "the content is not safe"),
        "model": (400, "invalid_model", ""),
        "auth": (401, "invalid_iam_token", "invalid iam token"),
        "forbidden": (401, "no_parameter_permission", "no permission"),
        "rate": (429, "rpm_rate_limit_exceeded", "Rate limit reached for RPM"),
        "allocation": (429, "tpm_rate_limit_exceeded", "Rate limit reached for TPM"),
        "quota": (429, "insufficient_quota", "The quota is used up"),
        "arrears": (429, "insufficient_quota", "The account is overdue"),
        "busy": (503, "server_busy", "try again later"),
        "server": (500, "internal_error", "internal error"),
        "timeout": (504, "timeout", "the model took too long"),
    }

    def refusal(self, call: Call, key: str) -> Refusal | None:
        temperature = call.body.get("temperature")
        if temperature is not None and not 0 <= temperature <= 1:
            return Refusal(400, self.error(400, "invalid_argument", "temperature must be in [0, 1]"))
        return super().refusal(call, key)

    def error(self, status: int, code: Any, message: str) -> dict[str, Any]:
        kind = "unsafe_request" if code == "image_url_unsafe" else self.types.get(status, "invalid_request_error")
        return {"error": {"code": code, "message": message, "type": kind}, "id": "as-1"}

    def failed(self, plan: Plan, call: Call) -> Refusal | list[bytes]:
        if plan.form == "legacy":
            _, code, message = self.failures[plan.fail or "server"]
            return Refusal(200, {"code": code, "msg": message})
        return super().failed(plan, call)

    def failed_event(self, plan: Plan) -> list[bytes]:
        status, code, message = self.failures[plan.fail or "server"]
        error = event(self.error(status, code, message))
        return [error, DONE] if plan.form == "done" else [error]

    def chunk(self, call: Call, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        for choice in choices:
            choice.pop("logprobs", None)
            reason = choice.pop("finish_reason", None)
            choice["flag"] = 1 if reason == "content_filter" else 0
            if reason:
                choice["finish_reason"] = "normal" if reason == "stop" else reason
        return super().chunk(call, choices, **more) | {"id": "as-1"}
