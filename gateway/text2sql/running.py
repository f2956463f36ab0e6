"""The steps of a statement that a person wrote: judged and run as a model's would be, without a model."""

from __future__ import annotations

import time
from collections.abc import Iterator

from gateway.answers.record import Record
from gateway.answers.steps import Done, Sql, Start, Step
from gateway.text2sql.database import Database

NO_MODEL = "none"


def steps(sql: str, database: Database, record: Record, *, log_sql: bool = False) -> Iterator[list[Step]]:
    """Start, the verdict, the rows where the owner allows them, and Done. Raises SqlError."""
    yield [Start(NO_MODEL, NO_MODEL)]
    if database.settings.execute:
        database.check_role()
    verdict = database.judge(sql)
    record.judged(verdict.sql, verdict.tables, verdict.reason, with_text=log_sql)
    dialect = database.schema().dialect
    yield [Sql(verdict.sql, dialect, verdict.tables, verdict.ok, verdict.reason, final=True)]
    timing = {}
    if verdict.ok and database.settings.execute:
        began = time.perf_counter()
        rows = database.run(verdict)
        record.rows = len(rows.rows)
        timing["sql"] = round((time.perf_counter() - began) * 1000, 1)
        yield [rows]
    yield [Done("stop", None, timing)]
