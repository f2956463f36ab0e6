"""What every server's module offers: the schema, the role's excess privileges, the rows of one statement."""

from __future__ import annotations

from typing import Protocol

from gateway.text2sql.databases.privileges import ExcessPrivilege
from gateway.text2sql.rows import Collected
from prompts.tables import Schema


class Server(Protocol):
    """One database behind its driver; nothing here blocks the event loop."""

    def read_schema(self) -> Schema:
        """The allowed tables as they are now; raises SQLAlchemyError."""

    def excess(self) -> list[ExcessPrivilege]:
        """What the role may do besides reading; [] for one that can only SELECT. Raises SqlFailed."""

    def query(self, sql: str, collected: Collected, timeout_s: float) -> None:
        """Run one statement in a read-only transaction that is rolled back; raises SqlFailed, SqlLimit.

        The greenlet may be killed at any point: the statement is then cancelled on the server.
        """

    def close(self) -> None: ...
