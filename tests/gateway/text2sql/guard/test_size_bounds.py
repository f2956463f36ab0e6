"""Texts that a statement could make too long for anybody to stop it: refused; what people write: not."""

from __future__ import annotations

import re
import time

import pytest

from gateway.text2sql.guard.judge import judge
from tests.gateway.text2sql.guard.statements import schema

DIALECTS = ["sqlite", "postgresql", "mysql"]


def nested(text: str, times: int, sought: str = "a", by: str = "aaaaaaaaaa") -> str:
    for _ in range(times):
        text = f"REPLACE({text}, '{sought}', '{by}')"
    return text


def joined(sql: str, dialect: str) -> str:
    """`sql` with its CONCAT as SQLite joins texts: before 3.44 it has none."""
    if dialect != "sqlite":
        return sql
    return re.sub(r"CONCAT\(([^()]*)\)|CONCAT\((REPLACE\([^()]*\)[^()]*|[^()]*'[^']*'[^()]*)\)",
                  lambda call: "(" + " || ".join((call[1] or call[2]).split(", ")) + ")", sql)  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT REPLACE(REPLACE(REPLACE(name, ' ', ''), '-', ''), 'x', 'y') FROM users",
        "SELECT REPLACE(name, '1', 'number one') FROM users",
        "SELECT CONCAT(name, ' - ', city, '!') FROM users",
        "SELECT " + nested("name", 12, " ", "") + " FROM users",
        "SELECT CASE " + " ".join(f"WHEN id = {n} THEN 'district {n}'" for n in range(60)) + " END FROM users",
        "SELECT REPLACE(n, 'a', 'b') FROM (SELECT CONCAT(name, city) AS n FROM users) AS x",
        "SELECT TRIM(name) FROM users WHERE city LIKE CONCAT('%', name, '%')",
    ],
)
def test_what_people_write_stays_short_enough(dialect, sql):
    sql = joined(sql, dialect)
    assert judge(sql, schema(dialect), 10).ok, judge(sql, schema(dialect), 10).reason


GROWING = [
    "SELECT LENGTH(" + nested("'aaaaaaaaaa'", 6) + ") AS n",
    "SELECT COUNT(*) FROM users WHERE " + nested("name", 3) + " LIKE '%b'",
    "SELECT name FROM users ORDER BY " + nested("name", 3),
    "SELECT REPLACE(name, 'a', city) FROM users",
    "SELECT REPLACE(c, 'a', 'aaaaaaaaaa') FROM (SELECT REPLACE(b, 'a', 'aaaaaaaaaa') AS c "
    "FROM (SELECT REPLACE(name, 'a', 'aaaaaaaaaa') AS b FROM users) AS x) AS y",
    "WITH x AS (SELECT REPLACE(name, 'a', 'aaaaaaaaaa') AS b FROM users), y AS (SELECT REPLACE(b, 'a', 'aaaaaaaaaa') "
    "AS c FROM x) SELECT REPLACE(c, 'a', 'aaaaaaaaaa') FROM y",
    "SELECT REPLACE(" + "CONCAT(" + ", ".join(["name"] * 40) + "), 'aa', 'bbbbbb') FROM users",
    "SELECT (SELECT " + nested("x.b", 2) + ") FROM (SELECT REPLACE(name, 'a', 'aaaaaaaaaa') AS b FROM users) AS x",
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("sql", GROWING)
def test_a_text_that_replace_could_make_too_long_is_refused(dialect, sql):
    sql = joined(sql, dialect)
    assert "100,000" in (judge(sql, schema(dialect), 10).reason or "")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_texts_that_subqueries_join_again_and_again_are_refused(dialect):
    inner = "SELECT name AS t FROM users"
    for _ in range(8):
        inner = joined(f"SELECT CONCAT(t, t, t, t) AS t FROM ({inner}) AS x", dialect)
    assert "1,000,000" in (judge(inner, schema(dialect), 10).reason or "")


@pytest.mark.parametrize(
    ("sql", "ok"),
    [
        (r"SELECT REGEXP_REPLACE(name, '(.)-(.)', '\\2-\\1') FROM users", True),
        (r"SELECT REGEXP_REPLACE(name, '(?=(.*))', '\\1') FROM users", False),
        ("SELECT REGEXP_REPLACE(name, '', '" + "a" * 200 + "') FROM users", False),
        ("SELECT REGEXP_REPLACE(name, 'a', city) FROM users", False),
        ("SELECT REPLACE(GROUP_CONCAT(name), ',', ';') FROM users", True),
        ("SELECT REPLACE(GROUP_CONCAT(name), ',', ' and ') FROM users", False),
    ],
)
def test_what_a_pattern_puts_in_counts(sql, ok):
    assert judge(sql, schema("mysql"), 10).ok is ok


def test_a_trim_of_much_by_much_is_refused_for_sqlite_takes_a_minute():
    joined = " || ".join(["name"] * 100)
    assert "very long" in (judge(f"SELECT TRIM({joined}, {joined}) FROM users", schema(), 10).reason or "")


def test_deep_nesting_is_counted_once():
    began = time.thread_time()
    judge("SELECT " + nested("name", 28, "x", "y") + " FROM users", schema(), 10)
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("dialect", "sql", "ok"),
    [
        ("postgresql", "SELECT lpad(name, 12, '0'), repeat('*', 5) FROM users", True),
        ("postgresql", "SELECT lpad(name, 1000000) FROM users", False),
        ("postgresql", "SELECT repeat(name, 1000) FROM users", False),
        ("postgresql", "SELECT repeat('a', id) FROM users", False),
        ("mysql", "SELECT LPAD(name, 12, '0'), REPEAT('*', 5), SPACE(3) FROM users", True),
        ("mysql", "SELECT SPACE(1000000)", False),
        ("mysql", "SELECT REPEAT(REPEAT('a', 9000), 9000)", False),
        ("sqlite", "SELECT printf('%05d', id) FROM users", True),
        ("sqlite", "SELECT printf('%999999999d', id) FROM users", False),
        ("sqlite", "SELECT printf('%*d', 999999999, id) FROM users", False),
        ("sqlite", "SELECT printf(name, id) FROM users", False),
        ("postgresql", "SELECT * FROM generate_series(1, 100) AS n", True),
        ("postgresql", "SELECT * FROM generate_series(1, 1000000000) AS n", False),
    ],
)
def test_what_a_number_asks_for_is_bounded(dialect, sql, ok):
    verdict = judge(sql, schema(dialect), 10)
    assert verdict.ok is ok, verdict.reason
