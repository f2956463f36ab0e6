"""OpenAI's API: POST /v1/chat/completions, streaming or whole, and GET /v1/models. `model` is a provider's name.

OpenAI's fields and vLLM's are members of the body; known ones are checked, unknown ones are ignored, as both do.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from flask import Blueprint, Response, g
from msgspec import Meta

from gateway import context
from gateway.answers import chat
from gateway.decoding import BadQuestion, decode, in_words
from gateway.errors import Failure, shown
from gateway.formats import openai
from gateway.routes import replies
from gateway.routes.request_body import body
from providers.chat import ChatRequest
from providers.sampling import MAX_INT32, MAX_INT64, Sampling, StopString

routes = Blueprint("openai", __name__)

# Clients send -1, or 0 for top_p, where they mean "not set".
Tokens = Annotated[int, Meta(ge=-1, le=MAX_INT32)]
# More than any service takes: the one that is asked says its own limit.
Stops = Annotated[list[StopString], Meta(max_length=64)] | StopString | None
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class Said(msgspec.Struct):
    """The members of a message that are checked here; the rest goes to the provider as it is."""

    role: Role
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Fields(Sampling, kw_only=True):
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-1, le=MAX_INT64)] | None = None
    stop: Stops = None  # type: ignore[assignment]
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


_decoder = msgspec.json.Decoder(Fields)


@routes.post("/v1/chat/completions")
def completions() -> Response:
    fields = decode(_decoder, body())
    _judge(fields)
    sluice = context.current()
    name = fields.model
    if name is not None and name not in sluice.settings.providers:
        known = ", ".join(sluice.settings.providers)
        raise Failure("model_not_found", f"model: unknown model {shown(name)}; must be one of {known}", param="model")
    replies.known_provider(name, "model")
    asked = _request(fields)
    answer = replies.begin(chat.answer(asked, sluice.providers, name), [name, asked], name)
    if not fields.stream:
        return replies.whole(answer, openai.completion)
    with_usage = bool(fields.stream_options and fields.stream_options.include_usage)
    return replies.stream(answer, openai.Chunks(with_usage))


def _judge(fields: Fields) -> None:
    """Raises BadQuestion for what the fields' types cannot check."""
    if 0 in (fields.max_tokens, fields.max_completion_tokens):
        name = "max_tokens" if fields.max_tokens == 0 else "max_completion_tokens"
        raise BadQuestion(f"{name}: must be an integer >= 1, or -1 for the default, got 0")
    if fields.n is not None and fields.n > 1:
        raise BadQuestion(f"n: must be 1, got {fields.n}; several choices are not supported")
    if fields.stream_options is not None and not fields.stream:
        raise BadQuestion("stream_options: needs stream: true")
    if fields.top_logprobs is not None and not fields.logprobs:
        raise BadQuestion("top_logprobs: needs logprobs: true")
    for n, message in enumerate(fields.messages):
        try:
            said = msgspec.convert(message, Said)
        except msgspec.ValidationError as error:
            raise BadQuestion(f"messages[{n}].{in_words(str(error))}") from None
        if isinstance(said.content, str) and "\x00" in said.content:
            raise BadQuestion(f"messages[{n}].content: must not contain U+0000")


def _request(fields: Fields) -> ChatRequest:
    sampling = Sampling.of(fields)
    sampling.top_p = fields.top_p or None
    sampling.max_tokens = _set(fields.max_completion_tokens) or _set(fields.max_tokens)
    sampling.seed = _set(fields.seed)
    return ChatRequest(
        fields.messages,
        sampling,
        tools=fields.tools or None,
        tool_choice=fields.tool_choice,
        parallel_tool_calls=fields.parallel_tool_calls,
        response_format=fields.response_format,
        logprobs=bool(fields.logprobs),
        top_logprobs=fields.top_logprobs,
        cache_salt=g.owner,
    )


def _set(value: int | None) -> int | None:
    """`value`, None where -1 means "not set"."""
    return None if value == -1 else value


@routes.get("/v1/models")
def models() -> Response:
    listed = [
        {"id": provider.name, "object": "model", "created": 0, "owned_by": provider.type, "root": provider.model}
        for provider in context.current().providers.described()
        if provider.available
    ]
    return Response(msgspec.json.encode({"object": "list", "data": listed}), content_type="application/json")
