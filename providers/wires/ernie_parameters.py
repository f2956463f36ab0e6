"""A request's parameters in ERNIE V1's names and ranges.

The rule, here and for every provider: what only shapes how the next token is chosen is moved into the range or dropped,
and reported; what the caller relies on in the answer (tools, stop strings, a JSON schema, logprobs) is refused.

source   Baidu's chat API reference
"""

from __future__ import annotations

from typing import Any

from providers.chat import ChatRequest
from providers.errors import Rejected
from providers.wires.fitting import dropped, lacking, refuse_missed

LOWEST_TEMPERATURE = 0.01
HIGHEST_TEMPERATURE = 1.0
PENALTY_SCORE = (1.0, 2.0)
# The narrowest range among the models; one that has more gets it with `extra: {max_output_tokens: …}`.
OUTPUT_TOKENS = (2, 2048)
LACKING = lacking(
    "temperature", "top_p", "repetition_penalty", "max_tokens", "stop", "presence_penalty", "frequency_penalty"
)
MAX_STOPS = 4
MAX_STOP_CHARACTERS = 20


def parameters(request: ChatRequest) -> dict[str, Any]:
    """The members of the body beside the messages."""
    sampling = request.sampling
    wanted: dict[str, Any] = {
        "temperature": _within(sampling.temperature, LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE),
        "top_p": sampling.top_p,
        "penalty_score": _within(sampling.repetition_penalty, *PENALTY_SCORE),
        "max_output_tokens": _within(sampling.max_tokens, *OUTPUT_TOKENS),
        "stop": list(sampling.stop) or None,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    if request.tools and request.tool_choice != "none":
        wanted["functions"] = [_function(tool) for tool in request.tools]
        if isinstance(request.tool_choice, dict):
            wanted["tool_choice"] = request.tool_choice
    if request.response_format:
        wanted["response_format"] = request.response_format.get("type")
    return {name: value for name, value in wanted.items() if value is not None}


def check(request: ChatRequest) -> None:
    """Raise Rejected for what ERNIE cannot do and the caller would miss."""
    refuse_missed(request, "ERNIE")
    stops = request.sampling.stop
    if len(stops) > MAX_STOPS or any(len(stop) > MAX_STOP_CHARACTERS for stop in stops):
        longest = max(map(len, stops))
        raise Rejected(
            f"stop: ERNIE takes at most {MAX_STOPS} strings of at most {MAX_STOP_CHARACTERS} characters; "
            f"got {len(stops)}, the longest of {longest}"
        )
    if request.logprobs:
        raise Rejected("logprobs: ERNIE tells no log probabilities; expected false or nothing, got true")
    kind = (request.response_format or {}).get("type", "text")
    if kind not in ("text", "json_object"):
        raise Rejected(f"response_format: must be of type text or json_object for ERNIE, got {kind}")
    if request.tools and request.tool_choice == "required":
        raise Rejected(
            "tool_choice: ERNIE cannot be made to call any tool; expected a tool's name or auto, got required"
        )


def parameter_changes(request: ChatRequest) -> list[str]:
    """What was moved into ERNIE's ranges, or dropped, a sentence each."""
    body = parameters(request)
    changes = []
    for ours, theirs in (
        ("temperature", "temperature"),
        ("repetition_penalty", "penalty_score"),
        ("max_tokens", "max_output_tokens"),
    ):
        wanted = getattr(request.sampling, ours)
        if wanted is not None and body[theirs] != wanted:
            way = "raised" if body[theirs] > wanted else "lowered"
            changes.append(f"{ours} {way} to {body[theirs]:g}: the limit of ERNIE's {theirs}")
    return changes + dropped(request, "ERNIE", *LACKING, "parallel_tool_calls")


def _within(value: Any, low: float, high: float) -> Any:
    return None if value is None else max(low, min(value, high))


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    function = tool.get("function") or {}
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    return {"name": function.get("name"), "description": function.get("description") or "", "parameters": parameters}
