from __future__ import annotations

import pytest

from gateway.text2sql.guard.early_reject import early_reject
from gateway.text2sql.guard.judge import judge
from tests.gateway.text2sql.guard.statements import ALLOWED, schema

DIALECTS = ["sqlite", "postgresql", "mysql"]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("sql", ALLOWED)
def test_no_beginning_of_an_allowed_statement_is_rejected_early(dialect, sql):
    assert judge(sql, schema(dialect), 10).ok
    for end in range(len(sql) + 1):
        assert early_reject(sql[:end], schema(dialect)) is None, sql[:end]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT EXTRACT(YEAR FROM made) FROM orders",
        "SELECT TRIM(BOTH 'x' FROM name) FROM users",
        "SELECT name FROM users WHERE id IS DISTINCT FROM city",
        "SELECT SUBSTRING(name FROM 1 FOR 2) FROM users",
        "SELECT name FROM users WHERE name = 'x; DROP TABLE y' -- FROM z",
        "WITH a(x) AS (SELECT id FROM users) SELECT x FROM a JOIN orders ON TRUE",
        "SELECT x FROM (VALUES (1), (2)) AS v(x)",
        "SELECT name, city FROM users, orders WHERE total IN (1, 2) ORDER BY name, city",
        "SELECT u.name FROM users AS u, LATERAL (SELECT total, made FROM orders) AS o GROUP BY u.name, o.total",
        "SELECT RANK() OVER w AS r, 1 AS x FROM users WINDOW w AS (ORDER BY id), v AS (ORDER BY name) ORDER BY r, x",
    ],
)
def test_words_that_look_like_tables_are_not_taken_for_tables(sql):
    for end in range(len(sql) + 1):
        assert early_reject(sql[:end], schema("postgresql")) is None, sql[:end]


@pytest.mark.parametrize(
    ("sql", "word", "behind"),
    [
        ("DROP TABLE users", "DROP", "DROP T"),
        ("DELETE FROM users WHERE id = 1", "DELETE", "DELETE F"),
        ("SELECT note FROM secrets WHERE id = 1", "secrets", "FROM secrets W"),
        ("SELECT * FROM users u JOIN secrets s ON s.id = u.id", "secrets", "secrets s "),
        ("SELECT pg_sleep(10), name FROM users", "pg_sleep", "pg_sleep(1"),
        ("SELECT name FROM users WHERE lo_create(0) > 1 AND TRUE", "lo_create", "lo_create(0"),
        ("SELECT * FROM pg_catalog.pg_user WHERE TRUE", "system catalogue", "pg_user W"),
        ("SELECT name INTO stolen FROM users", "INTO", "INTO s"),
        ("SELECT o.id FROM orders AS o, secrets AS s WHERE o.id = s.id", "secrets", "secrets AS"),
        ("SELECT o.id FROM orders AS o JOIN users AS u ON u.id = o.id, secrets WHERE o.id = 1", "secrets", "secrets W"),
        ("SELECT password FROM users WHERE name = 'a'", "password", "WHERE n"),
        ("SELECT u.password FROM users AS u ORDER BY u.name", "password", "BY u"),
        ("SELECT name FROM users WHERE password LIKE 'a%' ORDER BY name", "password", "ORDER BY n"),
        ("SELECT name FROM users UNION SELECT password FROM users LIMIT 10", "password", "LIMIT 1"),
        ("SELECT * FROM users AS u WHERE u.id = 1", "column", "WHERE u"),
    ],
)
def test_a_statement_that_cannot_be_allowed_any_more_is_rejected_early(sql, word, behind):
    known = schema("postgresql")
    assert not judge(sql, known, 10).ok
    end = next(end for end in range(len(sql) + 1) if early_reject(sql[:end], known))
    assert word in early_reject(sql[:end], known)
    assert end <= sql.index(behind) + len(behind) + 1
