"""OpenAI's chat completions: vLLM, SGLang, OpenAI itself, DashScope's compatible mode, and anything that speaks it.

chunk    {"choices": [{"index": 0, "delta": {"content": "你好"}, "finish_reason": null}]}
         {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}, then [DONE]
failure  {"error": {"message": "…", "type": "…", "code": 400 or "…"}} or {"error": "Unauthorized"}, also in a stream
source   OpenAI's API reference and vLLM's server; recorded streams in tests/cases/openai/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from providers.chat import ChatRequest
from providers.delta import Delta, ToolCallDelta, Usage
from providers.embeddings import Embeddings, EmbeddingsRequest
from providers.errors import BrokenProtocol, ProviderError, UpstreamFailed
from providers.stream.sse import Frame
from providers.wires.adapter import HostedAdapter
from providers.wires.openai_errors import body_failure, chunk_failure

FINISH_REASONS = {
    "function_call": "tool_calls",
    "max_tokens": "length",
    "model_length": "length",
    "sensitive": "content_filter",
    "tool_use": "tool_calls",
}
FAILED = {"abort", "error", "insufficient_system_resource", "network_error"}
_OTHERS = ("top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "response_format")


def payload(request: ChatRequest, model: str) -> dict[str, Any]:
    """The body to send: OpenAI's members and vLLM's beside them, those that the request sets."""
    body: dict[str, Any] = {"model": model, "messages": request.messages, "stream": True}
    body["stream_options"] = {"include_usage": True}
    body |= request.sampling.members()
    body |= {name: value for name in _OTHERS if (value := getattr(request, name)) is not None}
    if request.logprobs:
        body["logprobs"] = True
    return body


def parse(chunk: dict[str, Any], frame: Frame) -> Iterator[Delta]:
    """What one chunk says, or a whole reply (`message` in place of `delta`); raises what it reports."""
    usage = read_usage(chunk.get("usage"))
    for choice in chunk.get("choices") or ():
        # We ask for one choice; the others of a server that sends more are not this reply.
        if choice.get("index") in (0, None):
            delta = read_choice(choice)
            if delta.finish_reason in FAILED:
                yield Delta(delta.text, delta.reasoning, delta.tool_calls)
                raise chunk_failure(chunk) or UpstreamFailed(f"the upstream ended with {delta.finish_reason!r}")
            yield delta
    if failure := chunk_failure(chunk, is_error=frame.event == "error"):
        raise failure
    if usage:
        yield Delta(usage=usage)


def read_choice(choice: dict[str, Any]) -> Delta:
    """One choice of a chunk; its finish_reason in OpenAI's words, or one of FAILED."""
    part = choice.get("delta") or choice.get("message") or {}
    text, thought = read_content(part.get("content"))
    # The new name and the old one; some send both with the same text.
    thought += part.get("reasoning") or part.get("reasoning_content") or ""
    text += part.get("refusal") or choice.get("text") or ""
    calls = [read_tool_call(call, at) for at, call in enumerate(part.get("tool_calls") or ())]
    if old := part.get("function_call"):
        calls.append(read_tool_call({"function": old}, 0))
    reason = choice.get("finish_reason")
    if reason in (None, "", "null"):
        reason = None
    elif reason not in FAILED:
        # Whatever else an engine calls its end (repetition, eos, …) is one.
        reason = FINISH_REASONS.get(reason, reason if reason in ("length", "content_filter", "tool_calls") else "stop")
    logprobs = (choice.get("logprobs") or {}).get("content")
    return Delta(_string(text), _string(thought), calls, reason, logprobs=logprobs or None)


def read_content(content: Any) -> tuple[str, str]:
    """(text, reasoning) of a message's content: a string, a list of parts, or null."""
    if not isinstance(content, list):
        return content or "", ""
    text = thought = ""
    for part in content:
        if isinstance(part, str):
            text += part
        elif "thinking" in part:
            thought += read_content(part["thinking"])[0]
        else:
            text += part.get("text") or ""
    return text, thought


def read_tool_call(call: dict[str, Any], position: int) -> ToolCallDelta:
    """A piece of a tool call; position: its place in the chunk, where it has no index of its own."""
    function = call.get("function") or {}
    index = call.get("index")
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    return ToolCallDelta(
        position if index is None else int(index),
        _string(call.get("id") or ""),
        _string(function.get("name") or ""),
        arguments or "",
    )


def read_usage(usage: Any) -> Usage | None:
    """The totals where at least two of the three are there; None otherwise, for a number is never made up."""
    if not isinstance(usage, dict):
        return None
    prompt, completion, total = (_count(usage.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    if prompt is None and completion is not None and total is not None:
        prompt = total - completion
    if completion is None and prompt is not None and total is not None:
        completion = total - prompt
    if prompt is None or completion is None:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    return Usage(prompt, completion, prompt + completion if total is None else total, _count(cached), _count(thought))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text that is no text")
    return value


# The usual frame, decoded by its type: 0.7 µs instead of 4 (python -m benchmarks.normaliser). It names every member
# that could change the meaning: a chunk with more to say does not fit and goes through `parse`, which is its judge.


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: None = None
    completion_tokens_details: None = None


class _Part(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class FastChoice(msgspec.Struct, gc=False):
    delta: _Part
    index: Literal[0] = 0
    finish_reason: None = None
    logprobs: None = None
    message: None = None
    text: None = None


class FastChunk(msgspec.Struct, gc=False):
    choices: tuple[FastChoice]
    usage: _Usage | None = None
    error: None = None


_decode = msgspec.json.Decoder(FastChunk).decode


def parse_fast(frame: Frame, decode: Callable[[bytes], FastChunk] = _decode) -> Delta | None:
    """The delta of a chunk with one choice and text in it; None for any other. decode: by a wire's own type of it."""
    if frame.event:
        return None
    try:
        chunk = decode(frame.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    part = chunk.choices[0].delta
    delta = Delta(part.content or "", part.reasoning or part.reasoning_content or "")
    if usage := chunk.usage:
        delta.usage = Usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    return delta


class Adapter(HostedAdapter):
    """One provider of type `openai` or of a row that speaks the same."""

    parse = staticmethod(parse)

    def url(self, base_url: str) -> str:
        return f"{base_url}/chat/completions"

    def parse_fast(self, frame: Frame) -> Delta | None:
        return parse_fast(frame)

    def payload(self, request: ChatRequest) -> dict[str, Any]:
        return payload(request, self.configuration.model)

    def embed(self, request: EmbeddingsRequest) -> Embeddings:
        """POST /embeddings: {"model", "input": [texts]} → {"data": [{"index", "embedding"}], "usage"}."""
        base_url = self.configuration.base_url[0]
        model = self.configuration.embedding_model or self.configuration.model
        body: dict[str, Any] = {"model": model, "input": request.texts, "encoding_format": "float"}
        body |= {name: value for name in ("dimensions", "user") if (value := getattr(request, name)) is not None}
        reply = self.ask_json(f"{base_url}/embeddings", base_url, body)
        if failure := chunk_failure(reply):
            raise failure
        try:
            entries = sorted(reply["data"], key=lambda entry: int(entry["index"]))
            vectors = [[float(value) for value in entry["embedding"]] for entry in entries]
        except (KeyError, TypeError, ValueError):
            raise BrokenProtocol("the upstream answered without embeddings in its data") from None
        if len(vectors) != len(request.texts):
            raise BrokenProtocol(f"the upstream gave {len(vectors)} embeddings for {len(request.texts)} texts")
        usage = reply.get("usage")
        tokens = usage.get("prompt_tokens", usage.get("total_tokens")) if isinstance(usage, dict) else None
        return Embeddings(vectors, tokens if isinstance(tokens, int) else None, model)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return body_failure(status, headers, body)
