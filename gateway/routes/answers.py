"""/getAnwser asks, by POST or, for a native EventSource, by GET. /answers/<id> reads, follows and stops an answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Blueprint, Response, g, request

from gateway import context
from gateway.access import choices
from gateway.answers import question
from gateway.answers.followable import Followable
from gateway.answers.question import Question
from gateway.answers.record import Record
from gateway.answers.steps import Start, Step
from gateway.errors import Failure, shown
from gateway.formats import native
from gateway.json_line import encode
from gateway.routes import replies, tickets
from gateway.routes.request_body import body
from gateway.text2sql import flow

routes = Blueprint("ask", __name__)

# Sampling of /getAnwser where neither the question nor the provider's `defaults` set it.
TEMPERATURE = 0.0
MAX_TOKENS = 1024

_EVENT_ID = re.compile(r"([A-Za-z0-9_-]{1,64})\.(0|[1-9][0-9]{0,8})")


@routes.post("/getAnwser")
@routes.post("/getAnswer")
def ask() -> Response:
    form = request.args.get("format")
    if unknown := [name for name in request.args if name != "format"]:
        message = f"{unknown[0]}: unknown query parameter; a POST takes its fields in the body"
        raise Failure("bad_request", message, param=unknown[0])
    media, data = native.chosen(request.accept_mimetypes, form), body()
    reply = _returning(media)
    return in_form(begin(_parsed(question.from_json, data)), media) if reply is None else reply


@routes.get("/getAnwser")
@routes.get("/getAnswer")
def ask_by_get() -> Response:
    not_head()
    media = native.chosen(request.accept_mimetypes, request.args.get("format"))
    if (reply := _returning(media)) is not None:
        return reply
    _utf8(request.query_string)
    values = {name: texts for name, texts in request.args.lists() if name not in ("format", "key", "ticket")}
    return in_form(begin(_parsed(question.from_query, values), key=request.args.get("key")), media)


def _returning(media: str) -> Response | None:
    """The reply to a client that was cut and sends its question again with Last-Event-ID, as EventSource does: it
    follows that answer, and nothing is asked again. None for a request without Last-Event-ID.
    """
    last = request.headers.get("Last-Event-ID")
    return None if last is None else follow(*event_id(last), media)


def _utf8(query: bytes) -> None:
    """Raises Failure for a field that is not UTF-8: werkzeug would replace the bytes silently."""
    for field in query.split(b"&"):
        name, _, value = field.partition(b"=")
        try:
            unquote_to_bytes(value).decode()
        except UnicodeDecodeError:
            path = unquote_to_bytes(name).decode("ascii", "replace")[:100]
            raise Failure("bad_request", f"{path}: must be UTF-8, and is not", param=path) from None


def _parsed(parse: Callable[[Any], Question], data: Any) -> Question:
    """The question that `parse` reads from `data`, with its names checked and its defaults filled in."""
    parsed = parse(data)
    parsed.provider = replies.provider(parsed.provider, "provider")
    sluice = context.current()
    parsed.database = choices.database(g.rights, tickets.check_database(parsed.database), sluice.settings.databases)
    if parsed.constrain and sluice.databases.get(parsed.database) is None:
        raise Failure("bad_request", "constrain: needs a database, whose schema limits the statements, got none")
    return parsed


def begin(
    asked: Question,
    *,
    key: str | None = None,
    alias: str = "",
    attached: dict[str, str] | None = None,
    window_s: float | None = None,
    left_out: Sequence[str] = (),
) -> Followable:
    """The answer to a checked question, asked with the defaults of /getAnwser where it leaves sampling open.

    left_out   what of the request text to SQL cannot use, a sentence each, for `start.adjusted`
    """
    sluice = context.current()
    defaults = sluice.settings.providers[asked.provider or sluice.settings.default].default_sampling
    if asked.sampling.temperature is None and defaults.temperature is None:
        asked.sampling.temperature = TEMPERATURE
    if asked.sampling.max_tokens is None and defaults.max_tokens is None:
        asked.sampling.max_tokens = MAX_TOKENS
    asked.cache_salt = g.owner
    database = sluice.databases.get(asked.database)
    record = Record(asked.question, database.name) if database else Record()
    steps = flow.answer(asked, sluice.providers, sluice.databases, record)
    return replies.begin(
        _noted(steps, left_out) if left_out else steps,
        asked,
        asked.provider,
        key=key,
        record=record,
        alias=alias,
        attached=attached,
        window_s=window_s,
    )


def _noted(batches: Iterable[list[Step]], left_out: Sequence[str]) -> Iterator[list[Step]]:
    """The flow's steps, with `left_out` in its `start`."""
    for batch in batches:
        for step in batch:
            if isinstance(step, Start):
                step.adjusted = [*left_out, *step.adjusted]
        yield batch


def in_form(answer: Followable, media: str) -> Response:
    """The answer from its beginning, as `media`."""
    if media == native.WHOLE:
        return replies.whole(answer)
    if media == native.CSV:
        return replies.rows_alone(answer)
    return replies.stream(answer, native.STREAMED[media]())


def not_head() -> None:
    if request.method == "HEAD":
        raise Failure(
            "bad_request",
            "method: must be GET or POST, got HEAD: it would ask and could not show the answer",
            status=405,
        )


def event_id(value: str) -> tuple[str, int]:
    """The answer's id and the event's number in a Last-Event-ID; raises Failure (400)."""
    parts = _EVENT_ID.fullmatch(value.strip())
    if not parts:
        raise Failure("bad_request", f"Last-Event-ID: must be <answer id>.<n>, as events have it, got {shown(value)}")
    return parts[1], int(parts[2])


def follow(answer_id: str, after: int, media: str) -> Response:
    """The events after the `after`-th of an existing answer; 204 if it has ended and there are none."""
    answers = context.current().answers
    answer = tickets.check_answer(answers.find(answer_id, g.owner))
    answer.reach(after)
    if after and answer.ended and after == answer.shown:
        # 204 ends an EventSource. fetch-event-source, which sends its POST again, takes 204 for an error and would come
        # back for ever; an empty stream ends it.
        streamed = request.method == "POST" and media == native.NAMES["sse"]
        reply = Response(b"", content_type=native.Sse.content_type) if streamed else Response(status=204)
        return replies.described(reply, answer)
    answers.admit_reader()
    if media == native.WHOLE:
        return replies.whole(answer)
    if media == native.CSV:
        return replies.rows_alone(answer)
    return replies.stream(answer, native.STREAMED[media](), after, fails_early=False)


@routes.get("/answers/<answer_id>/events")
def events(answer_id: str) -> Response:
    media = native.chosen(request.accept_mimetypes, request.args.get("format"))
    after = 0
    if (last := request.headers.get("Last-Event-ID")) is not None:
        named, after = event_id(last)
        if named != answer_id:
            raise Failure(
                "bad_request", f"Last-Event-ID: must be an event of this answer, {answer_id}, got one of {named}"
            )
    return follow(answer_id, after, media)


@routes.get("/answers/<answer_id>")
def state(answer_id: str) -> Response:
    answer = tickets.check_answer(context.current().answers.find(answer_id, g.owner))
    body = native.whole(replies.so_far(answer)) | {"id": answer.id, "state": answer.state, "events": answer.shown}
    reply = Response(encode(body), content_type="application/json")
    reply.headers["Cache-Control"] = "no-cache"
    return replies.described(reply, answer)


@routes.delete("/answers/<answer_id>")
def stop(answer_id: str) -> Response:
    answer = tickets.check_answer(context.current().answers.find(answer_id, g.owner))
    answer.cancel()
    return replies.described(Response(status=204), answer)
