"""The configured databases by name. Nothing that asks a database is imported where none is configured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import gevent

from gateway.settings import DatabaseSettings, TextToSql

if TYPE_CHECKING:
    from gateway.text2sql.database import Database


class Databases:
    """The configured databases, by name; a connection is opened by the first question."""

    def __init__(self, configured: Mapping[str, DatabaseSettings], text2sql: TextToSql | None = None) -> None:
        self.text2sql = text2sql or TextToSql()
        self._databases: dict[str, Database] = {}
        if configured:
            # What asks a database (SQLAlchemy, sqlglot) takes 22 MB: a worker without databases does without. One with
            # databases has all of it before its first question.
            from gateway.text2sql import flow, running  # noqa: F401
            from gateway.text2sql.database import Database

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
        """Judge every database in the background, each in its own greenlet: an unreachable one delays no other."""
        for database in self:
            gevent.spawn(database.check)

    def close(self) -> None:
        for database in self:
            database.close()
