"""POST /feedback: whoever asked says whether an answer was right, or what its SQL should have been.

What is confirmed is shown as an example with similar questions, so only its asker may speak about an answer, the
statement has to pass the guard, and nothing is kept unless the owner of the database has named a file for it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from flask import Blueprint, Response, g
from msgspec import Meta

from gateway import ask, asking, forms, question
from gateway.errors import Failure
from gateway.question import MAX_QUESTION_CHARACTERS, BadQuestion
from gateway.sluice import here

routes = Blueprint("feedback", __name__)


class Feedback(msgspec.Struct, forbid_unknown_fields=True):
    """
    id        the answer's
    question  what was asked, as it was asked
    right     whether the answer's statement answers it; false forgets what was confirmed for the question
    sql       the statement that answers it, where the answer's own does not
    database  which one was asked; the first where it was not named
    """

    id: Annotated[str, Meta(min_length=1, max_length=64)]
    question: Annotated[str, Meta(min_length=1, max_length=MAX_QUESTION_CHARACTERS)]
    right: bool | None = None
    sql: Annotated[str, Meta(min_length=1, max_length=20_000)] | None = None
    database: str | None = None


_decoder = msgspec.json.Decoder(Feedback)


@routes.post("/feedback")
def feedback() -> Response:
    try:
        given = question.decode(_decoder, ask.body())
    except BadQuestion as error:
        raise Failure("bad_request", str(error), param=error.field) from None
    if given.right is None and given.sql is None:
        raise Failure("bad_request", "right: say whether the answer was right, or give the sql that is", param="right")
    answer = here().answers.find(given.id, g.owner)
    try:
        database = here().databases.get(given.database)
    except KeyError:
        raise Failure("bad_request", "database: there is none of that name", param="database") from None
    if database is None or not database.examples.remembers:
        raise Failure(
            "bad_request", "nothing is remembered for this database: its configuration names no `memory`", status=422
        )
    if given.sql is None and not given.right:
        return _told(remembered=False, forgotten=database.examples.forget(given.question))
    sql = given.sql
    if sql is None:
        told = forms.whole(asking.so_far(answer))["sql"]
        if told is None or not told["ok"]:
            raise Failure("bad_request", "the answer has no statement that could be confirmed", status=422)
        sql = told["sql"]
    if reason := database.examples.confirm(given.question, sql, database.schema(), by=g.owner):
        raise Failure("sql_refused", reason)
    return _told(remembered=True, forgotten=False)


def _told(**told: bool) -> Response:
    return Response(msgspec.json.encode(told), content_type="application/json")
