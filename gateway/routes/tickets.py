"""POST /tickets gives a ticket; what a request with one may do is checked here. access/tickets.py has the format."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated

import msgspec
from flask import Blueprint, Response, g, request
from msgspec import Meta

from gateway import context
from gateway.access import choices
from gateway.access.origin import same_place
from gateway.access.tickets import EXPIRES_IN_S, Ticket
from gateway.answers.followable import Followable
from gateway.context import Sluice
from gateway.decoding import BadQuestion, decode
from gateway.errors import Failure
from gateway.routes.request_body import body

routes = Blueprint("tickets", __name__)

# What the page reads to offer what can be asked: open as long as the ticket may ask.
PAGE = {"page.state", "page.schema"}
# The endpoints that a ticket opens.
OPENS = {"ask.ask_by_get", "ask.events", "ask.state", "ask.stop"} | PAGE

_ORIGIN = re.compile(r"https?://[^/\s*?#]+")


class Fields(msgspec.Struct, forbid_unknown_fields=True):
    answer: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    database: str | None = None
    origin: str | None = None


_decoder = msgspec.json.Decoder(Fields)


@routes.post("/tickets")
def new() -> Response:
    data = body()
    fields = decode(_decoder, data) if data else Fields()
    sluice = context.current()
    if fields.answer is not None:
        sluice.answers.find(fields.answer, g.owner)
    if fields.database is not None:
        choices.database(g.rights, fields.database, sluice.settings.databases)
    if fields.origin is not None and not _ORIGIN.fullmatch(fields.origin):
        raise BadQuestion('origin: must be an origin such as "https://app.example", without a path')
    ticket = sluice.tickets.issue(g.owner, answer=fields.answer, database=fields.database, origin=fields.origin)
    reply = Response(
        msgspec.json.encode({"ticket": ticket, "expires_in": EXPIRES_IN_S}), content_type="application/json"
    )
    reply.headers["Cache-Control"] = "no-store"
    return reply


def sent() -> str | None:
    """The ticket of a request that has no key in its headers and whose address a ticket opens; None without one."""
    headers = ("Authorization", "X-Api-Key", "Api-Key")
    if request.endpoint not in OPENS or any(name in request.headers for name in headers):
        return None
    return request.args.get("ticket")


def admit(sluice: Sluice, text: str) -> None:
    """Let a request in with a ticket: notes it, and whose it is, in `g`. Raises Failure (401, 403)."""
    ticket = sluice.tickets.read(text)
    g.rights = sluice.keys.owner(sluice.tickets.owner(ticket, sluice.keys.owners()))
    g.owner, g.caller = g.rights.owner, g.rights.name
    if ticket.origin is not None and not _from(ticket.origin):
        raise Failure("forbidden", "ticket: is bound to another origin")
    if ticket.expired() and not _follows():
        raise Failure("unauthorized", "ticket: has expired; POST /tickets gives a new one")
    if request.endpoint in PAGE:
        if ticket.answer is not None:
            raise Failure("forbidden", "ticket: is bound to an answer, and asks nothing")
        if ticket.database is not None:
            g.rights = replace(g.rights, databases=frozenset({ticket.database}))
    g.ticket = ticket


def _from(origin: str) -> bool:
    """Whether the request comes from a page of `origin`; a GET of a page's own origin has no Origin header."""
    header = request.headers.get("Origin")
    if header is not None:
        return header.lower() == origin.lower()
    return same_place(origin, request.host)


def _follows() -> bool:
    """Whether the request can only follow an answer that is there already."""
    asks = request.endpoint == "ask.ask_by_get" and "Last-Event-ID" not in request.headers
    return request.method == "GET" and not asks and request.endpoint not in PAGE


def _current() -> Ticket | None:
    ticket: Ticket | None = g.get("ticket")
    return ticket


def check_answer(answer: Followable) -> Followable:
    """The answer, if the request's ticket opens it. Raises Failure (401, 403)."""
    ticket = _current()
    if ticket is None:
        return answer
    if ticket.expired() and answer.attached.get("ticket") != ticket.id:
        raise Failure("unauthorized", "ticket: has expired; POST /tickets gives a new one")
    if ticket.answer is not None and ticket.answer != answer.id:
        raise Failure("forbidden", "ticket: is bound to another answer")
    if ticket.database is not None and ticket.database != (answer.database or "none"):
        raise Failure("forbidden", "ticket: is bound to another database")
    return answer


def check_database(name: str | None) -> str | None:
    """The database of a new question: the one that the ticket is bound to, if any. Raises Failure (403)."""
    ticket = _current()
    if ticket is None:
        return name
    if ticket.answer is not None:
        raise Failure("forbidden", "ticket: is bound to an answer, and asks nothing")
    if ticket.database is not None and name not in (None, "", ticket.database):
        raise Failure("forbidden", f"database: the ticket is bound to {ticket.database}", param="database")
    return ticket.database or name


def mark() -> dict[str, str]:
    """What an answer that is begun now keeps of the request's ticket: its id, so that it stays followable with it."""
    ticket = _current()
    return {} if ticket is None else {"ticket": ticket.id}
