"""Confirmed pairs of question and SQL: a file that the team edits, and a store that feedback fills.

Both are looked up in SQLite's full-text index, by the terms of words.py (two neighbouring characters for Chinese). A
pair in the store carries the hash of its tables' columns, and is not given out once they are otherwise.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml

from prompts.words import terms

# Terms of a question that are looked up; a longer one costs no more.
MOST_TERMS = 64

_TABLES = """
CREATE TABLE IF NOT EXISTS pairs (
    id INTEGER PRIMARY KEY, question TEXT NOT NULL, sql TEXT NOT NULL, tables TEXT NOT NULL,
    schema_hash TEXT NOT NULL, confirmed_at REAL NOT NULL, confirmed_by TEXT NOT NULL,
    UNIQUE (question, confirmed_by)
);
CREATE VIRTUAL TABLE IF NOT EXISTS found USING fts5 (terms, tokenize = "unicode61");
"""
_SEARCH = """
SELECT p.question, p.sql, p.tables, p.schema_hash FROM found JOIN pairs AS p ON p.id = found.rowid
WHERE found MATCH ? ORDER BY bm25(found), p.id LIMIT ?
"""


class BadExamples(ValueError):
    """The file of examples cannot be used; `reason` says why, the message also where."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and the SQL that answers it, "" where it needs none.

    tables       what the SQL reads
    schema_hash  of these tables when the pair was confirmed; "" where the pair is judged in another way
    """

    question: str
    sql: str
    tables: tuple[str, ...] = ()
    schema_hash: str = ""


def load(path: str | Path) -> list[Pair]:
    """The pairs in a YAML file: a list of {question, sql}, where sql is "" for a question that needs none.

    Raises BadExamples.
    """
    try:
        rows = yaml.safe_load(Path(path).read_text("utf-8")) or []
    except OSError as error:
        raise BadExamples(path, str(error.strerror or error)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadExamples(path, f"not valid YAML: {error}") from None
    pairs = []
    for n, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        if not isinstance(row, dict) or not isinstance(row.get("question"), str) or not isinstance(row.get("sql"), str):
            raise BadExamples(path, f"entry {n} must have the texts question and sql, got {row!r:.60}")
        pairs.append(Pair(one_line(row["question"]), row["sql"].strip()))
    return pairs


def unusable(path: str) -> str | None:
    """Why `path` cannot be a store of examples; None where it can. Nothing is created."""
    file = Path(path)
    if not file.exists():
        return None if os.access(file.parent, os.W_OK) else "its folder must exist and be writable"
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=2)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        return None if "locked" in str(error) else str(error)
    except sqlite3.Error as error:
        return str(error)
    return None


class ExampleStore:
    """Pairs on disk (or in memory, ":memory:"); may be used from several threads and processes."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)
        if path != ":memory:":
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_TABLES)

    def add(self, pair: Pair, by: str = "") -> None:
        """Keep a confirmed pair, in place of an older one with the same question by the same one.

        by  who confirmed it: what others confirmed stays as it is, and comes first
        """
        question = one_line(pair.question)
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                # With its number it keeps its place before what others confirmed later.
                number = self._forget(question, by)
                added = self._database.execute(
                    "INSERT INTO pairs (id, question, sql, tables, schema_hash, confirmed_at, confirmed_by) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (number, question, pair.sql, "\n".join(pair.tables), pair.schema_hash, time.time(), by),
                )
                self._database.execute(
                    "INSERT INTO found (rowid, terms) VALUES (?, ?)", (added.lastrowid, " ".join(terms(question)))
                )
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def forget(self, question: str, by: str = "") -> bool:
        """Drop the pair of that question that `by` confirmed; whether there was one."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            gone = self._forget(one_line(question), by)
            self._database.execute("COMMIT")
        return gone is not None

    def _forget(self, question: str, by: str) -> int | None:
        row = self._database.execute(
            "SELECT id FROM pairs WHERE question = ? AND confirmed_by = ?", (question, by)
        ).fetchone()
        if row is not None:
            self._database.execute("DELETE FROM pairs WHERE id = ?", row)
            self._database.execute("DELETE FROM found WHERE rowid = ?", row)
        return row[0] if row is not None else None

    def nearest(self, question: str, most: int) -> list[Pair]:
        """At most `most` pairs whose questions share the most telling terms with this one, the nearest first."""
        wanted = list(dict.fromkeys(terms(question)))[:MOST_TERMS]
        if not wanted:
            return []
        # Terms are letters, digits and Chinese characters, so quotes are all the quoting they need.
        with self._lock:
            rows = self._database.execute(_SEARCH, (" OR ".join(f'"{term}"' for term in wanted), most)).fetchall()
        return [Pair(row[0], row[1], tuple(filter(None, row[2].split("\n"))), row[3]) for row in rows]

    def __len__(self) -> int:
        with self._lock:
            (count,) = self._database.execute("SELECT COUNT(*) FROM pairs").fetchone()
            return int(count)

    def close(self) -> None:
        with self._lock:
            self._database.close()


def filled(pairs: Iterable[Pair]) -> ExampleStore:
    """A memory of these pairs, for as long as it lives."""
    memory = ExampleStore(":memory:")
    for pair in pairs:
        memory.add(pair)
    return memory


def merged(most: int, *found: Sequence[Pair]) -> list[Pair]:
    """At most `most` pairs out of several lists, taken in turn, one for each question, in a stable order."""
    chosen: dict[str, Pair] = {}
    for n in range(max(map(len, found), default=0)):
        for pairs in found:
            if n < len(pairs) and len(chosen) < most:
                chosen.setdefault(pairs[n].question, pairs[n])
    return sorted(chosen.values(), key=lambda pair: pair.question)


def one_line(question: str) -> str:
    """A question without line breaks and double spaces, so that only its words identify it."""
    return " ".join(question.split())
