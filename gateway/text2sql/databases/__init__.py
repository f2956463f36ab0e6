"""The configured databases: what each one holds, whether a statement may run there, and its rows.

    sqlite.py       in threads of its own, the file opened for reading alone
    postgresql.py   psycopg, waiting in gevent's way
    mysql.py        PyMySQL over a gevent socket; MySQL and MariaDB

Each has a class with the same few members (`Server`); a connection serves one statement and is dropped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any, Protocol

import gevent
from gevent.lock import BoundedSemaphore, RLock
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from gateway.answers.steps import Rows
from gateway.settings import DatabaseSettings, TextToSql
from gateway.text2sql.databases.privileges import Excess
from gateway.text2sql.databases.schema import Unmatched
from gateway.text2sql.errors import SqlFailed, SqlLimit
from gateway.text2sql.examples import Examples
from gateway.text2sql.explain import explain
from gateway.text2sql.guard.judge import DIALECTS, Verdict, judge
from gateway.text2sql.rows import Collected
from prompts import render
from prompts.schema_linking import Narrowing
from prompts.tables import Schema

log = logging.getLogger("sluice.sql")

# Reading the schema may take so long, with all sample values.
READ_S = 30
# Outside of the server's own limit, for a server that does not keep it.
GRACE_S = 0.25
# Judging a role may take so long.
CHECK_S = 10
ADVICE = "Give it a role that can only SELECT, or say in unsafe_role why this one is accepted"
MODULES = {"sqlite": "sqlite", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}


class Server(Protocol):
    """One database behind its driver; nothing here blocks the event loop."""

    def read_schema(self) -> Schema:
        """The allowed tables as they are now; raises SQLAlchemyError."""

    def excess(self) -> list[Excess]:
        """What the role may do besides reading; [] for one that can only SELECT. Raises SqlFailed."""

    def query(self, sql: str, collected: Collected, timeout_s: float) -> None:
        """Run one statement in a read-only transaction that is rolled back; raises SqlFailed, SqlLimit.

        The greenlet may be killed at any point: the statement is then cancelled on the server.
        """

    def close(self) -> None: ...


class Overdue(BaseException):
    """The time is up: no driver may catch it on its way."""


class Unanswered(BaseException):
    """The role or the schema was not read in time; not Overdue, for a statement's time may end meanwhile."""


class Database:
    """One row of `databases:`."""

    def __init__(self, name: str, settings: DatabaseSettings) -> None:
        self.name = name
        self.settings = settings
        backend = make_url(settings.url).get_backend_name()
        self.dialect = DIALECTS[backend]
        module: Any = import_module(f"gateway.text2sql.databases.{MODULES[backend]}")
        self.server: Server = module.open_server(settings)
        self._slots = BoundedSemaphore(settings.connections)
        self._reading = RLock()
        self._schema: Schema | None = None
        self._read_at = 0.0
        self._refreshing = False
        self._accepted = False
        self._excess: list[Excess] = []
        self._narrowing: Narrowing | None = None
        self.examples = Examples(name, settings)

    def schema(self) -> Schema:
        """The allowed tables, at most about `refresh_s` old: an old one is served while the new one is read.

        Raises SqlFailed where it was never read and cannot be.
        """
        if self._schema is None:
            with self._reading:
                if self._schema is None:
                    self._read()
        elif time.monotonic() - self._read_at > self.settings.refresh_s and not self._refreshing:
            self._refreshing = True
            gevent.spawn(self._refresh)
        assert self._schema is not None
        return self._schema

    def _read(self) -> None:
        try:
            with gevent.Timeout(READ_S, Unanswered()):
                schema = self.server.read_schema()
        except Unanswered:
            raise SqlFailed(f"the database {self.name} cannot be read within {READ_S} s", retryable=True) from None
        except Unmatched as error:
            # Taken for nothing, the key would leave columns open that the owner closed.
            log.error("database %s is closed: databases.%s.%s", self.name, self.name, error)
            raise SqlFailed(
                f"the database {self.name} is not asked: a key of its configuration names nothing"
            ) from None
        except (SQLAlchemyError, OSError) as error:
            # Addresses and roles are for the owner.
            raise self._told(
                SqlFailed(f"the database {self.name} cannot be read", retryable=True, detail=_reason(error))
            ) from error
        if schema.missing:
            log.warning("database %s has no %s", self.name, ", ".join(schema.missing))
        # The same schema stays the same object, and what was prepared for it stays good.
        self._schema = schema if schema != self._schema else self._schema
        self._read_at = time.monotonic()

    def _refresh(self) -> None:
        try:
            self._read()
            if self._accepted:
                # Rights may have been granted meanwhile.
                self._judge_role()
        except SqlFailed as error:
            if error.retryable:
                log.warning("%s; the schema read before is still used", error.message)
            self._read_at = time.monotonic()
        finally:
            self._refreshing = False

    def narrowed(self, question: str, tokens: int) -> Schema:
        """The tables that `question` needs, in about `tokens` tokens of a prompt; raises SqlFailed as schema() does."""
        schema = self.schema()
        if self._narrowing is None or self._narrowing.schema is not schema:
            prepare = partial(Narrowing, schema, partial(render.table_text, dialect=schema.dialect))
            # Preparing hundreds of tables takes a while, which the other streams would have to wait.
            large = len(schema.tables) > 50
            self._narrowing = gevent.get_hub().threadpool.apply(prepare) if large else prepare()
        return self._narrowing.choose(question, tokens)

    def judge(self, sql: str) -> Verdict:
        """The guard's verdict on a statement."""
        return judge(sql, self.schema(), self.settings.row_limit)

    def check_role(self) -> None:
        """Judge the role's rights, once; raises SqlFailed where they are too wide and nobody accepted that so."""
        if not self._accepted:
            # Many first questions at once judge it once.
            with self._reading:
                if not self._accepted:
                    self._judge_role()

    def _judge_role(self) -> None:
        try:
            with gevent.Timeout(CHECK_S, Unanswered()):
                excess = self.server.excess()
        except SqlFailed as error:
            raise self._told(error) from None
        except Unanswered:
            raise SqlFailed(f"the database {self.name} does not answer", retryable=True) from None
        told, is_news = ", ".join(one.whole for one in excess), excess != self._excess
        self._excess = excess
        self._accepted = not excess or bool(self.settings.unsafe_role)
        if not self._accepted:
            if is_news:
                log.error("database %s is closed: its role can do more than read: %s. %s", self.name, told, ADVICE)
            # What is closed to whoever asks is not named to them.
            kinds = ", ".join(one.what for one in excess)
            raise SqlFailed(
                f"the database {self.name} is not asked, because its role can do more than read: {kinds}. {ADVICE}"
            )
        if excess and is_news:
            log.warning(
                "database %s: its role can do more than read (%s), accepted: %s",
                self.name, told, self.settings.unsafe_role,
            )  # fmt: skip

    def _told(self, error: SqlFailed) -> SqlFailed:
        """`error`, whose details are in the log now."""
        if error.detail:
            log.warning("database %s: %s: %s", self.name, error.message, error.detail)
        return error

    def check(self) -> None:
        """Judge the role where statements are run, and read the schema, for the log; raises nothing."""
        try:
            if self.settings.execute:
                self.check_role()
            self.schema()
        except SqlFailed as error:
            # A role that is too much has been told by then. What cannot be reached is tried again by a question.
            if error.retryable:
                log.warning("database %s: %s; the first question tries again", self.name, error.message)
        except Exception:
            log.exception("database %s cannot be checked", self.name)

    def run(self, verdict: Verdict) -> Rows:
        """The rows of a statement that passed; raises SqlFailed, SqlLimit."""
        began = time.monotonic()
        collected = Collected(self.settings.row_limit, self.settings.byte_limit)
        waiting = True
        try:
            with gevent.Timeout(self.settings.timeout_s + GRACE_S, Overdue()), self._slots:
                self.check_role()
                # What it waited for its turn is gone; a turn that comes with the end of the time is none.
                left_s = self.settings.timeout_s - (time.monotonic() - began)
                if left_s <= 0:
                    raise Overdue
                waiting = False
                self.server.query(verdict.limited, collected, left_s)
        except SqlFailed as error:
            raise self._told(error) from None
        except Overdue:
            if waiting:
                raise SqlLimit(
                    f"the database {self.name} is busy: no turn within {self.settings.timeout_s:g} s"
                ) from None
            raise SqlLimit(f"the statement ran longer than {self.settings.timeout_s:g} s and was cancelled") from None
        elapsed_ms = round((time.monotonic() - began) * 1000, 1)
        explanation = None
        if verdict.tree is not None:
            explanation = explain(verdict.tree, self.schema(), DIALECTS[self.schema().dialect])
        return Rows(collected.columns(), collected.rows, collected.truncated, elapsed_ms, explanation)

    def close(self) -> None:
        self.server.close()
        self.examples.close()


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0][:200]


class Databases:
    """The configured databases, by name; nothing is opened before it is asked."""

    def __init__(self, configured: Mapping[str, DatabaseSettings], text2sql: TextToSql | None = None) -> None:
        self.text2sql = text2sql or TextToSql()
        self._databases = {name: Database(name, settings) for name, settings in configured.items()}

    def get(self, name: str | None) -> Database | None:
        """The database called `name`; the first one for "" or None; None for "none" and where none is configured.

        Raises KeyError for a name that is not configured.
        """
        if name == "none" or not self._databases:
            if name in ("none", "", None):
                return None
            raise KeyError(name)
        return self._databases[name] if name else next(iter(self._databases.values()))

    def __iter__(self) -> Iterator[Database]:
        return iter(self._databases.values())

    def __contains__(self, name: str) -> bool:
        return name == "none" or name in self._databases

    def check(self) -> None:
        """Judge every database in the background, each by itself: one that does not answer delays nothing."""
        for database in self:
            gevent.spawn(database.check)

    def close(self) -> None:
        for database in self:
            database.close()
