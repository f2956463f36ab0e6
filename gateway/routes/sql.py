"""POST /sql: runs a statement that a person edited. The guard judges it, and no model is asked.

body     {"sql": "SELECT …", "database": "metro"}, the database may be left out: the caller's first one
events   those of a question: start, sql (`final`), rows, done; `start` names no provider

`"all_rows": true` with `Accept: text/csv` gives every row up to `export_rows`, as CSV that is sent as it comes. This is
no answer: it has no id, and cannot be followed or resumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from flask import Blueprint, Response, g, request

from gateway import context
from gateway.access import choices
from gateway.answers.record import Record
from gateway.decoding import decode
from gateway.errors import Failure
from gateway.formats import native
from gateway.routes import replies, tickets
from gateway.routes.answers import in_form
from gateway.routes.request_body import body
from gateway.text2sql.guard.refused import STATEMENT_CHARACTERS

if TYPE_CHECKING:
    from gateway.text2sql.database import Database

routes = Blueprint("sql", __name__)


class Fields(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of the body; null is the same as absent."""

    sql: str
    database: str | None = None
    all_rows: bool = False
    # With all_rows: a mark for Excel at the start, and an apostrophe before what a spreadsheet would run as a formula.
    spreadsheet: bool = False


_from_json = msgspec.json.Decoder(Fields)


@routes.post("/sql")
def run() -> Response:
    media = native.chosen(request.accept_mimetypes, request.args.get("format"))
    data = body()
    if not data:
        raise Failure("bad_request", "sql: required; the body is empty", param="sql")
    fields = decode(_from_json, data)
    if not fields.sql.strip():
        raise Failure("bad_request", "sql: must be a statement, got an empty text", param="sql")
    if len(fields.sql) > STATEMENT_CHARACTERS:
        message = f"sql: must have at most {STATEMENT_CHARACTERS:,} characters, got {len(fields.sql):,}"
        raise Failure("bad_request", message, param="sql")
    sluice = context.current()
    name = choices.database(g.rights, tickets.check_database(fields.database), sluice.settings.databases)
    database = sluice.databases.get(name)
    if database is None:
        raise Failure("bad_request", "database: must be a configured database, got none", param="database")
    if fields.all_rows:
        return export(fields, database, media)
    # Imported with the databases, see text2sql/configured.py.
    from gateway.text2sql import running

    record = Record("", database.name)
    steps = running.steps(fields.sql, database, record, log_sql=sluice.settings.text2sql.log_sql)
    request_key = {"sql": fields.sql, "database": database.name}
    return in_form(replies.begin(steps, request_key, None, record=record), media)


def export(fields: Fields, database: Database, media: str) -> Response:
    """Every row of the statement as CSV; raises Failure where nothing is sent yet."""
    if media != native.CSV:
        raise Failure("bad_request", f"all_rows: must be asked for as {native.CSV}, got {media}", param="all_rows")
    settings = database.settings
    if not (settings.execute and settings.export_rows):
        raise Failure("bad_request", f"all_rows: database {database.name} gives no whole results", param="all_rows")
    replies.count()
    exports = context.current().exports
    exported = exports.of(database)
    verdict = exported.judge(fields.sql)
    if not verdict.ok:
        raise Failure("sql_refused", verdict.reason or "")
    pieces = exports.begin(exported, verdict, spreadsheet=fields.spreadsheet)
    reply = Response(pieces, content_type="text/csv; charset=utf-8; header=present", headers=replies.HEADERS)
    # A file with as many rows may lack the ones after them.
    reply.headers["X-Rows-Limit"] = str(settings.export_rows)
    return reply
