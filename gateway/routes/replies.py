"""From a checked question to a streaming reply: the part that all asking routes share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import msgspec
from flask import Response, g, request
from werkzeug.wsgi import ClosingIterator

from gateway import context, errors
from gateway.access import choices
from gateway.answers.client import Client
from gateway.answers.events import Event
from gateway.answers.followable import Followable
from gateway.answers.production import AnswerRequest
from gateway.answers.reader import Format, Reader
from gateway.answers.record import Record
from gateway.answers.steps import EventName, Step
from gateway.errors import Failure, shown
from gateway.formats import native, orphans
from gateway.json_line import encode
from gateway.routes import tickets
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
    alias: str = "",
    attached: dict[str, str] | None = None,
    window_s: float | None = None,
) -> Followable:
    """The answer to this request: a new one, or the existing one with its Idempotency-Key. Raises Failure.

    flow      not iterated yet
    question  what is asked, in a form that msgspec can encode: an equal key must come with an equal question
    provider  the name in the request, if any
    record    filled by `flow` with the statements that it runs
    alias, attached, window_s   see AnswerRequest
    """
    sluice, asked, kept = context.current(), context.asked(), context.kept()
    idempotency = None
    key = key if key is not None else asked.headers.get("Idempotency-Key")
    if key is not None:
        if not 0 < len(key) <= MAX_KEY_CHARACTERS:
            raise Failure(
                "bad_request", f"Idempotency-Key: must have 1 to {MAX_KEY_CHARACTERS} characters, got {len(key)}"
            )
        encoded = msgspec.json.encode([asked.blueprint, question], order="sorted")
        idempotency = key, hashlib.sha256(encoded).hexdigest()
    name = provider or sluice.settings.default
    record = record or Record()
    record.caller = kept.caller
    answer_request = AnswerRequest(
        flow,
        owner=kept.owner,
        streams_per_key=kept.rights.streams,
        provider=name,
        model=sluice.settings.providers[name].shown_model,
        request_id=kept.request_id,
        route=asked.path,
        received_at=kept.received_at,
        idempotency=idempotency,
        record=record,
        alias=alias,
        attached=tickets.mark() | (attached or {}),
        window_s=window_s,
    )
    return sluice.answers.ask(answer_request, count)


def provider(name: str | None, field: str) -> str | None:
    """The provider that the caller's question names, checked; None: the default, with its fallbacks.

    For a key that may not ask every provider it is always a name, which no fallback replaces. Raises Failure.
    """
    sluice = context.current()
    settings, rights = sluice.settings, g.rights
    chosen = choices.provider(rights, name, settings.providers, settings.default, field)
    if name is None and rights.providers is None:
        return None
    if missing := sluice.providers.missing(chosen):
        message = f"{field}: provider {shown(chosen)} is not available: {missing}"
        raise Failure("bad_request", message, param=field)
    return chosen


def count() -> None:
    """Count this question of the caller; raises Failure (429) where it is one too many."""
    sluice, asked, kept = context.current(), context.asked(), context.kept()
    if not sluice.rate.limits(kept.rights.requests):
        return
    asker = kept.owner or sluice.proxies.client(asked.remote_addr or "", asked.headers.get("X-Forwarded-For", ""))
    sluice.rate.count(asker, kept.rights.requests)


def stream(answer: Followable, form: Format, after: int = 0, *, fails_early: bool = True) -> Response:
    """The answer as a streamed reply, from the event after `after` on.

    Its head is held back until the first delta, a failure or commit_after_s; with `fails_early` a failure before the
    first delta is a reply of its own.
    """
    sluice = context.current()
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
    """A reply that is written straight to the client's socket, past gunicorn's response object, where possible."""

    client: Client | None = None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self.client is None:
            pieces, status, headers = self.get_wsgi_response(environ)
            start_response(status, headers)
            return pieces
        # What werkzeug would look for in the headers is not there: a location, a length, a status without a body.
        self.client.take_over(start_response(self.status, self.headers.to_wsgi_list()))
        return ClosingIterator(cast("Iterable[bytes]", self.response), self.close)


def whole(answer: Followable, written: Callable[[list[Event]], Any] = native.whole) -> Response:
    """The answer at its end as one JSON object, which `written` makes of its events; a failure has its own status."""
    if not _ended(answer):
        # The client has left and will not read this.
        return Response(status=499)
    events = so_far(answer)
    if answer.failure is not None:
        return errors.response(answer.failure, answer.id, answer=native.whole(events)["answer"])
    reply = Response(encode(written(events)), content_type="application/json")
    reply.headers["Cache-Control"] = "no-cache"
    return described(reply, answer)


def rows_alone(answer: Followable) -> Response:
    """The answer's rows at its end as CSV; a failure that says why where there are none."""
    if not _ended(answer):
        return Response(status=499)
    if answer.failure is not None:
        return errors.response(answer.failure, answer.id)
    whole_reply = native.whole(so_far(answer))
    rows, sql = whole_reply["rows"], whole_reply["sql"]
    if rows is None:
        if sql is not None and not sql["ok"]:
            return errors.response(Failure("sql_refused", sql["reason"]), answer.id)
        why = "it has no statement" if sql is None else "its statement was not run"
        return errors.response(Failure("not_found", f"rows: the answer has none, {why}"), answer.id)
    reply = Response(csv_text(rows), content_type="text/csv; charset=utf-8; header=present")
    reply.headers["Cache-Control"] = "no-cache"
    reply.headers["X-Rows-Truncated"] = "true" if rows["truncated"] else "false"
    return described(reply, answer)


def _ended(answer: Followable) -> bool:
    """Wait for the answer's end; False if the client leaves first."""
    reader = Reader(answer, native.Sse(), _client())
    try:
        reader.until_ended()
    finally:
        reader.close()
    return answer.ended


def _client() -> Client | None:
    return Client.of(request.environ, context.current().settings.server.write_timeout_s)


def so_far(answer: Followable) -> list[Event]:
    """The answer's events so far; what a closing tag alone ends is reasoning, where its provider looks for tags."""
    batch = answer.after(0)
    events = batch.events if batch else []
    start = next((event.data for event in events if event.name == EventName.START), {})
    provider = context.current().settings.providers.get(start.get("provider", ""))
    return orphans.apart(events) if provider is not None and provider.think_tags == "auto" else events


def _adjusted(answer: Followable) -> str:
    """What the provider could not do as asked: `start.adjusted` as one line."""
    batch = answer.after(0)
    if batch is None or b'"adjusted":' not in batch.sse:
        return ""
    start = batch.events[0].data
    line = "; ".join(start.get("adjusted", ())) if isinstance(start, dict) else ""
    return line.encode("ascii", "replace").decode()[:1000]


def described(reply: Response, answer: Followable) -> Response:
    """`reply` with X-Answer-Id, X-Sluice-Adjusted and Server-Timing, as far as they are known."""
    reply.headers["X-Answer-Id"] = answer.id
    if adjusted := _adjusted(answer):
        reply.headers["X-Sluice-Adjusted"] = adjusted
    if timing := answer.timing_so_far():
        reply.headers["Server-Timing"] = ", ".join(f"{name};dur={ms}" for name, ms in timing.items())
    return reply
