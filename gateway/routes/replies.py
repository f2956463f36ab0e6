"""From a checked question to a reply that streams: what all asking routes have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from flask import Response, g, request

from gateway import errors
from gateway.access.rate_limit import caller
from gateway.answers.answers import Asked
from gateway.answers.client import Client
from gateway.answers.events import Event
from gateway.answers.followable import Followed
from gateway.answers.reader import Reader, Writing
from gateway.answers.record import Record
from gateway.answers.steps import Step
from gateway.context import here
from gateway.errors import Failure
from gateway.formats import native
from gateway.text2sql.rows import csv_text

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
MAX_KEY_CHARACTERS = 256


def begin(
    flow: Iterator[list[Step]],
    question: Any,
    provider: str | None,
    key: str | None = None,
    record: Record | None = None,
) -> Followed:
    """The answer to what this request asks: a new one, or the one that was asked before with its idempotency key.

    flow      not iterated yet
    question  what is asked, as msgspec can write it: the same key has to come with the same one
    provider  the name that the request told, if any
    record    what `flow` fills with what it runs
    Raises Failure.
    """
    sluice = here()
    idempotency = None
    key = key if key is not None else request.headers.get("Idempotency-Key")
    if key is not None:
        if not 0 < len(key) <= MAX_KEY_CHARACTERS:
            raise Failure("bad_request", f"Idempotency-Key: it has 1 to {MAX_KEY_CHARACTERS} characters")
        told = msgspec.json.encode([request.blueprint, question], order="sorted")
        idempotency = key, hashlib.sha256(told).hexdigest()
    name = provider or sluice.settings.default
    record = record or Record()
    record.caller = g.caller
    asked = Asked(
        flow,
        owner=g.owner,
        provider=name,
        model=sluice.settings.providers[name].shown_model,
        request_id=g.request_id,
        route=request.path,
        received_at=g.received_at,
        idempotency=idempotency,
        record=record,
    )
    return sluice.answers.ask(asked, lambda: sluice.rate.count(caller(g.owner, request)))


def known_provider(name: str | None, field: str) -> None:
    """Raises Failure (400) unless `name` is None or a configured provider that can be asked."""
    if name is None:
        return
    sluice = here()
    if name not in sluice.settings.providers:
        known = ", ".join(sluice.settings.providers)
        raise Failure("bad_request", f"{field}: there is no provider {name[:100]!r}; there are {known}", param=field)
    provider = sluice.described(name)
    if not provider.available:
        raise Failure("bad_request", f"{field}: provider {name!r} is not available: {provider.reason}", param=field)


def stream(answer: Followed, form: Writing, after: int = 0, *, fails_early: bool = True) -> Response:
    """The answer as a streamed reply, from the event after `after` on.

    Its head is held back until the first delta, a failure or commit_after_s; with `fails_early` a failure before the
    first delta is a reply of its own.
    """
    sluice = here()
    reader = Reader(answer, form, _client(), after)
    try:
        if after == 0:
            reader.hold(sluice.settings.server.commit_after_s)
        if fails_early and answer.ended and answer.failure is not None and not answer.spoke:
            reader.close()
            return errors.response(answer.failure, answer.id)
    except BaseException:
        reader.close()
        raise
    server = sluice.settings.server
    pieces = reader.pieces(server.heartbeat_s, server.write_timeout_s)
    reply = Streamed(pieces, content_type=form.content_type, headers=HEADERS)
    reply.client = reader.client
    reply.call_on_close(reader.close)
    return described(reply, answer)


class Streamed(Response):
    """A reply whose client, where it is known, is written to past the server's response object."""

    client: Client | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        pieces, status, headers = self.get_wsgi_response(environ)
        write = start_response(status, headers)
        if self.client is not None:
            self.client.take_over(write)
        return pieces


def whole(answer: Followed, written: Callable[[list[Event]], Any] = native.whole) -> Response:
    """The answer as one JSON object, at its end: what `written` makes of its events, or the failure's own status."""
    if not _ended(answer):
        # The client has left; nobody reads this.
        return Response(status=499)
    found = so_far(answer)
    if answer.failure is not None:
        return errors.response(answer.failure, answer.id, answer=native.whole(found)["answer"])
    reply = Response(msgspec.json.encode(written(found)), content_type="application/json")
    reply.headers["Cache-Control"] = "no-cache"
    return described(reply, answer)


def rows_alone(answer: Followed) -> Response:
    """The answer's rows as CSV, at its end; without rows the status and the sentence that say why."""
    if not _ended(answer):
        return Response(status=499)
    if answer.failure is not None:
        return errors.response(answer.failure, answer.id)
    found = native.whole(so_far(answer))
    rows, told = found["rows"], found["sql"]
    if rows is None:
        if told is not None and not told["ok"]:
            return errors.response(Failure("sql_refused", told["reason"]), answer.id)
        why = "it has no statement" if told is None else "its statement was not run"
        return errors.response(Failure("not_found", f"the answer has no rows: {why}"), answer.id)
    reply = Response(csv_text(rows), content_type="text/csv; charset=utf-8; header=present")
    reply.headers["Cache-Control"] = "no-cache"
    reply.headers["X-Rows-Truncated"] = "true" if rows["truncated"] else "false"
    return described(reply, answer)


def _ended(answer: Followed) -> bool:
    """Wait for the answer's end; False when the client left before."""
    reader = Reader(answer, native.Sse(), _client())
    try:
        reader.until_ended()
    finally:
        reader.close()
    return answer.ended


def _client() -> Client | None:
    return Client.of(request.environ, here().settings.server.write_timeout_s)


def so_far(answer: Followed) -> list[Event]:
    """The answer's events that there are."""
    batch = answer.after(0)
    return batch.events if batch else []


def described(reply: Response, answer: Followed) -> Response:
    """`reply` with the headers that every reply about an answer has."""
    reply.headers["X-Answer-Id"] = answer.id
    if timing := answer.timing_so_far():
        reply.headers["Server-Timing"] = ", ".join(f"{name};dur={ms}" for name, ms in timing.items())
    return reply
