"""DashScope's native text generation.

chunk    {"output": {"choices": [{"message": {"content": "你好"}, "finish_reason": "null"}]}, "usage": {…}}
         result_format "text": {"output": {"text": "你好", "finish_reason": "null"}, …}
         "null" is a string and means: not yet
failure  event:error, a comment :HTTP_STATUS/429, {"code": "Throttling", "message": "…", "request_id": "…"}
         the HTTP status may be 200 all the same, and the body may be JSON instead of a frame
source   Alibaba Cloud Model Studio, DashScope API reference; recorded streams in tests/cases/dashscope/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from providers.chat import ChatRequest, Message
from providers.delta import Delta, Usage
from providers.embeddings import Embeddings, EmbeddingsRequest, in_batches, vector
from providers.errors import (
    BadKey,
    BrokenProtocol,
    ContextTooLong,
    Moderated,
    NoSuchModel,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Rejected,
    UpstreamFailed,
)
from providers.stream.sse import Frame
from providers.wires.adapter import HostedAdapter, failed_status, retry_after
from providers.wires.content import by_index, count, read_content, read_tool_calls, text_of
from providers.wires.finish_reasons import finish_reason
from providers.wires.fitting import dropped, lacking, refuse_missed
from providers.wires.meanings import SUCCESS, by_words

TEXT_PATH = "/services/aigc/text-generation/generation"
EMBEDDINGS_PATH = "/services/embeddings/text-embedding/text-embedding"
# Texts of one request: text-embedding-v3 and -v4 take 10, the older ones 25.
EMBEDDINGS_TEXTS = 10
MULTIMODAL_PATH = "/services/aigc/multimodal-generation/generation"
# Models that see: their messages are lists of parts, both ways.
# Source: Model Studio's list of models that take images, and its "url error" for qwen3.6-plus at the text endpoint.
_SEES = re.compile(r"-vl\b|-omni\b|^qvq|^qwen3\.[5-9]-(plus|flash)", re.IGNORECASE)
# Parameters of the service that a caller may pass on and we have no other name for.
PASSED_ON = frozenset(
    {"enable_thinking", "thinking_budget", "enable_search", "search_options", "logit_bias", "translation_options"}
)
LACKING = lacking(
    "temperature", "top_p", "top_k", "max_tokens", "seed", "stop", "repetition_penalty", "presence_penalty"
)
HIGHEST_TEMPERATURE = 1.99  # the range is [0, 2)

# What a code means; the longest beginning counts. What is not here is judged by its status.
FAILURES: dict[str, type[ProviderError]] = {
    "InvalidApiKey": BadKey,
    "AccessDenied": BadKey,
    "Arrearage": QuotaExceeded,
    "insufficient_quota": QuotaExceeded,
    "AllocationQuota": QuotaExceeded,
    "InvalidParameter": Rejected,
    "InternalError.Algo.InvalidParameter": Rejected,
    "DataInspectionFailed": Moderated,
    "InternalError.Algo.DataInspectionFailed": Moderated,
    "ModelNotFound": NoSuchModel,
    "Model.NotExist": NoSuchModel,
    "Model.AccessDenied": NoSuchModel,
    "Throttling": RateLimited,
    "InternalError": UpstreamFailed,
    "SystemError": UpstreamFailed,
    "ServiceUnavailable": UpstreamFailed,
    "ModelUnavailable": UpstreamFailed,
    "ModelServingError": UpstreamFailed,
}
TRY_AGAIN = ("Throttling", "ServiceUnavailable", "ModelUnavailable", "ModelServingError")
GAVE_UP = ("RequestTimeOut", "InternalError.Timeout", "GatewayTimeout")
NOT_YET = ("null", "", None)


class _Message(msgspec.Struct, gc=False):
    content: str = ""
    reasoning_content: str | None = ""
    tool_calls: msgspec.Raw | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Message
    finish_reason: str | None = None
    index: int = 0


class _Output(msgspec.Struct, gc=False):
    choices: tuple[_Choice, ...] = ()
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    output: _Output
    usage: msgspec.Raw = msgspec.Raw()
    code: str | None = None


_chunk = msgspec.json.Decoder(_Chunk)


class Adapter(HostedAdapter):
    """Asks a model by its name; `extra` goes into `parameters`."""

    @property
    def sees(self) -> bool:
        """Whether the model takes images, and so is asked at the multimodal endpoint."""
        wanted = self.configuration.multimodal
        return bool(_SEES.search(self.configuration.model)) if wanted is None else wanted

    def url(self, base_url: str) -> str:
        return self.fitting.url(base_url, MULTIMODAL_PATH if self.sees else TEXT_PATH)

    def headers(self, base_url: str) -> dict[str, str]:
        return {**super().headers(base_url), "X-DashScope-SSE": "enable"}

    def body(self, request: ChatRequest) -> dict[str, Any]:
        payload = self.payload(request)
        passed_on = {name: value for name, value in request.extra.items() if name in PASSED_ON}
        payload["parameters"] = self.fitting.body(passed_on | payload["parameters"], request, passes_unknown=False)
        return payload

    def payload(self, request: ChatRequest) -> dict[str, Any]:
        roles = self.configuration.roles
        turned = [_message(message, self.sees) for message in request.messages]
        turned = [{**message, "role": roles.get(message.get("role", ""), message.get("role"))} for message in turned]
        return {
            "model": self.configuration.model,
            "input": {"messages": turned},
            "parameters": parameters(request) | {"incremental_output": self.incremental},
        }

    def check(self, request: ChatRequest) -> None:
        refuse_missed(request, "DashScope", PASSED_ON)
        for message in request.messages:
            _message(message, self.sees)

    def parameter_changes(self, request: ChatRequest) -> list[str]:
        changes = []
        temperature = request.sampling.temperature
        if temperature is not None and temperature > HIGHEST_TEMPERATURE:
            changes.append(f"temperature lowered to {HIGHEST_TEMPERATURE}: DashScope's range ends before 2")
        unknown = [name for name in request.extra if name not in PASSED_ON]
        changes += [f"{name} dropped: DashScope has no such parameter" for name in unknown]
        changes += self.fitting.changes(parameters(request))
        return changes + dropped(request, "DashScope", *LACKING)

    def embed(self, request: EmbeddingsRequest) -> Embeddings:
        return in_batches(request, EMBEDDINGS_TEXTS, self._embed)

    def _embed(self, request: EmbeddingsRequest) -> Embeddings:
        """{"model", "input": {"texts"}} → {"output": {"embeddings": [{"text_index", "embedding"}]}, "usage"}."""
        base_url = self.configuration.base_url[0]
        model = self.configuration.embedding_model or self.configuration.model
        body: dict[str, Any] = {"model": model, "input": {"texts": request.texts}}
        if request.dimensions is not None:
            body["parameters"] = {"dimension": request.dimensions}
        reply = self.ask_json(f"{base_url}{EMBEDDINGS_PATH}", base_url, body)
        if reply.get("code"):
            raise failed(reply, 200)
        try:
            entries = sorted(reply["output"]["embeddings"], key=lambda entry: int(entry["text_index"]))
            vectors = [vector(entry["embedding"]) for entry in entries]
        except (KeyError, TypeError, ValueError):
            raise BrokenProtocol("DashScope answered without embeddings in its output") from None
        if len(vectors) != len(request.texts):
            raise BrokenProtocol(f"DashScope gave {len(vectors)} embeddings for {len(request.texts)} texts")
        usage = reply.get("usage")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
        return Embeddings(vectors, tokens if isinstance(tokens, int) else None, model)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """A status that is not 2xx; its body is JSON, or one frame of an event stream."""
        for data in (body, *(line.removeprefix(b"data:") for line in body.splitlines() if line.startswith(b"data:"))):
            try:
                error_body = msgspec.json.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            if isinstance(error_body, dict) and (error_body.get("code") or error_body.get("message")):
                return failed(error_body, status, headers)
        return failed_status(status, headers, "")

    def parser(self) -> Parser:
        return Parser()


def parameters(request: ChatRequest) -> dict[str, Any]:
    """`parameters` of the body; what the request leaves open is left out."""
    sampling = request.sampling
    temperature = sampling.temperature
    wanted = {
        "result_format": "message",
        "temperature": None if temperature is None else min(temperature, HIGHEST_TEMPERATURE),
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "stop": list(sampling.stop) or None,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "tools": request.tools,
        "tool_choice": request.tool_choice if request.tools else None,
        "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
        "response_format": request.response_format,
        "logprobs": request.logprobs or None,
        "top_logprobs": request.top_logprobs if request.logprobs else None,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _message(message: Message, sees: bool) -> Message:
    """One of OpenAI's messages in DashScope's shape: a list of parts where the model sees, else a string."""
    content = message.get("content")
    if not sees:
        return {**message, "content": text_of(content, "this DashScope model")}
    if isinstance(content, dict):
        content = [content]
    if isinstance(content, list):
        return {**message, "content": [_part(part) for part in content]}
    return {**message, "content": [{"text": content or ""}]}


def _part(part: dict[str, Any]) -> dict[str, Any]:
    kind = part.get("type")
    if kind == "text":
        return {"text": part.get("text") or ""}
    for ours, theirs in (("image_url", "image"), ("video_url", "video"), ("input_audio", "audio")):
        if kind == ours:
            place = part.get(ours)
            return {theirs: (place.get("url") or place.get("data")) if isinstance(place, dict) else place}
    raise Rejected(f"messages.content: DashScope takes text, image_url, video_url and input_audio; got {kind!r}")


class Parser:
    """Reads one reply's chunks. Usage is a running total in every chunk, so the last one is kept undecoded."""

    done_marker = True
    ends_at_finish = True
    has_template = False  # it keeps the usage of each chunk

    def __init__(self) -> None:
        self.deltas_before = 0
        self._usage = msgspec.Raw()

    def end(self) -> list[Delta]:
        return []

    def parse_fast(self, frame: Frame) -> Delta | None:
        """Text or reasoning of a chunk that neither ends nor fails nor calls a tool."""
        try:
            chunk = _chunk.decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        output = chunk.output
        if chunk.code:
            return None
        if len(output.choices) == 1:
            choice = output.choices[0]
            message = choice.message
            if choice.finish_reason not in NOT_YET or message.tool_calls is not None or choice.index:
                return None
            text, reasoning = message.content, message.reasoning_content or ""
        elif output.text is not None and output.finish_reason in NOT_YET:
            text, reasoning = output.text, ""
        else:
            return None
        if len(chunk.usage) > 2:
            self._usage = chunk.usage
        return Delta(text, reasoning)

    def parse(self, chunk: dict[str, Any], frame: Frame) -> Iterator[Delta]:
        """Raises a ProviderError where the chunk reports a failure."""
        output = chunk.get("output")
        code = chunk.get("code")
        went_well = (code.lower() if isinstance(code, str) else code) in SUCCESS
        if isinstance(chunk.get("error"), dict) and not output:
            raise failed(chunk["error"], _commented_status(frame))
        if not went_well or frame.event == "error" or (output is None and chunk.get("message") and not code):
            raise failed(chunk, _commented_status(frame))
        if not isinstance(output, dict):
            return
        usage = _usage(chunk.get("usage")) or (_usage(msgspec.json.decode(self._usage)) if self._usage else None)
        for choice in _choices(output):
            message = choice.get("message") or choice.get("delta")
            message = message if isinstance(message, dict) else {"content": message}
            reason, raw = finish_reason(choice.get("finish_reason"))
            text, thought = read_content(message.get("content"))
            thought += "".join(read_content(message.get("reasoning_content")))
            yield Delta(
                text,
                thought,
                read_tool_calls(message),
                None if reason == "failed" else reason,
                usage,
                finish_reason_raw=raw,
            )
            if reason == "failed":
                raise UpstreamFailed(f"the upstream ended with {str(choice.get('finish_reason'))[:64]!r}")


def _choices(output: dict[str, Any]) -> list[dict[str, Any]]:
    """The choice of this reply, as a list; a second one is never asked for, and mixing it in would spoil the first."""
    choices = output.get("choices")
    if isinstance(choices, dict) and choices:
        choices = by_index(choices, ("message", "delta", "finish_reason"))
    if not isinstance(choices, list) or not choices:
        # Agents and deep research tell a message, or the text itself; their "KeepAlive" has neither.
        message = output.get("message") or {"content": output.get("text")}
        return [{"message": message, "finish_reason": output.get("finish_reason")}]
    return [choice for choice in choices if isinstance(choice, dict) and choice.get("index") in (0, None, "0")]


def _usage(usage: Any) -> Usage | None:
    """None where the chunk does not count: `{}` stands beside search results."""
    if not isinstance(usage, dict):
        return None
    # Agents tell one row for each model that they used.
    rows = usage.get("models") or [usage]
    if not isinstance(rows, list):
        return None
    counted = [(count(_member(row, "input_tokens")), count(_member(row, "output_tokens"))) for row in rows]
    prompts, completions = [row[0] for row in counted], [row[1] for row in counted]
    if None in prompts or None in completions:
        return None
    prompt, completion = sum(filter(None, prompts)), sum(filter(None, completions))
    total = count(usage.get("total_tokens"))
    cached = count(_member(usage.get("prompt_tokens_details"), "cached_tokens"))
    thought = count(_member(usage.get("output_tokens_details"), "reasoning_tokens"))
    return Usage(prompt, completion, prompt + completion if total is None else total, cached, thought)


def _member(details: Any, name: str) -> Any:
    return details.get(name) if isinstance(details, dict) else None


def _commented_status(frame: Frame) -> int:
    """The status of an error frame, which stands only in a comment; 500 without one."""
    for comment in frame.comments:
        name, _, status = comment.partition("/")
        if name.strip() == "HTTP_STATUS" and status.strip().isdigit():
            return int(status)
    return 500


def failed(error_body: dict[str, Any], status: int, headers: Mapping[str, str] | None = None) -> ProviderError:
    """What {"code", "message", "request_id"} means; `status` decides where the code is unknown."""
    code, message = str(error_body.get("code") or ""), str(error_body.get("message") or "")
    headers = headers or {}
    if code.isdigit() and 400 <= int(code) < 600:
        status = int(code)
    said = f"DashScope says: {message or code}" if message or code else "DashScope reported a failure without a word"
    error: ProviderError
    if code.startswith(GAVE_UP):
        error = failed_status(504, headers, said)
    else:
        longest = max((name for name in FAILURES if _begins(code, name)), key=len, default=None)
        if longest is None and (kind_said := by_words(message, (QuotaExceeded, Moderated, ContextTooLong))):
            error = kind_said(said, retry_after=retry_after(headers))
        elif longest is None:
            error = failed_status(status if status >= 400 else 500, headers, said)
        else:
            kind = FAILURES[longest]
            if kind in (Rejected, BadKey, RateLimited):
                kind = by_words(message, (QuotaExceeded, Moderated, ContextTooLong)) or kind
            error = kind(said, retry_after=retry_after(headers), upstream_said_retry=code.startswith(TRY_AGAIN))
    error.upstream_id = error_body.get("request_id") or None
    return error


def _begins(code: str, name: str) -> bool:
    return code == name or code.startswith(name + ".")
