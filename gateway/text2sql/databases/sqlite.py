"""SQLite: a file opened for reading alone, in threads of its own, behind SQLite's own authorizer.

The library computes inside the process, so a statement would stop every stream of the worker if it ran in a greenlet.
Its threads are real ones (gevent's pool), and come back into Python as seldom as the limits allow.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import quote

import gevent
from gevent.threadpool import ThreadPool
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from gateway.settings import DatabaseSettings
from gateway.text2sql.databases.dialects.sqlite import AUTHORIZED
from gateway.text2sql.databases.privileges import ExcessPrivilege
from gateway.text2sql.databases.schema import read
from gateway.text2sql.errors import SqlFailed, SqlLimit, refused
from gateway.text2sql.rows import Collected
from prompts.tables import Schema

log = logging.getLogger("sluice.sql")

T = TypeVar("T")

# How many steps of SQLite's virtual machine run between two looks at the clock: some milliseconds. Each look takes the
# interpreter's lock, for which the event loop may have to wait. A step on a long value takes far longer than others, so
# from outside a statement is interrupted at its time, too, and again every so often: SQLite forgets an interrupt that
# comes while nothing runs.
STEPS = 200_000
AGAIN_S = 0.02
# Seconds after which a statement that no interrupt ends counts as hanging, and how many spare threads there may be.
HANGS_S = 1.0
SPARES = 4
# No interrupt comes within one step, so values and patterns are so short that a step takes 0.3 s at most: instr and
# replace with half of LENGTH in LENGTH bytes, LIKE with LIKE_BYTES. (With 1 MiB it was 5 s. A trim of as much takes
# longer, which is for the guard to see: size_bounds.py.)
LENGTH = 1 << 18
LIKE_BYTES = 200
READ_S = 10  # all that reads the schema
Asked = tuple[int, str, str, str]  # action, its two arguments, the view on whose behalf
READ, SELECT, FUNCTION = sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION
RECURSIVE = sqlite3.SQLITE_RECURSIVE
JSON_TABLES = {"json_each", "json_tree"}
WARM = "SELECT 1 FROM json_each('[]') UNION ALL SELECT 1 FROM json_tree('[]')"


class Job:
    """Some work in its thread, and whether it is still wanted."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.cancelled = False
        self.is_done = False
        self.connection: sqlite3.Connection | None = None

    def stops(self) -> bool:
        return self.cancelled or time.monotonic() > self.deadline

    def end(self, spare: Callable[[int], None]) -> None:
        """Interrupt it until its thread is free; one that no interrupt ends is replaced by a spare thread meanwhile."""
        self.cancelled = True
        began, is_hanging = time.monotonic(), False
        while not self.is_done:
            if not is_hanging and time.monotonic() - began > HANGS_S:
                is_hanging = True
                spare(1)
            if self.connection is not None:
                with contextlib.suppress(sqlite3.ProgrammingError):  # it is closed by now
                    self.connection.interrupt()
            gevent.sleep(AGAIN_S)
        if is_hanging:
            spare(-1)


class SQLite:
    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._path = make_url(settings.url).database or ""
        # More of them would only take the processor from the streams: SQLite computes, it does not wait.
        self._size = min(settings.connections, max(2, os.cpu_count() or 2))
        self._hanging = 0  # statements that no interrupt has ended yet
        self._threads = ThreadPool(self._size)
        self._open: Callable[..., int] | None = None

    def _connect(self, job: Job | None = None) -> sqlite3.Connection:
        if not os.path.isfile(self._path):
            raise sqlite3.OperationalError(f"there is no file {os.path.basename(self._path)}")
        uri = f"file:{quote(self._path)}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=1)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        if job is not None:
            connection.set_progress_handler(job.stops, STEPS)
            job.connection = connection
        return connection

    def _in_thread(self, job: Job, call: Callable[..., T], *arguments: Any) -> T:
        def caught() -> tuple[T | None, Exception | None]:
            try:
                return call(*arguments), None
            except Exception as error:  # noqa: BLE001 - raised again in the caller; a gevent thread would print it
                return None, error  # raised in a thread of gevent's, it would be printed there
            finally:
                job.is_done = True

        overdue = gevent.spawn_later(job.deadline - time.monotonic(), job.end, self._spare)
        try:
            result, error = self._threads.spawn(caught).get()
        finally:
            overdue.kill(block=False)
            if not job.is_done:
                # Killed, or out of time: this greenlet may not wait any more.
                gevent.spawn(job.end, self._spare)
        if error is not None:
            raise error
        return cast(T, result)

    def _spare(self, change: int) -> None:
        """A thread more while one hangs, one less when it is free again."""
        self._hanging += change
        spares = min(self._hanging, SPARES)
        self._threads.maxsize = self._size + spares
        if change > 0:
            log.warning("a statement on %s cannot be interrupted; %d such", os.path.basename(self._path), self._hanging)

    def read_schema(self) -> Schema:
        settings, job = self._settings, Job(READ_S)
        engine = create_engine("sqlite://", creator=partial(self._connect, job), poolclass=NullPool)
        schema = self._in_thread(job, read, engine, settings.tables, settings.columns, settings.samples)
        by_views, names = self._in_thread(Job(READ_S), self._read_by_views, schema)
        self._open = authorizer(schema, by_views, names)
        return schema

    def _read_by_views(self, schema: Schema) -> tuple[set[Asked], frozenset[str]]:
        """Everything that the allowed views themselves ask SQLite for, and the names of all tables and views."""
        asked: set[Asked] = set()

        def record(
            action: int, first: str | None, second: str | None, _database: str | None, within: str | None
        ) -> int:
            if within:
                asked.add((action, _lower(first), _lower(second), _lower(within)))
            return sqlite3.SQLITE_OK

        connection = self._connect()
        try:
            names = frozenset(_lower(name) for (name,) in connection.execute("SELECT name FROM sqlite_master"))
            connection.set_authorizer(record)
            for table in schema.tables:
                if table.is_view:
                    name = table.name.replace('"', '""')
                    connection.execute(f'EXPLAIN SELECT * FROM "{name}"')  # noqa: S608 - a quoted identifier
        finally:
            connection.close()
        return asked, names

    def excess(self) -> list[ExcessPrivilege]:
        return []  # the file's rights do not matter: it is opened with mode=ro

    def query(self, sql: str, collected: Collected, timeout_s: float) -> None:
        if self._open is None:
            self.read_schema()
        job = Job(timeout_s)
        self._in_thread(job, self._query, sql, collected, job)

    def _query(self, sql: str, collected: Collected, job: Job) -> None:
        if job.stops():
            words = f"{self._hanging} statements do not end" if self._hanging else "other statements are running"
            raise SqlLimit(f"the database is busy: the statement's time was over before its turn came; {words}")
        connection = None
        try:
            connection = self._connect(job)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(LENGTH, self._settings.byte_limit))
            connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, LIKE_BYTES)
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.execute("BEGIN")
            if "json_" in sql.lower():
                # SQLite makes the table behind json_each once, which the authorizer would take for a CREATE.
                connection.execute(WARM)
            connection.set_authorizer(self._open)
            cursor = connection.execute(sql)
            collected.describe([column[0] for column in cursor.description or ()])
            # Row by row: a batch of wide rows could be far more than `byte_limit`.
            for row in cursor:
                if not collected.add([row]):
                    break
        except sqlite3.OperationalError as error:
            if str(error) == "interrupted":
                limit = self._settings.timeout_s
                raise SqlLimit(f"the statement ran longer than {limit:g} s and was cancelled") from None
            raise _refused(error, sql) from None
        except (sqlite3.Error, sqlite3.Warning, UnicodeError) as error:
            raise _refused(error, sql) from None
        finally:
            if connection is not None:
                connection.close()  # and with it the transaction, unfinished

    def close(self) -> None:
        self._threads.kill()


def authorizer(schema: Schema, by_views: set[Asked], names: frozenset[str] = frozenset()) -> Callable[..., int]:
    """What SQLite asks, while it compiles a statement, about everything that the statement would do.

    Reading an open column is fine, so is an allowed function, and what the allowed views ask for themselves: not
    anything asked in a view's name, for a common table expression may carry the same one.

    names  all tables and views of the file. A table expression (WITH) or a subquery of which no column is read is asked
           for by its own name, with no column: fine, unless a closed table is called so.

    SQLite does not ask about the columns that USING and NATURAL compare, nor about those that a FULL JOIN merges by
    them: of these the guard is the only judge (names.py).
    """
    hidden = {_lower(table.name): {_lower(name) for name in table.hidden} for table in schema.tables}

    def judge(action: int, first: str | None, second: str | None, _database: str | None, within: str | None) -> int:
        if action in (SELECT, RECURSIVE) or (action, _lower(first), _lower(second), _lower(within)) in by_views:
            return sqlite3.SQLITE_OK
        if action == READ and _lower(first) in hidden and _lower(second) not in hidden[_lower(first)]:
            return sqlite3.SQLITE_OK
        if action == READ and (_lower(first) in JSON_TABLES or not (second or _lower(first) in names)):
            return sqlite3.SQLITE_OK
        if action == FUNCTION and _lower(second) in AUTHORIZED:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    return judge


# Found while the statement is read: names that are not there, and wrong syntax. Only the first kind lacks quotes.
_ABOUT_STATEMENT = re.compile(r"(no such [\w ]+|ambiguous column name|misuse of [\w ]+): (.*)|near \"", re.DOTALL)


def _refused(error: Exception, statement: str) -> SqlFailed:
    words = str(error)
    found = _ABOUT_STATEMENT.match(words)
    if found and found[1]:
        words = f'{found[1]}: "{found[2]}"'
    code = getattr(error, "sqlite_errorname", None) or type(error).__name__
    return refused(words, code, statement, about_statement=found is not None)


def _lower(name: str | None) -> str:
    return (name or "").lower()


def open_server(settings: DatabaseSettings) -> SQLite:
    """The SQLite file that `settings.url` names."""
    return SQLite(settings)
