"""MySQL and MariaDB through PyMySQL, over a gevent socket.

The connection does not take several statements in one message, and rows come one by one (an unbuffered cursor). The
server stops a statement after `timeout_s`; a KILL from a second connection stops it when its greenlet is killed.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gevent
import pymysql
from gevent import ssl
from gevent.pool import Group
from pymysql.constants import FIELD_TYPE
from pymysql.cursors import SSCursor
from sqlalchemy import create_engine, make_url
from sqlalchemy.pool import NullPool

from gateway.settings import DatabaseSettings
from gateway.text2sql.databases import pymysql_connection
from gateway.text2sql.databases.privileges import ExcessPrivilege, mysql_excess
from gateway.text2sql.databases.schema import read
from gateway.text2sql.databases.zones import zone
from gateway.text2sql.errors import SqlFailed, SqlLimit, refused
from gateway.text2sql.rows import Collected
from prompts.tables import Schema

log = logging.getLogger("sluice.sql")

# The longest GROUP_CONCAT: a REPLACE over many megabytes takes MariaDB minutes, and no KILL ends it.
JOINED_BYTES = 1 << 16
# Modes that change how text is read; the combined ones switch the others on.
READING_MODES = (
    "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "PIPES_AS_CONCAT", "IGNORE_SPACE", "REAL_AS_FLOAT", "HIGH_NOT_PRECEDENCE",
    "EMPTY_STRING_IS_NULL", "SIMULTANEOUS_ASSIGNMENT", "ANSI", "ORACLE", "MSSQL", "DB2", "MAXDB", "POSTGRESQL",
    "NO_KEY_OPTIONS", "NO_TABLE_OPTIONS", "NO_FIELD_OPTIONS", "PAD_CHAR_TO_FULL_LENGTH",
)  # fmt: skip
CONNECT_S = 5
CANCEL_S = 2
READ_S = 10  # one statement that reads the schema or sample values
# Execution time exceeded (MySQL, MariaDB), interrupted, lock wait.
LIMITS = {3024, 1969, 1317, 1205}
UNREACHABLE = {2002, 2003, 2005, 2006, 2013, 2014, 2055, 1040, 1042, 1043, 1053, 1129, 1203}
WORDS = {
    FIELD_TYPE.TINY: "integer", FIELD_TYPE.SHORT: "integer", FIELD_TYPE.LONG: "integer", FIELD_TYPE.INT24: "integer",
    FIELD_TYPE.LONGLONG: "integer", FIELD_TYPE.YEAR: "integer", FIELD_TYPE.FLOAT: "number",
    FIELD_TYPE.DOUBLE: "number", FIELD_TYPE.DECIMAL: "decimal", FIELD_TYPE.NEWDECIMAL: "decimal",
    FIELD_TYPE.DATE: "date", FIELD_TYPE.NEWDATE: "date", FIELD_TYPE.TIME: "interval", FIELD_TYPE.DATETIME: "datetime",
    FIELD_TYPE.TIMESTAMP: "datetime", FIELD_TYPE.JSON: "json", FIELD_TYPE.BIT: "bytes",
}  # fmt: skip
# Errors found before any row is read: unknown or closed names, wrong syntax.
ABOUT_STATEMENT = {
    1046, 1049, 1051, 1052, 1054, 1055, 1056, 1060, 1064, 1066, 1109, 1111, 1140, 1142, 1143, 1146, 1149, 1222, 1241,
    1247, 1248, 1305, 1370, 1582, 1583, 1584, 1630,
}  # fmt: skip
# SIGNAL
RAISED = 1644
# ER_INVALID_ROLE
NOT_GRANTED = 1959
# The server's version, and its zone: by name, or as the offset that it has now.
ABOUT = """SELECT VERSION(), IF(@@time_zone <> 'SYSTEM', @@time_zone, CONCAT(
    IF(NOW() < UTC_TIMESTAMP(), '-', '+'), TIME_FORMAT(TIMEDIFF(
        GREATEST(NOW(), UTC_TIMESTAMP()), LEAST(NOW(), UTC_TIMESTAMP())), '%%H:%%i')))"""
TEXTS = {
    FIELD_TYPE.BLOB, FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB, FIELD_TYPE.LONG_BLOB, FIELD_TYPE.STRING,
    FIELD_TYPE.VAR_STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.GEOMETRY,
}  # fmt: skip
BINARY_CHARSET = 63


class MySQL:
    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        url = make_url(settings.url).set(drivername="mysql+pymysql")
        self._engine = create_engine(url, creator=self._connect_to_read, poolclass=NullPool)
        _, self._arguments = self._engine.dialect.create_connect_args(url)
        self._leaving = Group()  # greenlets that KILL statements whose own greenlet has ended
        # MULTI_STATEMENTS would let the server take two statements; FOUND_ROWS is for writes alone.
        self._arguments.pop("client_flag", None)
        # One context for all connections: making one reads all certificates of the system, which takes 20 ms.
        options = self._arguments.pop("ssl", None)
        self._tls = _tls(options or {})
        self._needs_tls = bool(options)

    def _connect(self) -> pymysql.Connection[Any]:
        arguments = {"charset": "utf8mb4", "connect_timeout": CONNECT_S, "local_infile": False}
        if self._needs_tls:
            arguments["ssl"] = self._tls
        else:
            arguments["ssl_disabled"] = True
        connection = pymysql_connection.Connection(
            **{**arguments, **self._arguments}, defer_connect=True, autocommit=True
        )
        if not self._needs_tls:
            pymysql_connection.offer_tls(connection, self._tls)
        # The limit covers a peer that accepts and stays silent: in this protocol the server speaks first.
        with gevent.Timeout(CONNECT_S, TimeoutError("timed out")):
            pymysql_connection.connect(connection, CONNECT_S)
        return connection

    def _connect_to_read(self) -> pymysql.Connection[Any]:
        connection = self._connect()
        limit = f"max_statement_time = {READ_S}" if _is_mariadb(connection) else f"max_execution_time = {READ_S * 1000}"
        connection.query(f"SET SESSION {limit}")
        return connection

    def read_schema(self) -> Schema:
        schema = read(self._engine, self._settings.tables, self._settings.columns, self._settings.samples)
        with self._engine.connect() as connection:
            ((version, zone),) = connection.exec_driver_sql(ABOUT).fetchall()
        product = "mariadb" if "mariadb" in version.lower() else ""
        return replace(schema, product=product, timezone=self._settings.timezone or zone)

    def excess(self) -> list[ExcessPrivilege]:
        with self._connected() as connection, connection.cursor() as cursor:
            is_mariadb = _is_mariadb(connection)
            cursor.execute("SHOW GRANTS")
            grants = [grant for (grant,) in cursor.fetchall()]
            if is_mariadb:
                # MariaDB shows the rights of one active role at a time, so each role is activated in turn.
                cursor.execute("SELECT DISTINCT role_name FROM information_schema.applicable_roles")
                for (role,) in cursor.fetchall():
                    try:
                        cursor.execute("SET ROLE `{}`".format(role.replace("`", "``")))
                    except pymysql.Error as error:
                        if error.args[:1] != (NOT_GRANTED,):
                            raise
                        continue  # a role within another one cannot be activated by itself
                    cursor.execute("SHOW GRANTS")
                    grants += [grant for (grant,) in cursor.fetchall()]
            return mysql_excess(dict.fromkeys(grants), is_mariadb)

    @contextlib.contextmanager
    def _connected(self, statement: str = "") -> Any:
        """A connection for `statement` alone; if the greenlet is killed, the statement is killed on the server too."""
        try:
            connection = self._connect()
        except (pymysql.Error, OSError) as error:
            raise SqlFailed("the database cannot be reached", retryable=True, detail=_words(error)) from None
        try:
            yield connection
        except pymysql.Error as error:
            pymysql_connection.drop(connection)
            code = error.args[0] if error.args else 0
            if code in LIMITS:
                limit = self._settings.timeout_s
                raise SqlLimit(f"the statement ran longer than {limit:g} s and was cancelled") from None
            if code in UNREACHABLE:
                raise SqlFailed(
                    "the connection to the database was lost", retryable=True, detail=_words(error)
                ) from None
            raise _refused(error, statement, self._arguments.get("database") or "") from None
        except BaseException:
            # This greenlet was killed or is out of time and may not wait, so another one sends the KILL.
            thread = connection.thread_id()
            pymysql_connection.drop(connection)
            self._leaving.spawn(self._kill, thread)
            raise
        else:
            connection.close()

    def _kill(self, thread: int) -> None:
        try:
            connection = self._connect()
            try:
                connection.query(f"KILL {thread:d}")
            finally:
                connection.close()
        except (pymysql.Error, OSError) as error:
            # 1094: it has ended by itself.
            if error.args[:1] != (1094,):
                log.warning("a statement could not be cancelled: %s", _words(error))

    def query(self, sql: str, collected: Collected, timeout_s: float) -> None:
        with self._connected(sql) as connection:
            limit = f"max_execution_time = {timeout_s * 1000:.0f}"
            if _is_mariadb(connection):
                limit = f"max_statement_time = {timeout_s:g}"
            connection.query(
                f"SET SESSION {limit}, {_sql_mode()}lock_wait_timeout = 1, "
                f"innodb_lock_wait_timeout = 1, group_concat_max_len = {JOINED_BYTES}"
                + (f", time_zone = {connection.escape(self._settings.timezone)}" if self._settings.timezone else "")
            )
            connection.query("START TRANSACTION READ ONLY")
            cursor = connection.cursor(SSCursor)
            cursor.execute(sql)
            fields = pymysql_connection.fields(cursor)
            if fields is None:
                raise SqlFailed("the statement gives no rows")
            zoned = zone(self._settings.timezone) if self._settings.timezone else None
            readers = [_reader(field, zoned) for field in fields]
            are_read = any(readers)
            words = [("timestamptz" if zoned and _is_stamp(field) else _word(field)) for field in fields]
            collected.describe([field.name for field in fields], words)
            # Row by row: a batch of wide rows could be far more than `byte_limit`. One that is more by itself stays in
            # the socket.
            connection.row_bytes = self._settings.byte_limit
            while (row := _next_row(cursor, collected)) is not None:
                if not collected.add([_read(row, readers) if are_read else row]):
                    break
            if collected.truncated:
                # The protocol would have us read all remaining rows first: drop the connection instead.
                pymysql_connection.drop(connection)
                self._leaving.spawn(self._kill, connection.thread_id())
                return
            connection.rollback()

    def close(self) -> None:
        self._leaving.join(CANCEL_S)
        self._engine.dispose()


def _sql_mode() -> str:
    """Sets sql_mode without what changes how text is read: quotes and backslashes then mean what the guard read.

    The rest stays as the database has it: ONLY_FULL_GROUP_BY and strictness say which statements are errors.
    """
    mode = "CONCAT(',', @@SESSION.sql_mode, ',')"
    for name in READING_MODES:
        mode = f"REPLACE({mode}, ',{name},', ',')"
    return f"sql_mode = TRIM(BOTH ',' FROM {mode}), "


def _is_mariadb(connection: pymysql.Connection[Any]) -> bool:
    return "mariadb" in connection.get_server_info().lower()


def _tls(options: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ca"), capath=options.get("capath"))
    if not (options.get("ca") or options.get("capath")):
        # Without a configured authority a self-signed certificate cannot be checked.
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif options.get("check_hostname") in (False, "false"):
        context.check_hostname = False
    if options.get("cert"):
        context.load_cert_chain(options["cert"], options.get("key"))
    return context


def _next_row(cursor: SSCursor, collected: Collected) -> Any:
    try:
        return cursor.fetchone()
    except pymysql_connection.RowTooLarge:
        collected.truncated = True
        return None


def _is_stamp(field: Any) -> bool:
    return bool(field.type_code == FIELD_TYPE.TIMESTAMP)


def _reader(field: Any, zoned: datetime.tzinfo | None) -> Callable[[Any], Any] | None:
    """What the driver leaves undone for a column: the session's zone of a TIMESTAMP, the truth of a BIT(1)."""
    if zoned is not None and _is_stamp(field):
        return lambda value: value.replace(tzinfo=zoned) if isinstance(value, datetime.datetime) else value
    if _is_flag(field):
        return lambda value: value if value is None else value != b"\0"
    return None


def _read(row: Any, readers: list[Callable[[Any], Any] | None]) -> list[Any]:
    return [reader(value) if reader else value for value, reader in zip(row, readers, strict=True)]


def _is_flag(field: Any) -> bool:
    return bool(field.type_code == FIELD_TYPE.BIT and field.length == 1)


def _word(field: Any) -> str:
    if _is_flag(field):
        return "boolean"
    if field.type_code in TEXTS:
        return "bytes" if field.charsetnr == BINARY_CHARSET else "text"
    return WORDS.get(field.type_code, "text")


def _refused(error: pymysql.Error, statement: str, database: str) -> SqlFailed:
    code, words = error.args[0] if error.args else 0, str(error.args[1]) if len(error.args) > 1 else ""
    if code == RAISED:
        # SIGNAL in a stored function may put any value into the message.
        return SqlFailed(f"the database refused the statement: a function raised an error of its own (error {code})")
    # The user and the database are not part of the statement.
    words = re.sub(r" (?:to|for) user '.*?'@'.*?'", "", words)
    words = words.replace(f"`{database}`.", "").replace(f"'{database}.", "'") if database else words
    return refused(words, f"error {code}", statement, about_statement=code in ABOUT_STATEMENT)


def _words(error: Exception) -> str:
    words = str(error.args[1]) if len(error.args) > 1 else str(error) or type(error).__name__
    return words.strip().split("\n")[0][:300]


def open_server(settings: DatabaseSettings) -> MySQL:
    """The MySQL or MariaDB database that `settings.url` names."""
    return MySQL(settings)
