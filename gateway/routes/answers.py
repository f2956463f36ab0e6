"""/getAnwser: ask, by POST or, for a native EventSource, by GET; and the answers, to follow or to stop."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from flask import Blueprint, Response, g, request

from gateway.answers import question
from gateway.answers.followable import Followed
from gateway.answers.question import BadQuestion, Question
from gateway.answers.record import Record
from gateway.context import here
from gateway.errors import Failure
from gateway.formats import native
from gateway.routes import replies
from gateway.text2sql import flow

routes = Blueprint("ask", __name__)

# What /getAnwser asks with where neither the question nor the provider's `defaults` say.
TEMPERATURE = 0.0
MAX_TOKENS = 1024

MAX_BODY_BYTES = 1 << 20

_EVENT_ID = re.compile(r"([A-Za-z0-9_-]{1,64})\.(0|[1-9][0-9]{0,8})")


@routes.post("/getAnwser")
@routes.post("/getAnswer")
def ask() -> Response:
    form = request.args.get("format")
    if unknown := [name for name in request.args if name != "format"]:
        raise Failure("bad_request", f"{unknown[0]}: a POST takes its fields in the body", param=unknown[0])
    media, given = native.chosen(request.accept_mimetypes, form), body()
    reply = _returning(media)
    return _reply(_parsed(question.from_json, given), media) if reply is None else reply


@routes.get("/getAnwser")
@routes.get("/getAnswer")
def ask_by_get() -> Response:
    not_head()
    media = native.chosen(request.accept_mimetypes, request.args.get("format"))
    if (reply := _returning(media)) is not None:
        return reply
    _utf8(request.query_string)
    values = {name: given for name, given in request.args.lists() if name not in ("format", "key")}
    return _reply(_parsed(question.from_query, values), media, key=request.args.get("key"))


def _returning(media: str) -> Response | None:
    """For an EventSource, or a client like it, that was cut and sends its question again: it follows, and never asks
    again. None for whoever asks.
    """
    last = request.headers.get("Last-Event-ID")
    return None if last is None else follow(*event_id(last), media)


def _utf8(query: bytes) -> None:
    """Raises Failure for a field that is not UTF-8: werkzeug would hand it on with replacement characters."""
    for field in query.split(b"&"):
        name, _, value = field.partition(b"=")
        try:
            unquote_to_bytes(value).decode()
        except UnicodeDecodeError:
            shown = unquote_to_bytes(name).decode("ascii", "replace")[:100]
            raise Failure("bad_request", f"{shown}: it is not UTF-8", param=shown) from None


def _parsed(parse: Callable[[Any], Question], given: Any) -> Question:
    """What `parse` makes of `given`, its names checked and its defaults filled in."""
    try:
        asked = parse(given)
    except BadQuestion as error:
        raise Failure("bad_request", str(error), param=error.field) from None
    replies.known_provider(asked.provider, "provider")
    sluice = here()
    if asked.database and asked.database not in sluice.databases:
        known = ", ".join([*sluice.settings.databases, "none"])
        raise Failure("bad_request", f"database: there is no {asked.database[:100]!r}; there are {known}")
    if asked.constrain and sluice.databases.get(asked.database) is None:
        raise Failure("bad_request", "constrain: it needs a database, whose schema the statements are over")
    defaults = sluice.settings.providers[asked.provider or sluice.settings.default].defaults
    if asked.temperature is None and defaults.temperature is None:
        asked.temperature = TEMPERATURE
    if asked.max_tokens is None and defaults.max_tokens is None:
        asked.max_tokens = MAX_TOKENS
    asked.cache_salt = g.owner
    return asked


def _reply(asked: Question, media: str, key: str | None = None) -> Response:
    sluice = here()
    database = sluice.databases.get(asked.database)
    record = Record(asked.question, database.name) if database else Record()
    steps = flow.answer(asked, sluice.providers, sluice.databases, record)
    answer = replies.begin(steps, asked, asked.provider, key=key, record=record)
    return in_form(answer, media)


def in_form(answer: Followed, media: str) -> Response:
    """The answer from its beginning, in the form that the caller likes."""
    if media == native.WHOLE:
        return replies.whole(answer)
    if media == native.CSV:
        return replies.rows_alone(answer)
    return replies.stream(answer, native.STREAMED[media]())


def body() -> bytes:
    """The request's JSON body; raises Failure (415) where it says that it is something else."""
    data = request.get_data(cache=False)
    if len(data) > MAX_BODY_BYTES:
        raise Failure("too_large", "the body is larger than 1 MiB")
    if data and request.mimetype != "application/json":
        raise Failure("bad_request", "Content-Type: application/json is expected", status=415)
    return data


def not_head() -> None:
    if request.method == "HEAD":
        raise Failure("bad_request", "HEAD would ask, and nobody could read the answer", status=405)


def event_id(given: str) -> tuple[str, int]:
    """The answer and the event that a Last-Event-ID names; raises Failure (400)."""
    found = _EVENT_ID.fullmatch(given.strip())
    if not found:
        raise Failure("bad_request", "Last-Event-ID: expected <answer id>.<n>, as the events' ids are")
    return found[1], int(found[2])


def follow(answer_id: str, after: int, media: str) -> Response:
    """The events after the `after`-th of an answer that is there; 204 if it has ended and there are none."""
    answers = here().answers
    answer = answers.find(answer_id, g.owner)
    answer.reach(after)
    if after and answer.ended and after == answer.shown:
        return replies.described(Response(status=204), answer)
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
            raise Failure("bad_request", "Last-Event-ID: it is an event of another answer")
    return follow(answer_id, after, media)


@routes.get("/answers/<answer_id>")
def state(answer_id: str) -> Response:
    answer = here().answers.find(answer_id, g.owner)
    found = native.whole(replies.so_far(answer)) | {"id": answer.id, "state": answer.state, "events": answer.shown}
    reply = Response(msgspec.json.encode(found), content_type="application/json")
    reply.headers["Cache-Control"] = "no-cache"
    return replies.described(reply, answer)


@routes.delete("/answers/<answer_id>")
def stop(answer_id: str) -> Response:
    answer = here().answers.find(answer_id, g.owner)
    answer.cancel()
    return replies.described(Response(status=204), answer)
