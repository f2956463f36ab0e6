"""PostgreSQL through psycopg, which waits for its socket in gevent's way, also in a process that is not patched.

A statement is what DECLARE … CURSOR FOR takes, which is a query and nothing else, and goes by the extended protocol,
which carries one statement. The server stops it after `timeout_s`; a cancel from a second connection stops it when its
greenlet is killed, and the server itself looks every half second whether its client is still there.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import Any

import psycopg
from gevent import select
from gevent.pool import Group
from psycopg import errors
from psycopg.rows import tuple_row
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from gateway.settings import DatabaseSettings
from gateway.text2sql.databases import privileges
from gateway.text2sql.databases.postgresql_values import ARRAY, load_into
from gateway.text2sql.databases.privileges import ExcessPrivilege
from gateway.text2sql.databases.schema import read
from gateway.text2sql.errors import SqlFailed, SqlLimit, refused
from gateway.text2sql.rows import Collected
from prompts.tables import Schema

log = logging.getLogger("sluice.sql")

BATCH = 50
CONNECT_S = 5
CANCEL_S = 2
READ_S = 10  # one statement that reads the schema or sample values
# Milliseconds between two looks of the server at our connection, in case a cancel does not reach it.
CHECK_MS = 500
# SQLSTATE classes that the server's core does not use: PL/pgSQL's RAISE, foreign tables, extensions.
RAISED = ("P0", "HV", "38", "39", "XX")
# Words for the types that an answer usually has; any other is text.
WORDS = {
    "bool": "boolean", "int2": "integer", "int4": "integer", "int8": "integer", "oid": "integer",
    "float4": "number", "float8": "number", "numeric": "decimal", "date": "date", "time": "time", "timetz": "time",
    "timestamp": "datetime", "timestamptz": "timestamptz", "interval": "interval", "bytea": "bytes", "json": "json",
    "jsonb": "json",
}  # fmt: skip


# Types whose values are short; octet_length() takes those of TEXTS as they are.
NARROW = {
    "bool", "int2", "int4", "int8", "oid", "float4", "float8", "date", "time", "timetz", "timestamp", "timestamptz",
    "interval", "uuid",
}  # fmt: skip
TEXTS = {"text", "varchar", "bpchar", "bytea"}


class Connection(psycopg.Connection[Any]):
    """A connection that gives way to other greenlets while it waits."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ARG002 - psycopg's own
        poll = select.poll()
        try:
            wanted = next(gen)
            while True:
                events = (select.POLLIN if wanted & 1 else 0) | (select.POLLOUT if wanted & 2 else 0)
                poll.register(self.pgconn.socket, events)
                ((_, happened),) = poll.poll() or ((0, 0),)
                # psycopg's bits: 1 ready to read, 2 ready to write; a closed socket is ready to read.
                ready = (1 if happened & ~select.POLLOUT else 0) | (2 if happened & select.POLLOUT else 0)
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value


class PostgreSQL:
    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        url = make_url(settings.url).set(drivername="postgresql+psycopg")
        self._engine = create_engine(url, creator=self._connect_to_read, poolclass=NullPool)
        _, self._arguments = self._engine.dialect.create_connect_args(url)
        self._schemas = ""
        self._leaving = Group()  # greenlets that cancel statements whose own greenlet has ended

    def _connect(self) -> Connection:
        # GSSAPI would block where it is tried.
        arguments = {"connect_timeout": CONNECT_S, "gssencmode": "disable", "application_name": "sluice"}
        connection = Connection.connect(**{**arguments, **self._arguments})
        load_into(connection)
        return connection

    def _connect_to_read(self) -> Connection:
        connection = self._connect()
        connection.autocommit = True  # a setting of a transaction would end with it
        connection.execute(f"SET statement_timeout = {READ_S * 1000}")
        if self._settings.timezone:
            connection.execute(f"SET timezone = {_quoted(self._settings.timezone)}")
        connection.autocommit = False
        return connection

    def read_schema(self) -> Schema:
        schema = read(self._engine, self._settings.tables, self._settings.columns, self._settings.samples)
        with self._engine.connect() as connection:
            schema = replace(schema, timezone=connection.exec_driver_sql("SHOW timezone").scalar() or "")
        # Built-in functions and operators come first, then the default schema; no other schema is searched.
        self._schemas = (
            psycopg.sql.SQL(", ")
            .join([psycopg.sql.Identifier("pg_catalog"), psycopg.sql.Identifier(schema.default)])
            .as_string(None)
        )
        return schema

    def excess(self) -> list[ExcessPrivilege]:
        with self._connected() as connection:
            connection.execute("SET search_path = pg_catalog")
            if connection.info.server_version >= 110_000:
                # Compiling the query takes seconds, running it milliseconds.
                connection.execute("SET jit = off")
            # A superuser may do everything, so nothing else is listed.
            rows = list(connection.execute(privileges.SUPERUSER))
            return privileges.gathered(
                rows or connection.execute(privileges.postgresql_query(connection.info.server_version))
            )

    @contextlib.contextmanager
    def _connected(self, statement: str = "") -> Any:
        """A connection for `statement` alone; if the greenlet is killed, the statement is cancelled on the server."""
        try:
            connection = self._connect()
        except psycopg.Error as error:
            raise SqlFailed("the database cannot be reached", retryable=True, detail=_words(error)) from None
        try:
            yield connection
        except errors.QueryCanceled:
            connection.close()
            raise SqlLimit(f"the statement ran longer than {self._settings.timeout_s:g} s and was cancelled") from None
        except psycopg.Error as error:
            connection.close()
            if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
                raise SqlFailed(
                    "the connection to the database was lost", retryable=True, detail=_words(error)
                ) from None
            raise _refused(error, statement) from None
        except BaseException:
            # This greenlet was killed or is out of time and may not wait, so another one sends the cancel.
            self._leaving.spawn(_cancel, connection)
            raise
        else:
            connection.close()

    def query(self, sql: str, collected: Collected, timeout_s: float) -> None:
        if not self._schemas:
            self.read_schema()
        settings = [
            f"statement_timeout = {int(timeout_s * 1000)}",
            "lock_timeout = 1000",
            f"idle_in_transaction_session_timeout = {int(timeout_s * 1000) + 10_000}",
            f"search_path = {self._schemas}",
            "standard_conforming_strings = on",
            f"timezone = {_quoted(self._settings.timezone)}" if self._settings.timezone else "",
        ]
        with self._connected(sql) as connection:
            if connection.info.server_version >= 140_000:
                settings.append(f"client_connection_check_interval = {CHECK_MS}")
            # autocommit: psycopg sends no BEGIN of its own.
            connection.autocommit = True
            connection.execute("BEGIN READ ONLY; " + "; ".join(f"SET LOCAL {item}" for item in settings if item))
            cursor = connection.cursor(name="rows", row_factory=tuple_row)
            cursor.execute(sql)
            columns = list(cursor.description or ())
            collected.describe(
                [column.name for column in columns], [_word(connection, column.type_code) for column in columns]
            )
            kinds = [_type_name(connection, column.type_code) for column in columns]
            is_bounded = {*kinds} <= NARROW
            if not is_bounded:
                cursor.close()
                cursor = connection.cursor(name="rows", row_factory=tuple_row)
                cursor.execute(within_bytes(sql, kinds, self._settings.byte_limit))
            while batch := cursor.fetchmany(BATCH):
                if not is_bounded:
                    batch, is_over = _until_over(batch)
                    collected.truncated = collected.truncated or is_over
                if not collected.add(batch) or collected.truncated:
                    break
            connection.execute("ROLLBACK")

    def close(self) -> None:
        self._leaving.join(CANCEL_S)
        self._engine.dispose()


def within_bytes(sql: str, kinds: list[str], most: int) -> str:
    """`sql` in a query that gives its rows as they are, in their order, until they have `most` bytes.

    From the first row on that is too much every value is NULL, and a last column, added here, is true: a value of
    100 MB stays on the server. The statement itself is read unchanged; its columns go through by their places.
    """
    names = [f"c{n}" for n in range(1, len(kinds) + 1)]
    sizes = [
        f"coalesce(octet_length({name}{'' if kind in TEXTS else '::text'}), 0)"
        for name, kind in zip(names, kinds, strict=True)
        if kind not in NARROW
    ]
    values = ", ".join(f"CASE WHEN size <= {most:d} THEN {name} END" for name in names)
    return (  # the statement passed the guard; what is added are numbers and names of ours
        f"SELECT {values}, size > {most:d} FROM (SELECT *, sum(({' + '.join(sizes)})::bigint) "  # noqa: S608
        f"OVER (ROWS UNBOUNDED PRECEDING) AS size FROM ({sql}\n) AS q({', '.join(names)})) AS r"
    )


def _until_over(batch: list[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], bool]:
    """The rows of within_bytes() without its last column, up to the first that was too much; whether there was one."""
    kept = [row[:-1] for row in batch if not row[-1]]
    return kept, len(kept) < len(batch)


def _quoted(text: str) -> str:
    """`text` as SQL writes it; standard_conforming_strings is on."""
    return "'" + text.replace("'", "''") + "'"


def _cancel(connection: Connection) -> None:
    try:
        connection.cancel_safe(timeout=CANCEL_S)
    except psycopg.Error as error:
        log.warning("a statement could not be cancelled: %s", _words(error))
    finally:
        connection.close()


def _refused(error: psycopg.Error, statement: str) -> SqlFailed:
    state = error.sqlstate or type(error).__name__
    if state.startswith(RAISED):
        # RAISE in a function may put any value into the message.
        return SqlFailed(f"the database refused the statement: a function raised an error of its own ({state})")
    words = error.diag.message_primary or str(error)
    return refused(words, f"SQLSTATE {state}", statement, about_statement=state.startswith("42"))


def _words(error: psycopg.Error) -> str:
    words = error.diag.message_primary or str(error) or type(error).__name__
    return words.strip().split("\n")[0][:300]


def _type_name(connection: Connection, code: int) -> str:
    info = connection.adapters.types.get(code)
    return "" if info is None or info.array_oid == code else info.name


def _word(connection: Connection, code: int) -> str:
    info = connection.adapters.types.get(code)
    if info is None:
        return "text"
    return ARRAY if info.array_oid == code else WORDS.get(info.name, "text")


def open_server(settings: DatabaseSettings) -> PostgreSQL:
    """The PostgreSQL database that `settings.url` names."""
    return PostgreSQL(settings)
