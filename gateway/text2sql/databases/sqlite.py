"""SQLite: a file opened for reading alone, behind SQLite's own authorizer.

The library computes inside its caller, and no interrupt ends everything that it does. So statements run in processes
that can be killed (sqlite_processes.py), and the schema, which is its owner's, is read in a thread (gevent's pool).
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing
from functools import partial
from typing import Any

import gevent
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from gateway.settings import DatabaseSettings
from gateway.text2sql.databases import sqlite_runner
from gateway.text2sql.databases.dialects.sqlite import AUTHORIZED
from gateway.text2sql.databases.privileges import ExcessPrivilege
from gateway.text2sql.databases.schema import read
from gateway.text2sql.databases.sqlite_processes import Processes
from gateway.text2sql.databases.sqlite_runner import lower
from gateway.text2sql.databases.zones import posix
from gateway.text2sql.errors import SqlFailed, refused
from gateway.text2sql.rows import Collected
from prompts.tables import Schema

# How many steps of SQLite's virtual machine run between two looks at the clock while the schema is read.
STEPS = 200_000
READ_S = 10  # all that reads the schema
Asked = tuple[int, str, str, str]  # action, its two arguments, the view on whose behalf


class SQLite:
    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._path = make_url(settings.url).database or ""
        # More of them would only take the processor from the streams: SQLite computes, it does not wait.
        most = min(settings.connections, max(2, os.cpu_count() or 2))
        self.processes = Processes(self._path, most, settings.timeout_s, posix(settings.timezone))
        self._is_read = False

    def read_schema(self) -> Schema:
        schema: Schema | Exception = gevent.get_hub().threadpool.apply(self._read_in_thread)
        if isinstance(schema, Exception):
            raise schema
        return schema

    def _read_in_thread(self) -> Schema | Exception:
        try:
            return self._read_schema()
        except Exception as error:  # noqa: BLE001 - raised again in the caller; a gevent thread would print it
            return error

    def _read_schema(self) -> Schema:
        settings = self._settings
        deadline = time.monotonic() + READ_S
        engine = create_engine("sqlite://", creator=partial(self._connect, deadline), poolclass=NullPool)
        schema = read(engine, settings.tables, settings.columns, settings.samples)
        self.processes.allow(self._rights(schema, time.monotonic() + READ_S))
        self._is_read = True
        return schema

    def _connect(self, deadline: float) -> sqlite3.Connection:
        connection = sqlite_runner.connect(self._path)
        connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
        return connection

    def _rights(self, schema: Schema, deadline: float) -> dict[str, Any]:
        """What sqlite_runner.authorizer takes: among it, everything that the open views themselves ask SQLite for."""
        asked: set[Asked] = set()

        def record(
            action: int, first: str | None, second: str | None, _database: str | None, within: str | None
        ) -> int:
            if within:
                asked.add((action, lower(first), lower(second), lower(within)))
            return sqlite3.SQLITE_OK

        with closing(self._connect(deadline)) as connection:
            names = {lower(name) for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            connection.set_authorizer(record)
            for table in schema.tables:
                if table.is_view:
                    name = table.name.replace('"', '""')
                    connection.execute(f'EXPLAIN SELECT * FROM "{name}"')  # noqa: S608 - a quoted identifier
        return {
            "hidden": {lower(table.name): sorted(map(lower, table.hidden)) for table in schema.tables},
            "by_views": sorted(asked),
            "names": sorted(names),
            "functions": sorted(AUTHORIZED),
        }

    def excess(self) -> list[ExcessPrivilege]:
        return []  # the file's rights do not matter: it is opened with mode=ro

    def query(self, sql: str, collected: Collected, timeout_s: float) -> None:
        if not self._is_read:
            self.read_schema()
        limits = {"row_limit": self._settings.row_limit, "byte_limit": self._settings.byte_limit}
        with closing(self.processes.run({"sql": sql, **limits}, timeout_s)) as messages:
            for message in messages:
                if "names" in message:
                    collected.describe(message["names"])
                elif "rows" in message:
                    collected.add(message["rows"])
                elif message["end"] == "error":
                    raise _refused(message, sql)
                elif message["truncated"]:
                    collected.truncated = True

    def close(self) -> None:
        self.processes.close()


# Found while the statement is read: names that are not there, and wrong syntax. Only the first kind lacks quotes.
_ABOUT_STATEMENT = re.compile(r"(no such [\w ]+|ambiguous column name|misuse of [\w ]+): (.*)|near \"", re.DOTALL)


def _refused(message: dict[str, Any], statement: str) -> SqlFailed:
    words = message["words"]
    match = _ABOUT_STATEMENT.match(words)
    if match and match[1]:
        words = f'{match[1]}: "{match[2]}"'
    return refused(words, message["code"], statement, about_statement=match is not None)


def open_server(settings: DatabaseSettings) -> SQLite:
    """The SQLite file that `settings.url` names."""
    return SQLite(settings)
