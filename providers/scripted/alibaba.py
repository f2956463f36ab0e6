"""DashScope's native wire as the service sends it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from providers.delta import Delta, ToolCallDelta, Usage
from providers.scripted.dialects import SEARCH_RESULTS, Call, Dialect, Refusal, compact, joined
from providers.scripted.plan import Plan


class DashScope(Dialect):
    """No space behind colons; the status of an error stands in a comment; snapshots unless asked for deltas."""

    wire = "dashscope"
    headers = (("x-request-id", "r-1"), ("x-dashscope-call-gateway", "true"), ("x-dashscope-finished", "false"))
    failures: ClassVar[dict[str, tuple[int, Any, str]]] = {
        "bad": (
            400,
            "InvalidParameter",
            "<400> InternalError.Algo.InvalidParameter: Temperature should be in [0.0, 2.0)",
        ),
        "context": (400, "InvalidParameter", "Range of input length should be [1, 30720]"),
        "moderation": (400, "DataInspectionFailed", "Input data may contain inappropriate content."),
        "model": (404, "ModelNotFound", "Model not exist."),
        "auth": (401, "InvalidApiKey", "Invalid API-key provided."),
        "forbidden": (403, "AccessDenied.Unpurchased", "Access to model denied."),
        "rate": (429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later."),
        "allocation": (
            429,
            "Throttling.AllocationQuota",
            "Allocated quota exceeded, please increase your quota limit.",
        ),
        "quota": (429, "insufficient_quota", "You exceeded your current quota."),
        "arrears": (400, "Arrearage", "Access denied, please make sure your account is in good standing."),
        "busy": (503, "ServiceUnavailable", "<503> The service is busy."),
        "server": (500, "InternalError.Algo", "An error occurred while computing."),
        "timeout": (504, "GatewayTimeout", "The model took too long."),
    }

    def refusal(self, call: Call, key: str) -> Refusal | None:
        if not call.key or (key and call.key != key):
            return self._refused(call, "auth")
        entered, parameters = call.body.get("input") or {}, call.body.get("parameters") or {}
        messages = entered.get("messages")
        wrong = not messages and not entered.get("prompt")
        temperature, top_p = parameters.get("temperature"), parameters.get("top_p")
        wrong = wrong or "messages" in call.body or "stream" in call.body
        wrong = wrong or (temperature is not None and not 0 <= temperature < 2)
        wrong = wrong or (top_p is not None and not 0 < top_p <= 1)
        wrong = wrong or ("tools" in parameters and parameters.get("result_format") != "message")
        if call.multimodal:
            wrong = wrong or any(not isinstance(message["content"], list) for message in messages or ())
        return self._refused(call, "bad") if wrong else None

    def _refused(self, call: Call, meaning: str) -> Refusal:
        refused = self.failed(Plan(fail=meaning), call)
        if isinstance(refused, Refusal):
            return refused
        return Refusal(200, b"".join(refused), "text/event-stream;charset=UTF-8")

    def failed(self, plan: Plan, call: Call) -> Refusal | list[bytes]:
        status, code, message = self.failures[plan.fail or "server"]
        error = {"code": code, "message": message, "request_id": "r-1"}
        if plan.form == "http" or (not call.streamed and not plan.form):
            return Refusal(status, error)
        if plan.form == "json":
            return Refusal(200, error)
        if plan.form == "sse":
            return Refusal(status, b"".join(self.failed_event(plan)), "text/event-stream;charset=UTF-8")
        return self.failed_event(plan)

    def failed_event(self, plan: Plan) -> list[bytes]:
        status, code, message = self.failures[plan.fail or "server"]
        error = {"code": code, "message": message, "request_id": "r-1"}
        return [f"id:1\nevent:error\n:HTTP_STATUS/{status}\ndata:".encode() + compact(error) + b"\n\n"]

    def events(self, steps: Iterable[Delta], call: Call, plan: Plan) -> list[bytes]:
        parameters = call.body.get("parameters") or {}
        snapshots = plan.snapshots or not parameters.get("incremental_output", False)
        written: list[bytes] = []
        so_far = Delta()
        if plan.search:
            search_info = {"search_results": SEARCH_RESULTS}
            first = self._chunk(Delta(), call, plan) | {"usage": {}}
            first["output"]["search_info"] = search_info
            written.append(self._event(1, first))
        for step in steps:
            if snapshots:
                so_far = _grown(so_far, step)
                step = so_far
            written.append(self._event(len(written) + 1, self._chunk(step, call, plan)))
        return written

    def _event(self, number: int, chunk: dict[str, Any]) -> bytes:
        return f"id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:".encode() + compact(chunk) + b"\n\n"

    def _chunk(self, step: Delta, call: Call, plan: Plan) -> dict[str, Any]:
        parameters = call.body.get("parameters") or {}
        reason = "null" if plan.nofinish or not step.finish_reason else plan.finish or step.finish_reason
        usage = step.usage or Usage(12, 1, 13)
        counted: dict[str, Any] = {
            "total_tokens": usage.total_tokens,
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.completion_tokens,
        }
        if usage.reasoning_tokens is not None:
            counted["output_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
        output: dict[str, Any]
        if parameters.get("result_format", "text") == "text" and not call.multimodal:
            output = {"finish_reason": reason, "text": step.text}
        else:
            content: Any = [{"text": step.text}] if call.multimodal and step.text else step.text
            message: dict[str, Any] = {"content": content, "role": "assistant"}
            if plan.think:
                message["reasoning_content"] = step.reasoning
            if step.tool_calls:
                message["tool_calls"] = _calls(step.tool_calls)
            output = {"choices": [{"message": message, "finish_reason": reason}]}
        chunk: dict[str, Any] = {"output": output, "request_id": "r-1"}
        return chunk if plan.nousage else chunk | {"usage": counted}

    def whole(self, steps: list[Delta], call: Call, plan: Plan) -> dict[str, Any]:
        text, reasoning, calls, reason, usage = joined(steps)
        return self._chunk(Delta(text, reasoning, calls, reason, usage), call, plan)


class DashScopeApp(DashScope):
    """An application: its text stands in the output itself, with a session; thoughts come as steps of an agent."""

    wire = "dashscope_app"

    def refusal(self, call: Call, key: str) -> Refusal | None:
        if refused := super().refusal(call, key):
            return refused
        # What an application samples with is said where it was made.
        odd = {"temperature", "top_p", "max_tokens", "stop", "tools", "result_format"} & set(
            call.body.get("parameters") or {}
        )
        return self._refused(call, "bad") if odd or "model" in call.body else None

    def _chunk(self, step: Delta, call: Call, plan: Plan) -> dict[str, Any]:
        chunk = super()._chunk(step, call, plan)
        choice = chunk["output"].get("choices", [{}])[0]
        output = {"session_id": "s-1", "finish_reason": chunk["output"].get("finish_reason") or choice["finish_reason"]}
        output["text"] = step.text
        if plan.think and step.reasoning:
            output["thoughts"] = [{"action_type": "reasoning", "thought": step.reasoning}]
        usage = chunk.pop("usage", None)
        return chunk | {"output": output} | ({"usage": {"models": [usage | {"model_id": "m"}]}} if usage else {})


def _calls(pieces: list[ToolCallDelta]) -> list[dict[str, Any]]:
    """Later fragments have `"id": ""`, empty and not absent, and no name."""
    written = []
    for piece in pieces:
        function: dict[str, Any] = {"arguments": piece.arguments}
        if piece.name:
            function["name"] = piece.name
        written.append({"index": piece.index, "id": piece.id, "type": "function", "function": function})
    return written


def _grown(so_far: Delta, step: Delta) -> Delta:
    """All the text so far, per channel, with `step` added."""
    calls = {
        piece.index: ToolCallDelta(piece.index, piece.id, piece.name, piece.arguments) for piece in so_far.tool_calls
    }
    for piece in step.tool_calls:
        call = calls.setdefault(piece.index, ToolCallDelta(piece.index))
        call.id, call.name = call.id or piece.id, call.name or piece.name
        call.arguments += piece.arguments
    return Delta(
        so_far.text + step.text,
        so_far.reasoning + step.reasoning,
        list(calls.values()),
        step.finish_reason,
        step.usage,
    )
