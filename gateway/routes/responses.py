"""OpenAI's Responses API over our own log: POST /v1/responses, GET /v1/responses/<id>, POST …/cancel.

What OpenAI offers for its own models holds here for every provider: a response may run in the background, is streamed
from any event on (`starting_after`), and is cancelled at the upstream, by any worker where answers are shared. It is
kept as long as any answer (server.log_age_s), and `previous_response_id` continues it for as long.
"""

from __future__ import annotations

import math
import time
from typing import Annotated, Any, Literal

import gevent
import msgspec
from flask import Blueprint, Response, g, request
from msgspec import Meta

from gateway import context
from gateway.answers import chat, history
from gateway.answers.followable import Followable
from gateway.answers.question import MAX_QUESTION_CHARACTERS, Question
from gateway.decoding import BadQuestion, decode, plain
from gateway.errors import Failure, shown
from gateway.formats.responses import ResponseBuilder, ResponseEvents
from gateway.json_line import encode
from gateway.routes import answers, replies, response_input, v1_models
from gateway.routes.request_body import body
from providers.chat import ChatRequest
from providers.sampling import Sampling

routes = Blueprint("responses", __name__)

# Bytes of a conversation that is kept for previous_response_id; images may make one larger.
MAX_KEPT_BYTES = 1 << 20
# Seconds that a cancelled response waits for the shared log to have its end.
SHARED_S = 2.0


class Fields(msgspec.Struct):
    input: str | list[Any]
    model: str | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    user: str | None = None
    # What only OpenAI's own service keeps or computes.
    conversation: Any = None
    prompt: Any = None
    top_logprobs: int | None = None


_decoder = msgspec.json.Decoder(Fields)


@routes.post("/v1/responses")
def create() -> Response:
    fields = decode(_decoder, body())
    if fields.background and fields.store is False:
        raise BadQuestion("background: needs store: true, got false; nothing could read the response")
    for name in ("conversation", "prompt", "top_logprobs"):
        if getattr(fields, name):
            raise BadQuestion(f"{name}: is not supported; leave it out")
    plain("instructions", fields.instructions or "")
    target = v1_models.target(fields.model)
    messages = [*_before(fields.previous_response_id), *response_input.messages(fields.input)]
    if not messages:
        raise BadQuestion("input: must not be empty")
    window_s = math.inf if fields.background else 0.0 if fields.store is False else None
    attached = {"response": msgspec.json.encode(_about(fields)).decode()}
    kept = msgspec.json.encode(messages)
    if len(kept) <= MAX_KEPT_BYTES:
        attached["messages"] = kept.decode()
    if fields.instructions:
        # Not part of the conversation: a response that continues this one brings its own.
        messages.insert(0, {"role": "system", "content": fields.instructions})
    answer = _sql(fields, target, messages, attached, window_s)
    if answer is None:
        chat_request = _request(fields, messages)
        flow = chat.answer(chat_request, context.current().providers, target.provider)
        question = [target.provider, chat_request, fields.background]
        answer = replies.begin(flow, question, target.provider, attached=attached, window_s=window_s)
    if fields.stream:
        return replies.stream(answer, ResponseEvents(_builder(answer)))
    if fields.background:
        return _now(answer)
    return replies.whole(answer, lambda events: _built(answer, events))


def _request(fields: Fields, messages: list[dict[str, Any]]) -> ChatRequest:
    sampling = Sampling(temperature=fields.temperature, top_p=fields.top_p or None, max_tokens=fields.max_output_tokens)
    return ChatRequest(
        messages,
        sampling,
        tools=response_input.tools(fields.tools),
        tool_choice=response_input.tool_choice(fields.tool_choice),
        parallel_tool_calls=fields.parallel_tool_calls,
        response_format=response_input.response_format(fields.text),
        extra={"reasoning_effort": effort} if (effort := (fields.reasoning or {}).get("effort")) else {},
        cache_salt=g.owner,
    )


def _sql(
    fields: Fields,
    target: v1_models.Target,
    messages: list[dict[str, Any]],
    attached: dict[str, str],
    window_s: float | None,
) -> Followable | None:
    """Text to SQL for the last message; None for a plain chat."""
    if target.database is None:
        return None
    left_out = v1_models.beside_sql(fields.tools, fields.tool_choice, (fields.text or {}).get("format"))
    text, turns = history.conversation(messages)
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise BadQuestion(f"input: the question must have at most {MAX_QUESTION_CHARACTERS} characters")
    sampling = Sampling(temperature=fields.temperature, top_p=fields.top_p or None, max_tokens=fields.max_output_tokens)
    question = Question(text, target.provider, target.database, history=turns, sampling=sampling)
    return answers.begin(question, attached=attached | {"tables": "1"}, window_s=window_s, left_out=left_out)


def _about(fields: Fields) -> dict[str, Any]:
    """The response's members that the request decides."""
    return {
        "created_at": int(time.time()),
        "model": fields.model or context.current().settings.default,
        "background": bool(fields.background),
        "store": fields.store is not False,
        "instructions": fields.instructions,
        "previous_response_id": fields.previous_response_id,
        "max_output_tokens": fields.max_output_tokens,
        "metadata": fields.metadata or {},
        "parallel_tool_calls": fields.parallel_tool_calls is not False,
        "reasoning": {"effort": None, "summary": None} | (fields.reasoning or {}),
        "temperature": fields.temperature,
        "text": fields.text or {"format": {"type": "text"}},
        "tool_choice": fields.tool_choice or "auto",
        "tools": fields.tools or [],
        "top_p": fields.top_p,
        "truncation": fields.truncation or "disabled",
        "user": fields.user,
    }


def _before(response_id: str | None) -> list[dict[str, Any]]:
    """The conversation that the previous response ended, its answer included. Raises Failure (400, 404)."""
    if response_id is None:
        return []
    answer = _found(response_id, "previous_response_id")
    if not answer.ended:
        raise BadQuestion("previous_response_id: must be a response that has ended; this one is in progress")
    if "messages" not in answer.attached:
        raise BadQuestion(f"previous_response_id: its conversation is larger than {MAX_KEPT_BYTES >> 20} MiB; send it")
    messages: list[dict[str, Any]] = msgspec.json.decode(answer.attached["messages"])
    return [*messages, *response_input.spoken(_built(answer, replies.so_far(answer))["output"])]


def _found(response_id: str, field: str = "response") -> Followable:
    """The caller's response with this id, still kept; raises Failure (404)."""
    try:
        answer = context.current().answers.find(response_id.removeprefix("resp_"), g.owner)
    except Failure as failure:
        if failure.code != "not_found":
            raise
        answer = None
    if answer is None or not msgspec.json.decode(answer.attached.get("response", "{}")).get("store"):
        raise Failure(
            "not_found",
            f"{field}: unknown id {shown(response_id)}; it is wrong, expired, or another key's",
            param=field,
        )
    return answer


def _builder(answer: Followable) -> ResponseBuilder:
    about = msgspec.json.decode(answer.attached.get("response", "{}"))
    return ResponseBuilder(answer.id, about, tables="tables" in answer.attached)


def _built(answer: Followable, events: list[Any]) -> dict[str, Any]:
    builder = _builder(answer)
    for event in events:
        builder.feed(event)
    return builder.response


def _now(answer: Followable) -> Response:
    """The response as far as it is."""
    reply = Response(encode(_built(answer, replies.so_far(answer))), content_type="application/json")
    reply.headers["Cache-Control"] = "no-cache"
    return replies.described(reply, answer)


@routes.get("/v1/responses/<response_id>")
def retrieve(response_id: str) -> Response:
    answers.not_head()
    answer = _found(response_id)
    stream, after = request.args.get("stream", "false"), request.args.get("starting_after")
    if stream.lower() not in ("true", "1"):
        return _now(answer)
    if after is not None and not (after.isascii() and after.isdecimal() and len(after) < 10):
        raise BadQuestion("starting_after: must be a sequence number, an integer >= 0")
    context.current().answers.admit_reader()
    form = ResponseEvents(_builder(answer), -1 if after is None else int(after))
    return replies.stream(answer, form, fails_early=False)


@routes.post("/v1/responses/<response_id>/cancel")
def cancel(response_id: str) -> Response:
    answer = _found(response_id)
    answer.cancel()
    # With a shared log its end is shown once it is shared.
    deadline = time.monotonic() + SHARED_S
    while not answer.ended and time.monotonic() < deadline:
        gevent.sleep(0.01)
    return _now(answer)
