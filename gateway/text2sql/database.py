"""The configured databases: the schema of each one, the guard's verdict on a statement, and the rows it gives."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore, RLock
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from gateway.answers.steps import Rows
from gateway.settings import DatabaseSettings, TextToSql
from gateway.text2sql.configured import Configured
from gateway.text2sql.cpu_slot import in_cpu_slot
from gateway.text2sql.databases import DIALECTS
from gateway.text2sql.databases.privileges import ExcessPrivilege
from gateway.text2sql.databases.schema import Unmatched
from gateway.text2sql.databases.server import Server
from gateway.text2sql.errors import SqlFailed, SqlLimit
from gateway.text2sql.examples import Examples
from gateway.text2sql.explain import explain
from gateway.text2sql.guard.judge import Verdict, judge
from gateway.text2sql.rows import Collected
from prompts import render
from prompts.schema_linking import SchemaLinker
from prompts.tables import Schema

log = logging.getLogger("sluice.sql")

# Seconds that reading the schema may take, with all sample values.
READ_S = 30
# Seconds after the server's own limit when our deadline cancels the statement: a server may miss its limit.
GRACE_S = 0.25
# A statement that is longer is judged in a thread: 20,000 characters take 100 ms, which every stream would wait.
THREAD_CHARACTERS = 1_500
# Seconds that judging a role may take.
CHECK_S = 10
ADVICE = "Give it a role that can only SELECT, or say in unsafe_role why this one is accepted"


class Overdue(BaseException):
    """The statement's time is up. A BaseException, so that no driver catches it on its way."""


class Unanswered(BaseException):
    """The role or the schema was not read in time. Distinct from Overdue: a statement's time may end meanwhile."""


class Database:
    """One row of `databases:`."""

    def __init__(self, name: str, settings: DatabaseSettings) -> None:
        self.name = name
        self.settings = settings
        self.dialect = DIALECTS[make_url(settings.url).get_backend_name()]
        module: Any = import_module(f"gateway.text2sql.databases.{self.dialect.module}")
        self.server: Server = module.open_server(settings)
        # Why it could not be asked at the last try, for health and metrics; None: it could.
        self.trouble: str | None = None
        self._slots = BoundedSemaphore(settings.connections)
        self._reading = RLock()
        self._schema: Schema | None = None
        self._read_at = 0.0
        self._refreshing = False
        self._accepted = False
        self._excess: list[ExcessPrivilege] = []
        self._linker: SchemaLinker | None = None
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

    @property
    def schema_if_read(self) -> Schema | None:
        """The schema as it was read last; None before that. For callers that must not wait for the database."""
        return self._schema

    def _read(self) -> None:
        with self._noted():
            self._read_schema()

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        """Keep in `trouble` whether the server could be asked."""
        try:
            yield
        except SqlFailed as error:
            self.trouble = error.message
            raise
        self.trouble = None

    def _read_schema(self) -> None:
        try:
            with gevent.Timeout(READ_S, Unanswered()):
                schema = self.server.read_schema()
        except Unanswered:
            raise SqlFailed(f"the database {self.name} cannot be read within {READ_S} s", retryable=True) from None
        except Unmatched as error:
            # If the key were ignored, columns that the owner closed would be open.
            log.error("database %s is closed: databases.%s.%s", self.name, self.name, error)
            raise SqlFailed(
                f"the database {self.name} is closed: a key of its configuration names nothing open; see the log"
            ) from None
        except (SQLAlchemyError, OSError) as error:
            # Addresses and roles go to the log alone.
            raise self._logged(
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
                # The owner may have granted more rights since the last look.
                self._judge_role()
        except SqlFailed as error:
            if error.retryable:
                log.warning("%s; the schema read before is still used", error.message)
            self._read_at = time.monotonic()
        finally:
            self._refreshing = False

    def linked_schema(self, question: str, tokens: int) -> Schema:
        """The tables that `question` needs, in about `tokens` tokens of a prompt; raises SqlFailed as schema() does."""
        schema = self.schema()
        if self._linker is None or self._linker.schema is not schema:
            prepare = partial(SchemaLinker, schema, partial(render.table_text, dialect=schema.dialect))
            # Preparing hundreds of tables takes tens of milliseconds: a thread does it, so no stream waits.
            large = len(schema.tables) > 50
            self._linker = gevent.get_hub().threadpool.apply(prepare) if large else prepare()
        return self._linker.choose(question, tokens)

    def judge(self, sql: str) -> Verdict:
        """The guard's verdict on a statement; a long one is judged in a thread, others in turn with other streams."""
        schema = self.schema()

        def call() -> Verdict:
            return judge(sql, schema, self.settings.row_limit)

        return in_cpu_slot(call) if len(sql) <= THREAD_CHARACTERS else gevent.get_hub().threadpool.apply(call)

    def check_role(self) -> None:
        """Judge the role's rights, once; raises SqlFailed where they are too wide and not accepted (`unsafe_role`)."""
        if not self._accepted:
            # Several first questions at once ask the server once.
            with self._reading:
                if not self._accepted:
                    with self._noted():
                        self._judge_role()

    def _judge_role(self) -> None:
        try:
            with gevent.Timeout(CHECK_S, Unanswered()):
                excess = self.server.excess()
        except SqlFailed as error:
            raise self._logged(error) from None
        except Unanswered:
            raise SqlFailed(f"the database {self.name} does not answer", retryable=True) from None
        listed, is_news = ", ".join(one.whole for one in excess), excess != self._excess
        self._excess = excess
        self._accepted = not excess or bool(self.settings.unsafe_role)
        if not self._accepted:
            if is_news:
                log.error("database %s is closed: its role can do more than read: %s. %s", self.name, listed, ADVICE)
            # A caller learns the kinds of excess privileges, not the names of closed objects.
            kinds = ", ".join(one.what for one in excess)
            raise SqlFailed(
                f"the database {self.name} is not asked, because its role can do more than read: {kinds}. {ADVICE}"
            )
        if excess and is_news:
            log.warning(
                "database %s: its role can do more than read (%s), accepted: %s",
                self.name, listed, self.settings.unsafe_role,
            )  # fmt: skip

    def _logged(self, error: SqlFailed) -> SqlFailed:
        """`error`, after its details were written to the log."""
        if error.detail:
            log.warning("database %s: %s: %s", self.name, error.message, error.detail)
        return error

    def check(self) -> None:
        """Judge the role where statements are run, and read the schema, for the log; raises nothing."""
        try:
            if self.settings.execute:
                self.check_role()
            if self.trouble is None:
                self.schema()
            else:
                self._read()
        except SqlFailed as error:
            # An excessive role was logged already. A database that cannot be reached is tried again by a question.
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
                # The wait for a slot counts; a slot that comes at the deadline is too late.
                left_s = self.settings.timeout_s - (time.monotonic() - began)
                if left_s <= 0:
                    raise Overdue
                waiting = False
                self.server.query(verdict.limited, collected, left_s)
        except SqlFailed as error:
            # Only a server that cannot be asked is worth another try.
            if error.retryable:
                self.trouble = error.message
            raise self._logged(error) from None
        except Overdue:
            if waiting:
                raise SqlLimit(
                    f"the database {self.name} is busy: no free connection within {self.settings.timeout_s:g} s"
                ) from None
            raise SqlLimit(f"the statement ran longer than {self.settings.timeout_s:g} s and was cancelled") from None
        self.trouble = None
        elapsed_ms = round((time.monotonic() - began) * 1000, 1)
        explanation = None
        if verdict.tree is not None:
            explanation = explain(verdict.tree, self.schema(), self.dialect.sqlglot)
        return Rows(collected.columns(), collected.rows, collected.truncated, elapsed_ms, explanation)

    def close(self) -> None:
        self.server.close()
        self.examples.close()


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().split("\n")[0][:200]


class Databases(Configured):
    """The configured databases, by name; a connection is opened by the first question."""

    def __init__(self, configured: Mapping[str, DatabaseSettings], text2sql: TextToSql | None = None) -> None:
        super().__init__({name: Database(name, settings) for name, settings in configured.items()}, text2sql)

    def get(self, name: str | None) -> Database | None:
        database: Database | None = super().get(name)
        return database

    def __iter__(self) -> Iterator[Database]:
        return super().__iter__()
