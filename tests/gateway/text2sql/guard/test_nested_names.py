"""Thousands of statements that hide closed names in nested queries: what the guard lets pass shows no closed value.

An all-powerful role runs them (and SQLite without its authorizer), so nothing but the guard stands in between.
"""

from __future__ import annotations

import random

import pytest

from gateway.text2sql.databases.dialects.sqlite import AUTHORIZED
from gateway.text2sql.errors import SqlError
from tests.gateway.text2sql import servers
from tests.gateway.text2sql.servers import MARKER

STATEMENTS = 1500
TABLES = [
    "staff", "secret", "dtzpt", "lines", "busy", "a", "b", "x", "staff s", "secret dtzpt", "staff AS a(name)",
    "staff AS salary",
]  # fmt: skip
COLUMNS = [
    "name", "salary", "note", "line", "*", "s.salary", "staff.*", "a.salary", "x.salary", "a.*", "staff", "s",
    "entries", "count(*)", "max(salary)", "staff.name", "x", "b.note", "1", "'q'", "count(staff.*)",
]  # fmt: skip
JOINS = ["ON 1 = 1", "USING (name)", "USING (salary)"]


class Writer:
    """Writes statements at random, some of which are SQL."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def column(self) -> str:
        return self._rng.choice(COLUMNS) + self._rng.choice(
            ["", "", "", "", " AS salary", " AS name", " AS x", " AS note"]
        )

    def source(self, depth: int) -> str:
        table, other, alias = (
            self._rng.choice(TABLES),
            self._rng.choice(TABLES),
            self._rng.choice(["x", "a", "s", "staff"]),
        )
        return self._rng.choice(
            [
                table,
                f"({self.query(depth - 1)}) {alias}",
                f"{table} JOIN {other} {self._rng.choice(JOINS)}",
                f"{table} NATURAL JOIN ({self.query(depth - 1)}) x",
                f"{table}, LATERAL ({self.query(depth - 1)}) x",
                "(VALUES (1, 2)) x(salary, name)",
            ]
        )

    def query(self, depth: int) -> str:
        rng = self._rng
        if depth <= 0:
            return f"SELECT {self.column()} FROM {rng.choice(TABLES)}"
        written = ""
        if rng.random() < 0.35:
            name = rng.choice(["a", "b", "x", "staff", "secret", "salary"])
            written = f"WITH {name}{rng.choice(['', '(name)', '(salary, name)'])} AS ({self.query(depth - 1)}) "
        nested = f"({self.query(depth - 1)} LIMIT 1){rng.choice(['', ' AS salary', ' AS x'])}"
        items = [rng.choice([self.column(), nested]) for _ in range(rng.randint(1, 3))]
        written += f"SELECT {', '.join(items)} FROM {self.source(depth)}"
        if rng.random() < 0.3:
            written += f" WHERE {rng.choice(['salary', 'note', 'name'])} IN ({self.query(depth - 1)})"
        if rng.random() < 0.2:
            written += f" ORDER BY {rng.choice(['salary', 'name', '1', 'staff.*'])}"
        if rng.random() < 0.2:
            written += f" UNION ALL {self.query(depth - 1)}"
        return written


@pytest.mark.parametrize("seed", [1, 2])
def test_what_the_guard_lets_pass_shows_no_closed_value(server, opened, seed):
    database = opened(server, "owner", row_limit=20, timeout_s=0.5)
    database.schema()
    if server.dialect == "sqlite":
        everything = {name: [] for name in ("secret", *servers.TABLES)}
        database.server.processes.allow({"hidden": everything, "by_views": [], "names": [], "functions": [*AUTHORIZED]})
    writer, ran = Writer(seed), 0
    for n in range(STATEMENTS):
        sql = writer.query(n % 3)
        verdict = database.judge(sql)
        if not verdict.ok:
            continue
        try:
            rows = database.run(verdict)
        except SqlError:
            continue
        ran += 1
        assert MARKER not in repr(rows.rows), (sql, verdict.limited)
    assert ran > 10
