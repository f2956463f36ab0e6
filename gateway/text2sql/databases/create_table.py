"""The comments inside a CREATE TABLE statement, for SQLite, which keeps the statement and has no comments of its own.

CREATE TABLE dtzpt ( -- 地铁站点表          the table's: on the line of CREATE TABLE, or just above the first line
  name TEXT NOT NULL, -- 站名              a column's: behind its definition on the same line,
  -- 行政区                                or on lines of its own just above it
  district TEXT
)
"""

from __future__ import annotations

import re

_PIECES = re.compile(
    r"""--[^\n]* | /\*.*?(?:\*/|\Z) | '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\]
        | \n | [^\n'"`\[/-]+ | .""",
    re.VERBOSE | re.DOTALL,
)
_NAME = re.compile(r"""\s*(?:"((?:[^"]|"")*)"|`((?:[^`]|``)*)`|\[([^\]]*)\]|(\w+))""")
_CONSTRAINTS = {"primary", "unique", "check", "foreign", "constraint"}


def comments(statement: str) -> tuple[str, dict[str, str]]:
    """The table's comment and its columns' (name → comment) in a CREATE TABLE statement."""
    table: list[str] = []
    columns: dict[str, list[str]] = {}
    above: list[str] = []  # comments on lines of their own, waiting for the definition below them
    last: str | None = ""  # the column whose definition began last; None for a constraint, "" before the first
    depth, begins, opened, code_on_line = 0, False, False, ""

    for piece in _PIECES.findall(statement):
        if piece == "\n":
            code_on_line = ""
            continue
        if piece.startswith(("--", "/*")):
            words = piece.removeprefix("--").removeprefix("/*").removesuffix("*/").strip()
            if not opened or (last == "" and code_on_line):
                table.append(words)
            elif code_on_line:
                if last is not None:
                    columns.setdefault(last, []).append(words)
            else:
                above.append(words)
            continue
        if not piece.isspace():
            code_on_line += piece
        for part in [piece] if piece[0] in "'\"`[" else re.split(r"([(),])", piece):
            if part == "(":
                depth += 1
                begins = begins or (depth == 1 and not opened)
                opened = True
            elif part == ")":
                depth -= 1
            elif part == "," and depth == 1:
                begins = True
            elif begins and part.strip():
                begins = False
                last = _column(part)
                if last is not None and above:
                    columns.setdefault(last, []).extend(above)
                above = []
    return " ".join(table), {name: " ".join(words) for name, words in columns.items()}


def _column(definition: str) -> str | None:
    """The column that a definition begins with, or None where it is a constraint of the table."""
    match = _NAME.match(definition)
    if match is None:
        return None
    name = next(group for group in match.groups() if group is not None)
    return None if match.group(4) and name.lower() in _CONSTRAINTS else name
