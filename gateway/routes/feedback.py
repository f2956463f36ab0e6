"""POST /feedback: whoever asked says whether an answer was right, or what its SQL should have been.

What is confirmed is shown as an example with similar questions, whoever asks them. So only its asker may speak about an
answer, question and database are the answer's own, the statement has to pass the guard and to run, nobody changes what
another key has confirmed, and nothing is kept unless the owner of the database has named a file for it.
"""

from __future__ import annotations

import logging
from typing import Annotated

import msgspec
from flask import Blueprint, Response, g, request
from msgspec import Meta

from gateway.access.rate_limit import caller
from gateway.answers import question
from gateway.answers.followable import Followed
from gateway.answers.question import MAX_QUESTION_CHARACTERS, BadQuestion
from gateway.context import here
from gateway.errors import Failure
from gateway.formats import native
from gateway.routes import answers, replies
from gateway.text2sql.database import Database
from prompts.example_store import one_line

log = logging.getLogger("sluice.feedback")
routes = Blueprint("feedback", __name__)

# It stands in everybody's prompts.
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
    try:
        given = question.decode(_decoder, answers.body())
    except BadQuestion as error:
        raise Failure("bad_request", str(error), param=error.field) from None
    if given.right is None and given.sql is None:
        raise Failure("bad_request", "right: say whether the answer was right, or give the sql that is", param="right")
    answer = here().answers.find(given.id, g.owner)
    database = _database(given, answer)
    if given.sql is None and not given.right:
        return _told(answer, remembered=False, forgotten=database.examples.forget(answer.question, by=g.owner))
    if len(answer.question) > MAX_REMEMBERED_CHARACTERS:
        raise _not(f"only questions of up to {MAX_REMEMBERED_CHARACTERS} characters are remembered")
    sql = given.sql
    if sql is None:
        found = native.whole(replies.so_far(answer))
        if found["sql"] is None or not found["sql"]["ok"] or found["rows"] is None:
            raise _not("the answer has no statement that gave rows, so none can be confirmed")
        sql = found["sql"]["sql"]
    else:
        _try(database, sql)
    if reason := database.examples.confirm(answer.question, sql, database.schema(), by=g.owner):
        raise Failure("sql_refused", reason)
    return _told(answer, remembered=True, forgotten=False)


def _database(given: Feedback, answer: Followed) -> Database:
    """The database that the answer asked, which remembers; raises Failure."""
    if given.question is not None and one_line(given.question) != one_line(answer.question):
        raise Failure("bad_request", "question: the answer was asked something else", param="question")
    if given.database is not None and given.database != answer.database:
        raise Failure("bad_request", "database: the answer was not asked of it", param="database")
    try:
        database = here().databases.get(answer.database or "none")
    except KeyError:
        database = None  # it was taken out of the configuration
    if database is None:
        raise _not("the answer was asked of no database")
    if not database.examples.remembers:
        raise _not("nothing is remembered for this database: its configuration names no `memory`")
    return database


def _try(database: Database, sql: str) -> None:
    """Run a corrected statement as an answer's would be: only what gives rows is shown to others. Raises Failure."""
    if not database.settings.execute:
        raise _not("nothing is run on this database, so nothing can be confirmed")
    here().rate.count(caller(g.owner, request))
    verdict = database.judge(sql)
    if not verdict.ok:
        raise Failure("sql_refused", verdict.reason or "the statement was refused")
    database.run(verdict)


def _not(why: str) -> Failure:
    return Failure("bad_request", why, status=422)


def _told(answer: Followed, **told: bool) -> Response:
    what = ", ".join(name for name, is_so in told.items() if is_so) or "nothing to forget"
    log.info("feedback on answer %s of database %s by key %s: %s", answer.id, answer.database, g.caller or "-", what)
    return Response(msgspec.json.encode(told), content_type="application/json")
