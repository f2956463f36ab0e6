"""OpenAI's API: POST /v1/chat/completions and /v1/completions, streaming or whole.

`model` is a provider's name, or sql/<database>[@<provider>] for text to SQL; see v1_models.py.

OpenAI's fields and vLLM's are members of the body; known ones are checked, unknown ones pass on to wires like OpenAI's.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from flask import Blueprint, Response, g, request
from msgspec import Meta

from gateway import context
from gateway.answers import chat, history
from gateway.answers.followable import Followable
from gateway.answers.question import MAX_QUESTION_CHARACTERS, Question
from gateway.decoding import BadQuestion, decode, in_words, plain
from gateway.formats import openai
from gateway.routes import answers, passed_on, replies, v1_models
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
    database: str | None = None
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
    data = passed_on.flattened(body())
    fields = decode(_decoder, data)
    _judge(fields)
    target = v1_models.target(fields.model, fields.database)
    with_usage = bool(fields.stream_options and fields.stream_options.include_usage)
    if target.database is not None:
        name = fields.model or ""
        answer = _sql(fields, target)
        if fields.stream:
            return replies.stream(answer, openai.Chunks(with_usage, model=name, tables=True))
        return replies.whole(answer, partial(openai.completion, model=name, tables=True))
    chat_request = _request(fields)
    chat_request.extra = passed_on.members(data, frozenset(Fields.__struct_fields__))
    flow = chat.answer(chat_request, context.current().providers, target.provider)
    answer = replies.begin(flow, [target.provider, chat_request], target.provider, window_s=_window_s())
    if fields.stream:
        return replies.stream(answer, openai.Chunks(with_usage))
    return replies.whole(answer, openai.completion)


def _window_s() -> float | None:
    """A client of this API that leaves cannot come back, unless it sent an Idempotency-Key: nothing is made for it."""
    return None if request.headers.get("Idempotency-Key") else 0.0


def _sql(fields: Fields, asked: v1_models.Target) -> Followable:
    """Text to SQL for the last message; those before it are the history."""
    left_out = v1_models.beside_sql(fields.tools, fields.tool_choice, fields.response_format)
    text, turns = history.conversation(fields.messages)
    question = Question(
        _short(text, "messages"),
        asked.provider,
        asked.database or "",
        history=turns,
        sampling=_request(fields).sampling,
    )
    return answers.begin(question, window_s=_window_s(), left_out=left_out)


class Prompt(Sampling, kw_only=True):
    """The body of POST /v1/completions."""

    prompt: str | list[Any]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Meta(ge=1)] | None = None
    best_of: Annotated[int, Meta(ge=1)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    logprobs: int | None = None
    max_tokens: Tokens | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: Annotated[int, Meta(ge=-1, le=MAX_INT64)] | None = None
    stop: Stops = None  # type: ignore[assignment]


_prompt_decoder = msgspec.json.Decoder(Prompt)
# Members that are passed on where the provider has text completions, and are refused elsewhere.
TEXT_ONLY = ("echo", "suffix")


@routes.post("/v1/completions")
def text_completions() -> Response:
    """A provider with `text_completions` gets the prompt as it is; any other is asked it as a user's message."""
    data = passed_on.flattened(body())
    fields = decode(_prompt_decoder, data)
    target = v1_models.target(fields.model)
    settings = context.current().settings
    provider = target.provider or settings.default
    as_text = target.database is None and settings.providers[provider].text_completions
    prompt = _prompt(fields, as_text)
    sampling = _sampling(fields)
    about: dict[str, Any] = {}
    if target.database is not None:
        about = {"model": fields.model or "", "tables": True}
        question = Question(_short(prompt, "prompt"), target.provider, target.database, sampling=sampling)
        answer = answers.begin(question, window_s=_window_s())
    else:
        checked = frozenset(Prompt.__struct_fields__) - frozenset(TEXT_ONLY if as_text else ())
        request = ChatRequest([{"role": "user", "content": prompt}], sampling, cache_salt=g.owner)
        request.prompt = prompt if as_text else None
        request.extra = passed_on.members(data, checked)
        # No fallback could answer what only a text completion has.
        bound = not isinstance(prompt, str) or any(name in request.extra for name in TEXT_ONLY)
        name = provider if bound else target.provider
        flow = chat.answer(request, context.current().providers, name)
        answer = replies.begin(flow, [name, request], name, window_s=_window_s())
    if not fields.stream:
        return replies.whole(answer, partial(openai.text_completion, **about))
    with_usage = bool(fields.stream_options and fields.stream_options.include_usage)
    return replies.stream(answer, openai.TextChunks(with_usage, **about))


def _prompt(fields: Prompt, as_text: bool) -> str | list[int]:
    """The one prompt, a text or its tokens. Raises BadQuestion, also for what a provider without text completions
    cannot do.
    """
    for name in ("n", "best_of"):
        if (getattr(fields, name) or 1) > 1:
            raise BadQuestion(f"{name}: must be 1, got {getattr(fields, name)}; several choices are not supported")
    if fields.logprobs is not None:
        raise BadQuestion("logprobs: is not supported here; ask for them by POST /v1/chat/completions")
    if fields.stream_options is not None and not fields.stream:
        raise BadQuestion("stream_options: needs stream: true")
    needs = "needs a provider with text_completions: true"
    for name in TEXT_ONLY:
        if getattr(fields, name) and not as_text:
            raise BadQuestion(f"{name}: {needs}; leave it out")
    if fields.max_tokens == 0 and not as_text:
        raise BadQuestion("max_tokens: must be an integer >= 1, or -1 for the default, got 0")
    prompt = fields.prompt
    # Tokens are one prompt, in a list of their own or in a list of prompts.
    if isinstance(prompt, list) and not (prompt and _is_token(prompt[0])):
        if len(prompt) != 1:
            raise BadQuestion(f"prompt: must be one text, got {len(prompt)}; send a request for each")
        prompt = prompt[0]
    if isinstance(prompt, str):
        plain("prompt", prompt)
        return prompt
    if not isinstance(prompt, list) or not prompt or not all(map(_is_token, prompt)):
        raise BadQuestion("prompt: must be a text, or an array of tokens, which are integers >= 0")
    if not as_text:
        raise BadQuestion(f"prompt: an array of tokens {needs}; send the text")
    return prompt


def _is_token(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INT32


def _short(text: Any, field: str) -> str:
    """A question for a database; raises BadQuestion for one that is too long."""
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise BadQuestion(f"{field}: the question must have at most {MAX_QUESTION_CHARACTERS} characters")
    return str(text)


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
        if isinstance(said.content, str) and "\x00" in said.content and said.role == "assistant":
            # A model's own words: a client that sends them back is not at fault.
            message["content"] = said.content.replace("\x00", "")
        elif isinstance(said.content, str) and "\x00" in said.content:
            raise BadQuestion(f"messages[{n}].content: must not contain U+0000")


def _sampling(fields: Fields | Prompt) -> Sampling:
    """The sampling in `fields`, without what clients send for "not set"."""
    sampling = Sampling.of(fields)
    sampling.top_p = fields.top_p or None
    sampling.max_tokens = _set(fields.max_tokens)
    sampling.seed = _set(fields.seed)
    return sampling


def _request(fields: Fields) -> ChatRequest:
    sampling = _sampling(fields)
    sampling.max_tokens = _set(fields.max_completion_tokens) or sampling.max_tokens
    limit_name = "max_completion_tokens" if _set(fields.max_completion_tokens) else "max_tokens"
    return ChatRequest(
        fields.messages,
        sampling,
        tools=fields.tools or None,
        tool_choice=fields.tool_choice,
        parallel_tool_calls=fields.parallel_tool_calls,
        response_format=fields.response_format,
        logprobs=bool(fields.logprobs),
        top_logprobs=fields.top_logprobs,
        max_tokens_name=limit_name,
        cache_salt=g.owner,
    )


def _set(value: int | None) -> int | None:
    """`value`, None where -1 means "not set"."""
    return None if value == -1 else value
