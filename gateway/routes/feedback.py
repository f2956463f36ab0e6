"""POST /feedback: the caller who asked says whether an answer was right, or what its SQL should have been.

A confirmed statement becomes an example in the prompts of similar questions, of all callers. So only the key that asked
may judge an answer, question and database are the answer's own, the statement must pass the guard and run, no key
changes what another has confirmed, and nothing is kept unless the database's configuration names a file for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import msgspec
from flask import Blueprint, Response, g
from msgspec import Meta

from gateway import context
from gateway.answers.followable import Followable
from gateway.answers.question import MAX_QUESTION_CHARACTERS
from gateway.decoding import decode
from gateway.errors import Failure, shown
from gateway.formats import native
from gateway.routes import replies
from gateway.routes.request_body import body
from prompts.example_store import one_line

if TYPE_CHECKING:
    from gateway.text2sql.database import Database

log = logging.getLogger("sluice.feedback")
routes = Blueprint("feedback", __name__)

# Longer questions would fill the prompts of all callers.
MAX_REMEMBERED_CHARACTERS = 500


class Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """
    id        the answer's
    right     whether the answer's statement answers it; false forgets what this key confirmed for the question
    sql       the statement that answers it, where the answer's own does not
    question, database   the answer's, for clients that send them; others are refused
    """

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    right: bool | None = None
    sql: Annotated[str, Meta(min_length=1, max_length=20_000)] | None = None
    question: Annotated[str, Meta(min_length=1, max_length=MAX_QUESTION_CHARACTERS)] | None = None
    database: str | None = None


_decoder = msgspec.json.Decoder(Feedback)


@routes.post("/feedback")
def feedback() -> Response:
    feedback = decode(_decoder, body())
    if feedback.right is None and feedback.sql is None:
        raise Failure(
            "bad_request", "right: required, but missing; say true or false, or send the right `sql`", param="right"
        )
    answer = context.current().answers.find(feedback.id, g.owner)
    if answer.database and not g.rights.may_read(answer.database):
        raise Failure("forbidden", "database: this key may no longer ask the answer's database")
    database = _database(feedback, answer)
    if feedback.sql is None and not feedback.right:
        return _reply(answer, remembered=False, forgotten=database.examples.forget(answer.question, by=g.owner))
    if len(answer.question) > MAX_REMEMBERED_CHARACTERS:
        raise _not(f"id: the answer's question must have at most {MAX_REMEMBERED_CHARACTERS} characters")
    sql = feedback.sql
    if sql is None:
        reply = native.whole(replies.so_far(answer))
        if reply["sql"] is None or not reply["sql"]["ok"] or reply["rows"] is None:
            raise _not("right: needs an answer whose statement gave rows; this one has none")
        sql = reply["sql"]["sql"]
    else:
        _try(database, sql)
    if reason := database.examples.confirm(answer.question, sql, database.schema(), by=g.owner):
        raise Failure("sql_refused", reason)
    return _reply(answer, remembered=True, forgotten=False)


def _database(given: Feedback, answer: Followable) -> Database:
    """The answer's database, which has a memory; raises Failure."""
    if given.question is not None and one_line(given.question) != one_line(answer.question):
        raise Failure("bad_request", "question: must be the answer's own question, got another", param="question")
    if given.database is not None and given.database != answer.database:
        raise Failure(
            "bad_request",
            f"database: must be the answer's, {answer.database or 'none'}, got {shown(given.database)}",
            param="database",
        )
    database: Database | None
    try:
        database = context.current().databases.get(answer.database or "none")
    except KeyError:
        database = None  # it was removed from the configuration
    if database is None:
        raise _not("id: must be an answer about a database; this one was a plain chat")
    if not database.examples.remembers:
        raise _not(f"database: {database.name} remembers nothing; its configuration has no `memory`")
    return database


def _try(database: Database, sql: str) -> None:
    """Judge and run a corrected statement like an answer's: only one that gives rows becomes an example."""
    if not database.settings.execute:
        raise _not(f"sql: needs a database with `execute: true`; {database.name} runs nothing")
    replies.count()
    verdict = database.judge(sql)
    if not verdict.ok:
        raise Failure("sql_refused", verdict.reason or "sql: the statement was refused")
    database.run(verdict)


def _not(why: str) -> Failure:
    return Failure("bad_request", why, status=422)


def _reply(answer: Followable, **done: bool) -> Response:
    what = ", ".join(name for name, is_done in done.items() if is_done) or "nothing to forget"
    log.info("feedback on answer %s of database %s by key %s: %s", answer.id, answer.database, g.caller or "-", what)
    return Response(msgspec.json.encode(done), content_type="application/json")
