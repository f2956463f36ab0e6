"""What ends an answer when its statement passed the guard and the database did not give rows.

SqlError          code         can asking again help?
├── SqlFailed     sql_failed   only where the database could not be reached
└── SqlLimit      sql_limit    yes  it ran longer than `timeout_s`, or waited that long for its turn
"""

from __future__ import annotations


class SqlError(Exception):
    """`message` is for a person and for the model, which may be asked once more with it."""

    code = "sql_failed"

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        self.retry_after: float | None = None


class SqlFailed(SqlError):
    code = "sql_failed"


class SqlLimit(SqlError):
    code = "sql_limit"

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)
