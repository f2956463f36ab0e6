"""A result beyond `row_limit`, whole, as CSV that is sent while the database gives it.

The rows go through a file without a name: the database's transaction ends when it has given them, however slowly the
client reads. An export has its own connections and limits (`export_rows`, `export_bytes`, `export_timeout_s`), so that
it takes none from questions.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import logging
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gevent
from gevent.lock import BoundedSemaphore
from gevent.monkey import get_original

from gateway.errors import Failure
from gateway.text2sql.errors import SqlError, SqlFailed, SqlLimit
from gateway.text2sql.rows import Collected, safe, size

if TYPE_CHECKING:
    from gateway.text2sql.database import Database
    from gateway.text2sql.guard.judge import Verdict

log = logging.getLogger("sluice.sql")

# Exports of one database at the same time, in one worker.
AT_ONCE = 2
# Seconds after the server's own limit when the statement is cancelled from here.
GRACE_S = 1
# Seconds between two looks for more rows.
LOOK_S = 0.05
PIECE_BYTES = 1 << 16
# What a spreadsheet would run as a formula; a negative number is none.
_FORMULA = re.compile(r"[=+\-@\t\r＝＋－＠]")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")

# The system's thread, not gevent's: SQLite gives its rows from a thread of its own.
thread_id: Callable[[], int] = get_original("_thread", "get_ident")


class Overdue(BaseException):
    """The statement's time is up. A BaseException, so that no driver catches it on its way."""


class CsvFile(Collected):
    """Takes a query's rows and keeps them as CSV (RFC 4180) in a file, within the caps; any thread may call it.

    spreadsheet   begins with the mark by which Excel knows UTF-8, and text that looks like a formula gets an apostrophe
    """

    def __init__(self, row_limit: int, byte_limit: int, *, spreadsheet: bool) -> None:
        super().__init__(row_limit, byte_limit)
        self.count = 0
        self.written = 0
        self._most, self._room = row_limit, byte_limit
        self._spreadsheet = spreadsheet
        self._loop_thread = thread_id()
        self._text = io.StringIO()
        self._writer = csv.writer(self._text)
        self._file = tempfile.TemporaryFile(prefix="sluice-export-", buffering=0)  # noqa: SIM115 - close() below

    def describe(self, names: Sequence[str], types: Sequence[str] = ()) -> None:
        super().describe(names, types)
        if self._spreadsheet:
            self._text.write("\ufeff")
        self._writer.writerow([self._field(column["name"]) for column in self.columns()])

    def add(self, batch: Iterable[Sequence[Any]]) -> bool:
        for row in batch:
            values = [safe(value) for value in row]
            self._room -= sum(map(size, values))
            if self._room < 0 or self.count >= self._most:
                self.truncated = True
                return False
            self._writer.writerow([self._field(value) for value in values])
            self.count += 1
            if self._text.tell() >= PIECE_BYTES:
                self.flush()
                if thread_id() == self._loop_thread:
                    gevent.sleep(0)  # a driver that has many rows in its buffer would hold up every stream
        return True

    def flush(self) -> None:
        """Write what has come so far to the file."""
        data = self._text.getvalue().encode()
        self._text.seek(0)
        self._text.truncate()
        self._file.write(data)
        self.written += len(data)

    def _field(self, value: Any) -> Any:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, list | dict):
            value = json.dumps(value, ensure_ascii=False)
        if self._spreadsheet and isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
            return "'" + value
        return value

    def read(self, at: int) -> bytes:
        """The next bytes after `at`, b"" where there are none yet."""
        return os.pread(self._file.fileno(), min(PIECE_BYTES, self.written - at), at)

    def close(self) -> None:
        self._file.close()


class Exports:
    """The exports of one worker: a second `Database` for each one that was exported, with an export's limits."""

    def __init__(self) -> None:
        self._databases: dict[str, Database] = {}
        self._turns: dict[str, BoundedSemaphore] = {}

    def of(self, database: Database) -> Database:
        """The same database with an export's limits and connections of its own."""
        copy = self._databases.get(database.name)
        if copy is None:
            settings = database.settings
            limits = {
                "row_limit": settings.export_rows,
                "byte_limit": settings.export_bytes,
                "timeout_s": settings.export_timeout_s,
                "connections": AT_ONCE,
                "examples": "",
                "memory": "",
            }
            copy = self._databases[database.name] = type(database)(database.name, settings.model_copy(update=limits))
            self._turns[database.name] = BoundedSemaphore(AT_ONCE)
        return copy

    def begin(self, database: Database, verdict: Verdict, *, spreadsheet: bool) -> Iterator[bytes]:
        """The CSV of a statement that passed, as it comes; `database` is one of `of()`.

        Returns when the first rows are there, so that a failure before them is a reply of its own: raises SqlFailed,
        SqlLimit, Failure. A later failure, and more than `export_bytes`, breaks the stream off: the client sees that
        the file is not complete. More than `export_rows` ends it.
        """
        turn = self._turns[database.name]
        if not turn.acquire(blocking=False):
            raise Failure("overloaded", f"database {database.name}: must wait, {AT_ONCE} exports are running")
        file = CsvFile(database.settings.row_limit, database.settings.byte_limit, spreadsheet=spreadsheet)
        query = gevent.spawn(_query, database, verdict, file, turn)
        try:
            while not file.written and not query.ready():
                gevent.sleep(LOOK_S)
            _check(query)
        except BaseException:
            _end(query, file)
            raise
        return _pieces(database.name, query, file)


def _query(database: Database, verdict: Verdict, file: CsvFile, turn: BoundedSemaphore) -> SqlError | None:
    """Runs the statement into `file`; returns why it failed, for gevent would print what it raises."""
    limit_s = database.settings.timeout_s
    try:
        with gevent.Timeout(limit_s + GRACE_S, Overdue()):
            database.check_role()
            database.server.query(verdict.limited, file, limit_s)
        file.flush()
    except SqlError as error:
        if error.detail:
            log.warning("database %s: %s: %s", database.name, error.message, error.detail)
        return error
    except Overdue:
        return SqlLimit(f"the statement ran longer than {limit_s:g} s and was cancelled")
    finally:
        turn.release()
    # A driver may stop at the bytes by itself: fewer rows than the limit, and yet not all.
    if file.truncated and file.count < database.settings.row_limit:
        return SqlFailed(f"the result has more than {database.settings.byte_limit:,} bytes")
    return None


def _check(query: gevent.Greenlet) -> None:
    """Raise what the query failed with, if it has ended."""
    if query.ready() and (error := query.get()) is not None:
        raise error


def _pieces(name: str, query: gevent.Greenlet, file: CsvFile) -> Iterator[bytes]:
    began, at = time.monotonic(), 0
    try:
        while True:
            ended = query.ready()  # asked before the read: what was written before the end is then read too
            if data := file.read(at):
                at += len(data)
                yield data
            elif ended:
                break
            else:
                gevent.sleep(LOOK_S)
        if (error := query.get()) is not None:
            log.warning("database %s: an export broke off after %d rows: %s", name, file.count, error.message)
            # The server closes the connection without the end of the body and logs no traceback for this errno.
            raise ConnectionResetError(errno.ECONNRESET, error.message)
        seconds = time.monotonic() - began
        log.info("database %s: exported %d rows, %d bytes in %.1f s", name, file.count, at, seconds)
    finally:
        _end(query, file)


def _end(query: gevent.Greenlet, file: CsvFile) -> None:
    """Cancels the statement where it still runs."""
    query.kill(block=False)
    file.close()
