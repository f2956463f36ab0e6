"""The confirmed pairs of one database that a question is shown with: the team's file and what feedback confirmed."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar, cast

from gevent.threadpool import ThreadPool

from gateway.settings import DatabaseSettings
from gateway.text2sql.guard.judge import judge
from prompts.example_store import ExampleStore, Pair, filled, load, merged, one_line
from prompts.tables import Schema

log = logging.getLogger("sluice.sql")
T = TypeVar("T")

MOST = 6


class Examples:
    """Looked up and kept in a thread of its own, for a disk may let its caller wait."""

    def __init__(self, name: str, settings: DatabaseSettings) -> None:
        self._name = name
        self._settings = settings
        self._thread = ThreadPool(1)
        self._memory: ExampleStore | None = None
        self._store_failed = False  # and that is in the log
        self._file: tuple[Schema, list[Pair], ExampleStore] | None = None

    @property
    def remembers(self) -> bool:
        """Whether the owner has named a file for what feedback confirms."""
        return bool(self._settings.memory)

    def nearest(self, question: str, schema: Schema) -> list[Pair]:
        """The pairs to show with `question`, those whose tables are as they were; [] where there are none."""
        if not self._settings.examples and not self.remembers:
            return []
        return self._in_thread(self._nearest, question, schema)

    def _nearest(self, question: str, schema: Schema) -> list[Pair]:
        pairs, index = self._from_file(schema)
        near = pairs if len(pairs) <= MOST else index.nearest(question, MOST)
        remembered = self._remembered(question) if self.remembers else []
        ours = {pair.question for pair in pairs}  # the team's word on a question counts
        kept = [
            pair for pair in remembered if pair.schema_hash == schema.hash_of(pair.tables) and pair.question not in ours
        ]
        return merged(MOST, kept, near)

    def _remembered(self, question: str) -> list[Pair]:
        """What feedback confirmed; [] where the store fails: an answer does without."""
        try:
            nearest = self._store().nearest(question, MOST * 2)
        except (sqlite3.Error, OSError) as error:
            if not self._store_failed:
                log.warning("database %s: its memory is left out: %s", self._name, error)
            self._store_failed = True
            return []
        self._store_failed = False
        return nearest

    def _from_file(self, schema: Schema) -> tuple[list[Pair], ExampleStore]:
        """The file's pairs whose statement passes with this schema."""
        if self._file is None or self._file[0] is not schema:
            pairs = []
            for pair in load(self._settings.examples) if self._settings.examples else []:
                verdict = judge(pair.sql, schema, self._settings.row_limit) if pair.sql else None
                if verdict is None or verdict.ok:
                    pairs.append(pair)
                else:
                    log.warning(
                        "database %s: an example is not used: %s: %s", self._name, pair.question, verdict.reason
                    )
            self._file = (schema, pairs, filled(pairs))
        return self._file[1], self._file[2]

    def confirm(self, question: str, sql: str, schema: Schema, by: str) -> str | None:
        """Remember that `sql` answers `question`; why not, where it would not pass the guard."""
        verdict = judge(sql, schema, self._settings.row_limit)
        if not verdict.ok:
            return verdict.reason
        tables = tuple(verdict.tables)
        pair = Pair(one_line(question), verdict.sql, tables, schema.hash_of(tables))
        self._in_thread(lambda: self._store().add(pair, by))
        return None

    def forget(self, question: str, by: str) -> bool:
        """Drop what `by` confirmed for `question`; whether there was something."""
        return self._in_thread(lambda: self._store().forget(question, by))

    def _store(self) -> ExampleStore:
        if self._memory is None:
            self._memory = ExampleStore(self._settings.memory)
        return self._memory

    def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        def caught() -> tuple[T | None, Exception | None]:
            try:
                return call(*arguments), None
            except Exception as error:  # noqa: BLE001 - raised again in the caller's greenlet
                return None, error

        result, error = self._thread.spawn(caught).get()
        if error is not None:
            raise error
        return cast(T, result)

    def close(self) -> None:
        self._thread.kill()
        if self._memory is not None:
            self._memory.close()
