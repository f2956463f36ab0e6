"""OpenAI's API: POST /v1/chat/completions, streaming or whole, and GET /v1/models. `model` is a provider's name.

OpenAI's fields and vLLM's are members of the body; known ones are checked, unknown ones are ignored, as both do.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from flask import Blueprint, Response, g
from msgspec import Meta

from gateway import context
from gateway.answers import chat, question
from gateway.answers.question import BadQuestion
from gateway.errors import Failure, shown
from gateway.formats import openai
from gateway.routes import replies
from gateway.routes.answers import body
from providers.chat import ChatRequest
from providers.sampling import Sampling, StopAsSent

routes = Blueprint("openai", __name__)

Tokens = Annotated[int, Meta(ge=1, le=2**31 - 1)]
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
    max_completion_tokens: Tokens | None = None
    stop: StopAsSent = None  # type: ignore[assignment]
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None


_decoder = msgspec.json.Decoder(Fields)


@routes.post("/v1/chat/completions")
def completions() -> Response:
    fields = question.decode(_decoder, body())
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
            raise BadQuestion(f"messages[{n}].{question.in_words(str(error))}") from None
        if isinstance(said.content, str) and "\x00" in said.content:
            raise BadQuestion(f"messages[{n}].content: must not contain U+0000")


def _request(fields: Fields) -> ChatRequest:
    sampling = Sampling.of(fields)
    sampling.max_tokens = fields.max_completion_tokens or fields.max_tokens
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


@routes.get("/v1/models")
def models() -> Response:
    listed = [
        {"id": provider.name, "object": "model", "created": 0, "owned_by": provider.type, "root": provider.model}
        for provider in context.current().providers.described()
        if provider.available
    ]
    return Response(msgspec.json.encode({"object": "list", "data": listed}), content_type="application/json")
