"""What ends an answer when its statement passed the guard and the database did not give rows.

SqlError          code         can asking again help?
├── SqlFailed     sql_failed   only where the database could not be reached
└── SqlLimit      sql_limit    yes  it ran longer than `timeout_s`, or waited that long for its turn
"""

from __future__ import annotations

import re

# A database's own words are cut at this length.
MAX_CHARACTERS = 300
# An apostrophe inside a word is no quote.
_QUOTE = re.compile(r"[\"`“”‘’«»„]|(?<!\w)'|'(?!\w)")
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:0x[0-9a-fA-F]+|\d[\d.:eE+-]*)")
_WORD = re.compile(r"\w+")


def without_values(words: str, statement: str, *, about_statement: bool) -> str:
    """A database's words about a statement, without what may be values of rows: they would reach the model and the log.

    Whatever stands in quotes is left out, and every number that is not in the statement. Of an error that is
    `about_statement`, found before a row was read (no such column), quoted words stay that stand in the statement too.
    """
    # A value may hold quotes and line ends itself: what begins with a quote ends with the last one of the message.
    statement_words = set(_WORD.findall(statement.lower()))
    kept, rest = "", words.strip()
    while found := _QUOTE.search(rest):
        before, quote, after = rest[: found.start()], found[0], rest[found.end() :]
        inner, closing, behind = after.partition(quote)
        if about_statement and closing and set(_WORD.findall(inner.lower())) <= statement_words:
            kept, rest = f"{kept}{before}{quote}{inner}{quote}", behind
            continue
        ends = [mark.end() for mark in _QUOTE.finditer(after)]
        kept, rest = f"{kept}{before}…", after[ends[-1] :] if ends else ""
        break
    kept = _NUMBER.sub(lambda number: number[0] if number[0] in statement else "…", kept + rest)
    return kept.split("\n")[0].strip()[:MAX_CHARACTERS]


def refused(words: str, code: str, statement: str, *, about_statement: bool) -> SqlFailed:
    """The database refused a statement, in `words` and under its own `code`."""
    words = without_values(words, statement, about_statement=about_statement)
    return SqlFailed(f"the database refused the statement: {words} ({code})")


class SqlError(Exception):
    """`message` is for a person and for the model, which may be asked once more with it; it names no address, no role
    and no value of a row. `detail` is for the database's owner: the log and `sluice doctor`.
    """

    code = "sql_failed"

    def __init__(self, message: str, *, retryable: bool = False, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.retryable = retryable
        self.retry_after: float | None = None


class SqlFailed(SqlError):
    code = "sql_failed"


class SqlLimit(SqlError):
    code = "sql_limit"

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)
