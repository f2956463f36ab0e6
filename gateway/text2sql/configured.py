"""The configured databases by name, without what asks them: a worker that has none does not load it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gevent

from gateway.settings import TextToSql


class Configured:
    """Each is a `database.Database`, whose module brings SQLAlchemy and sqlglot, 20 MB of a process."""

    def __init__(self, databases: Mapping[str, Any], text2sql: TextToSql | None = None) -> None:
        self.text2sql = text2sql or TextToSql()
        self._databases = dict(databases)

    def get(self, name: str | None) -> Any:
        """The database called `name`; the first one for "" or None; None for "none" and where none is configured.

        Raises KeyError for a name that is not configured.
        """
        if name == "none" or not self._databases:
            if name in ("none", "", None):
                return None
            raise KeyError(name)
        return self._databases[name] if name else next(iter(self._databases.values()))

    def __iter__(self) -> Iterator[Any]:
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
