"""Every statement of the public sets, as it came by a plain driver and by the gateway's guard and connection.

    python -m benchmarks.fidelity --data FOLDER [--sets job,spider] > benchmarks/results/fidelity.md

FOLDER keeps the clones of the sets' repositories, which are fetched where they are missing. A difference is a statement
that both give rows for, and not the same ones (as multisets: many of the statements leave their order open). Where a
LIMIT cuts between equals, only the number of rows is compared, and the statement counts as such.
"""

from __future__ import annotations

import argparse
import logging
import platform
import re
import sqlite3
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from benchmarks.fidelity.plain_drivers import ACCEPTED, opened
from benchmarks.fidelity.sets import SETS, Set
from gateway.settings import DatabaseSettings
from gateway.text2sql.database import Database
from gateway.text2sql.errors import SqlError
from gateway.text2sql.rows import safe

ERRORS = (psycopg.Error, pymysql.Error, sqlite3.Error, sqlite3.Warning)
LIMIT = re.compile(r"\b(?:limit|fetch|offset)\b", re.IGNORECASE)
MOST_ROWS = 100_000


@dataclass
class Result:
    """Counts of statements; `server` is what the plain driver gave rows for."""

    all: int = 0
    server: int = 0
    accepted: int = 0
    same: int = 0
    by_number: int = 0
    differences: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)


def multiset(rows: Any) -> Counter[str]:
    return Counter(repr([_plain(safe(value)) for value in row]) for row in rows)


def _plain(value: Any) -> Any:
    # Sums of floats depend on the order of rows, in their last digits.
    return round(value, 6) if isinstance(value, float) else value


def measure(one: Set, server: str) -> Result:
    result = Result()
    for name, schema in one.schemas.items():
        statements = [statement for where, statement in one.statements if where == name]
        with opened(server, schema, statements) as plain:
            settings = DatabaseSettings(
                url=plain.url,
                tables=plain.tables() if schema.script else None,
                row_limit=MOST_ROWS,
                byte_limit=256 << 20,
                timeout_s=20,
                unsafe_role=ACCEPTED,
            )
            database = Database("fidelity", settings)
            try:
                for statement in statements:
                    compare(plain, database, statement, result)
            finally:
                database.close()
    return result


def compare(plain: Any, database: Database, statement: str, result: Result) -> None:
    result.all += 1
    try:
        expected = plain.rows(statement)
    except ERRORS:
        return  # the server itself does not take it
    result.server += 1
    verdict = database.judge(statement)
    if not verdict.ok:
        result.refused[verdict.reason or ""] += 1
        return
    result.accepted += 1
    try:
        given = database.run(verdict).rows
    except SqlError as error:
        result.failed[error.message] += 1
        return
    if multiset(given) == multiset(expected):
        result.same += 1
    elif len(given) == len(expected) and LIMIT.search(statement):
        result.by_number += 1
    else:
        result.differences.append(statement)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the sets' clones")
    parser.add_argument("--sets", default=",".join(SETS), help="some of: " + ", ".join(SETS))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"# Fidelity of text to SQL\n\n{date.today()}, `python -m benchmarks.fidelity`, {versions}.")
    print("Statements of public sets, each as it came by a plain driver, and by the guard.\n")
    columns = ("set", "server", "statements", "the server takes", "accepted of these", "same rows",
               "same number of rows", "differences")  # fmt: skip
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    reasons: list[str] = []
    for name in arguments.sets.split(","):
        one = SETS[name](arguments.data)
        for server in one.servers:
            result = measure(one, server)
            share = 100 * result.accepted / max(1, result.server)
            print(
                f"| {one.name} | {server} | {result.all} | {result.server} | {result.accepted} ({share:.1f} %) "
                f"| {result.same} | {result.by_number} | {len(result.differences)} |",
                flush=True,
            )
            for words, counts in (("refused", result.refused), ("failed", result.failed)):
                reasons += [
                    f"- {one.name}, {server}, {count} {words}: {reason}" for reason, count in counts.most_common()
                ]
            for statement in result.differences:
                print(f"{one.name}, {server}: {' '.join(statement.split())}", file=sys.stderr)
    print("\nSame number of rows: a LIMIT cuts between equals, so that even the plain driver may give others.\n")
    print("What was not accepted or failed, and why:\n\n" + ("\n".join(reasons) or "nothing"))


if __name__ == "__main__":
    main()
