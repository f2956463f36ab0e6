"""Facts about an answer beside its events: question, database, caller, and the statements that were judged."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Record:
    """
    question    the caller's words, for /feedback; never in a log line
    database    its name; "" for a plain chat
    caller      the name of the key that asked
    statements  every statement that was judged, in the log line's form
    rows        how many rows the last statement gave; None where none ran
    """

    question: str = ""
    database: str = ""
    caller: str = ""
    statements: list[dict[str, Any]] = field(default_factory=list)
    rows: int | None = None

    def judged(self, sql: str, tables: list[str], reason: str | None, *, with_text: bool) -> None:
        """Note a statement's tables and digest, and with `with_text` its text, which may repeat the question's words.

        reason  why it was refused, by the guard or the database; None where it passed
        """
        entry: dict[str, Any] = {"digest": hashlib.sha256(sql.encode()).hexdigest()[:16], "tables": tables}
        entry |= {"ok": reason is None, "reason": reason}
        self.statements.append(entry | {"sql": sql} if with_text else entry)
