"""Statements at random: judging one is never a failure, and what passes is sent as it was written.

`python -m tests.gateway.text2sql.guard.test_fuzz 600` goes on for so many seconds with new seeds.
"""

from __future__ import annotations

import random
import sys
import time

import pytest

from gateway.text2sql.databases import DIALECTS
from gateway.text2sql.guard import lexemes
from gateway.text2sql.guard.early_reject import early_reject
from gateway.text2sql.guard.judge import judge
from prompts.tables import Column, Schema, Table

SERVERS = {"sqlite": "main", "postgresql": "public", "mysql": "shop"}
STATEMENTS = 1_500
NAMES = [
    "name",
    "city",
    "id",
    "d",
    "users",
    "orders",
    "u",
    "o",
    "secret",
    "x",
    '"name"',
    "`name`",
    "[name]",
    "用户",
    "password",
]
SIGNS = [
    *"+-*/%^&|~<>=!?@#$:.,;()[]{}'\"`\\",
    "||", "::", "->", "->>", "#>>", "@>", "<=>", "<>", "!=", "==", ":=", "=>", "--", "/*", "*/", "$$", "$.a[*]",
]  # fmt: skip
VALUES = [
    "1", "1.5", "'a'", "'it''s'", '"t"', "NULL", "TRUE", "E'a'", "x'ff'", "N'a'", "_utf8'a'", "U&'a'", ".5", "1e5",
    "0x1f", "DATE '2024-01-01'", "INTERVAL '1 day'", "INTERVAL 1 DAY",
    "'[{\"a\":1}]'", "'$.a[*].b'", "ARRAY[1,2]", "ROW(1,2)",
    "(VALUES (1), (2))", "'\\'", "'%Y'", "$t$x$t$", "@v", "@@v", ":p", "?", "%s",
]  # fmt: skip


class Writer:
    """Writes statements of one server's words, most of them nearly SQL."""

    def __init__(self, seed: int, server: str) -> None:
        self._rng = random.Random(seed)
        row = DIALECTS[server]
        self._words, self._functions = sorted(row.words), sorted(row.functions)

    def value(self, depth: int) -> str:
        rng = self._rng
        if depth <= 0 or rng.random() < 0.3:
            return rng.choice([rng.choice(NAMES), rng.choice(VALUES), f"u.{rng.choice(NAMES)}", "*"])
        inner = self.value(depth - 1)
        return rng.choice(
            [
                f"{rng.choice(self._functions)}({inner})",
                f"{rng.choice(self._functions)}({inner}, {self.value(depth - 1)})",
                f"{inner} {rng.choice(SIGNS[:14] + SIGNS[-18:])} {self.value(depth - 1)}",
                f"CAST({inner} AS {rng.choice(self._words)})",
                f"CASE WHEN {inner} THEN {self.value(depth - 1)} END",
                f"({self.query(depth - 1)})",
                f"{inner} {rng.choice(['IN', 'LIKE', 'IS', 'NOT IN', 'BETWEEN', 'AND', 'OVER', 'COLLATE'])} {inner}",
                f"count(*) OVER (PARTITION BY {inner} ORDER BY {self.value(depth - 1)})",
                f"{inner} {rng.choice(self._words)} {self.value(depth - 1)}",
            ]
        )

    def source(self, depth: int) -> str:
        rng = self._rng
        return rng.choice(
            [
                "users u", "orders", "users u JOIN orders o USING (id)", "users u, orders o",
                "users NATURAL JOIN orders",
                f"({self.query(depth - 1)}) {rng.choice(NAMES)}", f"LATERAL ({self.query(depth - 1)}) x",
                f"{rng.choice(self._functions)}({self.value(1)}) AS {rng.choice(NAMES)}", "(VALUES (1, 2)) AS v(a, b)",
                f"users u {rng.choice(self._words)} JOIN orders o ON {self.value(1)}", f"{rng.choice(NAMES)}",
            ]
        )  # fmt: skip

    def query(self, depth: int) -> str:
        rng = self._rng
        if depth <= 0:
            return f"SELECT {self.value(0)} FROM users u"
        text = ""
        if rng.random() < 0.2:
            recursive = rng.choice(["", "RECURSIVE "])
            text += f"WITH {recursive}{rng.choice(NAMES)} AS ({self.query(depth - 1)}) "
        items = ", ".join(
            f"{self.value(depth)}{rng.choice(['', ' AS x', ' y', ' AS name'])}" for _ in range(rng.randint(1, 3))
        )
        text += f"SELECT {rng.choice(['', 'DISTINCT '])}{items} FROM {self.source(depth)}"
        for clause in ("WHERE", "GROUP BY", "HAVING", "ORDER BY", "LIMIT", "OFFSET", "UNION SELECT"):
            if rng.random() < 0.2:
                text += f" {clause} {self.value(depth - 1)}"
        return text

    def statement(self) -> str:
        rng = self._rng
        text = self.query(rng.randint(0, 3))
        for _ in range(rng.choice([0, 0, 0, 1, 2, 4])):  # and broken somewhere
            at = rng.randrange(len(text) + 1)
            piece = rng.choice(
                [rng.choice(SIGNS), rng.choice(self._words), rng.choice(VALUES), "，", "\n", "\x00", "‘", "😀"]
            )
            text = text[:at] + rng.choice([piece, f" {piece} "]) + text[at + rng.choice([0, 0, 1, 5]) :]
        return text


def schema(server: str) -> Schema:
    users = Table(
        "users", tuple(Column(name, "TEXT") for name in ("id", "name", "city")), hidden=("password",), is_partial=True
    )
    orders = Table("orders", (Column("id", "INTEGER"), Column("d", "DATE"), Column("x", "TEXT")))
    return Schema(server, (users, orders), SERVERS[server])


def check(server: str, sql: str) -> bool:
    """Judge one statement; whether it passed."""
    known = schema(server)
    verdict = judge(sql, known, 10)
    assert "could not be judged" not in (verdict.reason or ""), (server, sql)
    early_reject(sql[: len(sql) // 2], known)
    if verdict.ok:
        # The lexemes that are sent are those that came, but for comments and the last semicolon.
        sent = [lexeme.text for lexeme in lexemes.read(verdict.sql, DIALECTS[server]).lexemes]
        came = [lexeme.text for lexeme in lexemes.read(sql, DIALECTS[server]).lexemes]
        assert sent == came, (server, sql)
        assert judge(verdict.sql, known, 10).sql == verdict.sql
        assert verdict.limited.startswith(verdict.sql)
    return verdict.ok


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("seed", [1, 13])
def test_judging_never_fails_whatever_the_statement(server, seed):
    writer = Writer(seed, server)
    passed = sum(check(server, writer.statement()) for _ in range(STATEMENTS))
    assert passed > 5


if __name__ == "__main__":
    until, seed, count, passed = time.monotonic() + float(sys.argv[1]), 1_000, 0, 0
    while time.monotonic() < until:
        seed += 1
        for server in SERVERS:
            writer = Writer(seed, server)
            for _ in range(100):
                passed += check(server, writer.statement())
                count += 1
    print(f"{count:,} statements, {passed:,} passed, seeds 1001 to {seed}, no exception")
