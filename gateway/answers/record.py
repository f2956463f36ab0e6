"""What is known of an answer beside its events: what was asked of which database, by whom, and what was run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Record:
    """
    question    as it was asked, for /feedback; no log line has it
    database    its name; "" for a plain chat
    caller      the name of the key that asked
    statements  every statement that was judged, as the log line tells it
    rows        how many rows the last one gave; None where none ran
    """

    question: str = ""
    database: str = ""
    caller: str = ""
    statements: list[dict[str, Any]] = field(default_factory=list)
    rows: int | None = None

    def judged(self, sql: str, tables: list[str], reason: str | None, *, with_text: bool) -> None:
        """Note a statement: its tables and a digest that tells it from others; its text may hold the question's words.

        reason  why it was refused, by the guard or the database; None where it passed
        """
        told: dict[str, Any] = {"digest": hashlib.sha256(sql.encode()).hexdigest()[:16], "tables": tables}
        told |= {"ok": reason is None, "reason": reason}
        self.statements.append(told | {"sql": sql} if with_text else told)
