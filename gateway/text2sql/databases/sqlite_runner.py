"""The process that runs SQLite's statements, one after another, for one gateway worker (sqlite_processes.py).

SQLite computes inside its caller, and cannot be interrupted while it prepares a statement or works on one value. So the
caller is a process that can be killed: the kernel ends it when a statement's time is over (SIGALRM), refuses it memory
beyond its limit, and limits the files that sorting writes. It is started as a script with `-I -S`, so it has the
standard library and nothing else: no gateway, no secrets of its configuration, no environment.

Standard input is a socket. Each message is a length of four bytes and JSON:

    {"rights": {…}}                                       once, and where the schema has changed
    {"sql", "seconds", "row_limit", "byte_limit"}         a statement; then come, in this order:
    {"names": […]}  {"rows": [[…], …]} …                  {"hex": "…"} stands for bytes
    {"end": "rows", "truncated": false}                   or {"end": "error", "error", "words", "code"},
                                                          or {"end": "memory"}: then the process ends, too
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import struct
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

# The longest value that a statement may read or make; a longer one is an error of SQLite's own.
LENGTH = 32 << 20
# Bytes beyond what the process has when it starts: for SQLite's pages, sorting, prepared statements, and one row.
MEMORY_BYTES = 256 << 20
# Sorting and grouping write what does not fit into the cache to a file that has no name.
FILE_BYTES = 1 << 30
# About so many bytes of rows are one message: decoding it takes the event loop a millisecond.
MESSAGE_BYTES = 1 << 16
HEAD = struct.Struct("!I")

READ, SELECT, FUNCTION = sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION
RECURSIVE = sqlite3.SQLITE_RECURSIVE
JSON_TABLES = {"json_each", "json_tree"}
WARM = "SELECT 1 FROM json_each('[]') UNION ALL SELECT 1 FROM json_tree('[]')"


def connect(path: str) -> sqlite3.Connection:
    """The file, opened for reading alone."""
    if not os.path.isfile(path):
        raise sqlite3.OperationalError(f"there is no file {os.path.basename(path)}")
    uri = f"file:{quote(path)}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=1)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def authorizer(rights: dict[str, Any]) -> Callable[..., int]:
    """What SQLite asks, while it compiles a statement, about everything that the statement would do.

    Reading an open column is fine, so is a listed function, and what the allowed views ask for themselves: not
    anything asked in a view's name, for a common table expression may carry the same one.

    hidden     open table → its closed columns, in lower case
    by_views   [action, its two arguments, the view on whose behalf], what the open views ask for
    names      all tables and views of the file. A table expression (WITH) or a subquery of which no column is read is
               asked for by its own name, with no column: fine, unless a closed table is called so
    functions  the functions that may be called

    SQLite does not ask about the columns that USING and NATURAL compare, nor about those that a FULL JOIN merges by
    them: of these the guard is the only judge (guard/names.py).
    """
    hidden = {table: set(columns) for table, columns in rights["hidden"].items()}
    by_views = {tuple(one) for one in rights["by_views"]}
    names, functions = set(rights["names"]), set(rights["functions"])

    def judge(action: int, first: str | None, second: str | None, _database: str | None, within: str | None) -> int:
        table, column = lower(first), lower(second)
        if action in (SELECT, RECURSIVE) or (action, table, column, lower(within)) in by_views:
            return sqlite3.SQLITE_OK
        if action == READ and table in hidden and column not in hidden[table]:
            return sqlite3.SQLITE_OK
        if action == READ and (table in JSON_TABLES or not (second or table in names)):
            return sqlite3.SQLITE_OK
        if action == FUNCTION and column in functions:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    return judge


def lower(name: str | None) -> str:
    return (name or "").lower()


def size(value: Any) -> int:
    """About how many bytes a value takes as JSON, counted as rows.py counts it."""
    if isinstance(value, str):
        return len(value) * 3 + 3
    return len(value) * 6 + 9 if isinstance(value, bytes) else 8


def rows(
    path: str, judge: Callable[..., int], asked: dict[str, Any], send: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Run a statement, `send` its columns and rows within the caps, and give the message that ends it."""
    connection = connect(path)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LENGTH)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.execute("BEGIN")
        if "json_" in asked["sql"].lower():
            # SQLite makes the table behind json_each once, which the authorizer would take for a CREATE.
            connection.execute(WARM)
        connection.set_authorizer(judge)
        cursor = connection.execute(asked["sql"])
        send({"names": [column[0] for column in cursor.description or ()]})
        batch: list[Any] = []
        in_batch, left, left_bytes = 0, asked["row_limit"], asked["byte_limit"]
        truncated = False
        # Row by row: a batch of wide rows could be far more than `byte_limit`.
        for row in cursor:
            row_bytes = sum(map(size, row))
            left, left_bytes = left - 1, left_bytes - row_bytes
            if left < 0 or left_bytes < 0:
                truncated = True
                break
            batch.append(row)
            in_batch += row_bytes
            if in_batch > MESSAGE_BYTES:
                send({"rows": batch})
                batch, in_batch = [], 0
        if batch:
            send({"rows": batch})
        return {"end": "rows", "truncated": truncated}
    finally:
        connection.close()  # and with it the transaction, unfinished


def answer(path: str, judge: Callable[..., int], asked: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Run a statement and send all that it gives, an error included."""
    try:
        end = rows(path, judge, asked, send)
    except (sqlite3.Error, sqlite3.Warning, UnicodeError, ValueError) as error:
        code = getattr(error, "sqlite_errorname", None) or type(error).__name__
        end = {"end": "error", "error": type(error).__name__, "words": str(error), "code": code}
    # Nothing may come between the last message and the clock: a process that is killed then has said all.
    signal.setitimer(signal.ITIMER_REAL, 0)
    send(end)


def limit_itself() -> None:
    """Close what the worker has open, its listener too; let the kernel refuse memory and files beyond the limits."""
    os.closerange(3, 1 << 20)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the gateway, which then ends this
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
        most = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    # A write beyond the limit is then an error of SQLite's.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def serve(path: str, peer: socket.socket) -> None:
    """Take statements until the gateway closes its end."""

    def send(message: dict[str, Any]) -> None:
        body = json.dumps(message, ensure_ascii=False, default=_bytes).encode("utf-8", "surrogatepass")
        peer.sendall(HEAD.pack(len(body)) + body)

    def read(count: int) -> bytes:
        pieces = []
        while count:
            piece = peer.recv(min(count, 1 << 16))
            if not piece:
                sys.exit(0)
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    judge: Callable[..., int] = authorizer({"hidden": {}, "by_views": [], "names": [], "functions": []})
    while True:
        request = json.loads(read(*HEAD.unpack(read(HEAD.size))))
        if "rights" in request:
            judge = authorizer(request["rights"])
            continue
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        try:
            answer(path, judge, request, send)
        except MemoryError:
            signal.setitimer(signal.ITIMER_REAL, 0)
            send({"end": "memory"})
            sys.exit(0)


def _bytes(value: Any) -> Any:
    return {"hex": bytes(value).hex()}


if __name__ == "__main__":
    limit_itself()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        peer = socket.socket(fileno=0)
        # gevent's sockets do not block, and neither would this end of the pair.
        peer.setblocking(True)
        serve(sys.argv[1], peer)
