"""The guard alone: what passes is sent as it was written, and a refusal says why."""

from __future__ import annotations

import time

import pytest

from gateway.text2sql.guard.judge import judge
from prompts.tables import Schema
from tests.gateway.text2sql.guard.statements import ALLOWED, schema, table


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
@pytest.mark.parametrize("sql", ALLOWED)
def test_an_ordinary_question_passes(dialect, sql):
    verdict = judge(sql, schema(dialect), 200)
    assert verdict.ok, verdict.reason
    assert judge(verdict.sql, schema(dialect), 200).sql == verdict.sql


@pytest.mark.parametrize(
    ("dialect", "sql"),
    [
        ("sqlite", "SELECT strftime('%Y', made) AS y FROM orders"),
        ("sqlite", "SELECT date(made, '-7 day') FROM orders WHERE made >= date('now', 'start of month')"),
        ("sqlite", "SELECT name || city FROM users WHERE name GLOB 'a*'"),
        ("postgresql", "SELECT date_trunc('month', made) AS m, to_char(made, 'YYYY') FROM orders"),
        ("postgresql", "SELECT name FROM users WHERE name ILIKE 'a%' AND made_at IS NULL"),
        ("postgresql", "SELECT total::numeric / 3, made + INTERVAL '1 day' FROM orders"),
        ("postgresql", "SELECT DISTINCT ON (city) city, name FROM users ORDER BY city, id"),
        ("postgresql", "SELECT string_agg(name, ',' ORDER BY id), COUNT(*) FILTER (WHERE id > 1) FROM users"),
        ("postgresql", "SELECT l.t FROM users AS u, LATERAL (SELECT total AS t FROM orders WHERE user_id = u.id) l"),
        ("postgresql", "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM orders"),
        ("postgresql", "SELECT age(now(), made), extract(year FROM made) FROM orders"),
        ("postgresql", "SELECT v.x FROM (VALUES (1), (2)) AS v(x)"),
        ("mysql", "SELECT date_format(made, '%Y-%m'), if(total > 1, 'a', 'b') FROM orders"),
        ("mysql", "SELECT made FROM orders WHERE made > date_sub(now(), INTERVAL 1 DAY)"),
        ("mysql", "SELECT group_concat(DISTINCT name ORDER BY name SEPARATOR '、') FROM users"),
        ("mysql", "SELECT `name` FROM `users` LIMIT 5, 10"),
    ],
)  # fmt: skip
def test_what_people_write_on_one_server_passes_there(dialect, sql):
    known = schema(dialect)
    if "made_at" in sql:
        known = schema(dialect, table("more", "made_at"))
        sql = sql.replace("FROM users", "FROM users, more")
    verdict = judge(sql, known, 200)
    assert verdict.ok, verdict.reason


def test_the_tables_are_named_in_order_and_once():
    verdict = judge("SELECT 1 FROM orders a, users b, orders c, sales.regions", schema(), 200)
    assert verdict.tables == ["orders", "users", "sales.regions"]


@pytest.mark.parametrize(
    ("sql", "limited"),
    [
        ("SELECT name FROM users", "SELECT name FROM users\nLIMIT 11"),
        ("SELECT name FROM users LIMIT 5", "SELECT name FROM users LIMIT 5"),
        ("SELECT name FROM users LIMIT 5000", "SELECT name FROM users LIMIT 5000"),
        ("SELECT name FROM users LIMIT 5 OFFSET 20", "SELECT name FROM users LIMIT 5 OFFSET 20"),
        ("SELECT name FROM users FETCH FIRST 3 ROWS ONLY", "SELECT name FROM users FETCH FIRST 3 ROWS ONLY"),
        ("SELECT name FROM users OFFSET 3", "SELECT name FROM users OFFSET 3\nLIMIT 11"),
        ("SELECT 1 AS x UNION SELECT 2", "SELECT 1 AS x UNION SELECT 2\nLIMIT 11"),
        ("(SELECT name FROM users LIMIT 99)", "(SELECT name FROM users LIMIT 99)\nLIMIT 11"),
        ("WITH a AS (SELECT 1 AS x) SELECT x FROM a", "WITH a AS (SELECT 1 AS x) SELECT x FROM a\nLIMIT 11"),
    ],
)  # fmt: skip
def test_a_limit_is_added_where_a_statement_has_none(sql, limited):
    verdict = judge(sql, schema("postgresql"), 10)
    assert (verdict.ok, verdict.limited) == (True, limited)


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("DROP TABLE users", "DROP"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT passwrd FROM users", "passwrd"),
        ("SELECT password FROM users", "not open"),
        ("SELECT * FROM users", "name the columns"),
        ("SELECT x FROM secrets", "users"),
        ("SELECT pg_sleep(1)", "pg_sleep"),
        ("SELECT * FROM information_schema.tables", "system catalogue"),
        ("SELECT name FROM users FOR UPDATE", "locking rows"),
        ("SELECT name FROM", "could not be read"),
        ("SELECT 1 WHERE 'x'::regclass = 1", "regclass"),
    ],
)
def test_the_reason_says_what_is_wrong(sql, word):
    verdict = judge(sql, schema("postgresql"), 10)
    assert not verdict.ok
    assert word.lower() in (verdict.reason or "").lower()
    assert "\x1b" not in verdict.reason


def test_a_name_in_another_case_is_another_table_where_the_server_says_so():
    known = schema("postgresql", table("Users", "id"))
    assert judge('SELECT id FROM "Users"', known, 10).tables == ["Users"]
    assert judge("SELECT id FROM Users", known, 10).tables == ["users"]
    assert not judge('SELECT id FROM "USERS"', known, 10).ok
    assert not judge("SELECT id FROM USERS", schema("mysql"), 10).ok
    assert judge("SELECT id FROM USERS", schema("sqlite"), 10).tables == ["users"]


def test_hints_and_comments_are_gone_from_what_is_sent():
    sql = "SELECT /*+ MAX_EXECUTION_TIME(9999999) */ name /*! , password */ FROM users -- x"
    assert judge(sql, schema("mysql"), 10).limited == "SELECT name FROM users\nLIMIT 11"


def test_a_name_that_is_the_servers_own_value_is_refused_unless_it_is_quoted():
    known = schema("postgresql", table("log", "user", "at"))
    assert "quoted" in judge("SELECT user FROM log", known, 10).reason
    assert judge('SELECT "user" FROM log', known, 10).ok and judge("SELECT l.user FROM log l", known, 10).ok


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "(" * 200 + "1" + ")" * 200,
        "SELECT " + "NOT " * 5000 + "1",
        "SELECT " + "-" * 2000 + "1",
        "SELECT " + "1+" * 4000 + "1",
        "SELECT " + "CASE WHEN 1 THEN " * 500 + "1" + " END" * 500,
        "SELECT 1" + " UNION SELECT 1" * 600,
        "SELECT * FROM " + "users JOIN " * 800 + "users",
        "SELECT 'x' " * 2000,
        "SELECT " + "a." * 3000 + "b",
        "WITH " + ", ".join(f"a{n} AS (SELECT 1)" for n in range(400)) + " SELECT 1",
        "[" * 5000,
        "'" * 9999,
        "SELECT 1 WHERE " + "x IN (" * 25 + "1" + ")" * 25,
    ],
)
def test_no_statement_takes_the_guard_long(sql):
    began = time.thread_time()
    judge(sql, schema(), 10)
    assert time.thread_time() - began < 1


def test_two_bars_join_text_but_in_mysql_where_they_are_refused_for_they_would_be_a_condition():
    sql = "SELECT name FROM users WHERE ',' || city || ',' LIKE '%,x,%'"
    assert judge(sql, schema("sqlite"), 200).ok and judge(sql, schema("postgresql"), 200).ok
    verdict = judge(sql, schema("mysql"), 200)
    assert not verdict.ok and "CONCAT" in verdict.reason
    assert judge("SELECT name FROM users WHERE city = '||' OR id = 1", schema("mysql"), 200).ok


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT A.password FROM (SELECT 1 AS password) a, users A",
        "SELECT (SELECT A.password FROM (SELECT 1 AS password) a LIMIT 1) FROM users A",
        "SELECT (SELECT Ä.password FROM (SELECT 1 AS password) ä LIMIT 1) FROM users Ä",
        "SELECT (SELECT USERS.password FROM (SELECT 1 AS password) USERS) FROM users",
        "SELECT 1 AS é FROM secrets WHERE é = 'x'",
        "SELECT É FROM secrets",
        "SELECT 1 AS ＰＩＮ FROM secrets WHERE ＰＩＮ = 'x'",
        "SELECT 1 AS pİn FROM secrets WHERE pİn = 'x'",
    ],
)
def test_names_that_mysql_may_take_for_one_are_never_two(sql):
    hidden = table("secrets", "id", is_partial=True, hidden=("É", "pin"))
    assert not judge(sql, schema("mysql", hidden), 200).ok


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_two_tables_of_one_name_in_one_query_are_refused(dialect):
    for sql in (
        "SELECT a.password FROM (SELECT 1 AS password) AS a, users AS a",
        "SELECT a.password FROM (SELECT 1 AS password) AS a JOIN users AS a ON 1 = 1",
        "SELECT users.name FROM users, users",
    ):
        verdict = judge(sql, schema(dialect), 200)
        assert not verdict.ok and "aliases" in verdict.reason


@pytest.mark.parametrize(
    ("part", "dialects"),
    [
        ("WHERE n = 1", ["sqlite"]),
        ("GROUP BY n HAVING n > 1", ["sqlite", "mysql"]),
        ("GROUP BY n", ["sqlite", "postgresql", "mysql"]),
        ("GROUP BY GROUPING SETS ((n), ())", ["postgresql"]),
        ("ORDER BY n DESC", ["sqlite", "postgresql", "mysql"]),
        ("ORDER BY (n)", ["sqlite", "postgresql", "mysql"]),
        ("ORDER BY n + 1", ["sqlite", "mysql"]),
        ("ORDER BY CAST(n AS CHAR)", ["sqlite", "mysql"]),
        ("GROUP BY COALESCE(n, 1)", ["sqlite", "mysql"]),
        ("GROUP BY (n, 1)", ["sqlite", "postgresql", "mysql"]),
        ("ORDER BY RANK() OVER (ORDER BY n)", ["sqlite", "mysql"]),
        ("ORDER BY (SELECT MAX(n) FROM users)", []),
    ],
)
def test_a_name_given_with_as_counts_where_the_server_takes_it_for_that(part, dialects):
    """Elsewhere it is something else: in PostgreSQL the row of a table that is called so."""
    passed = [
        dialect
        for dialect in ("sqlite", "postgresql", "mysql")
        if judge(f"SELECT total AS n FROM orders AS n {part}", schema(dialect), 200).ok
    ]
    assert passed == dialects


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 FROM (SELECT 1 AS password) AS g JOIN users AS u USING (password)",
        "SELECT 1 FROM users AS u JOIN (SELECT 1 AS password) AS g USING (password)",
        "SELECT MAX(password) FROM (SELECT 1 AS password) AS g LEFT JOIN users AS u USING (password)",
        "SELECT 1 FROM orders AS o JOIN (SELECT 1 AS password) AS g ON TRUE JOIN users AS u USING (password)",
        "SELECT 1 FROM orders AS o JOIN ((SELECT 1 AS password) AS g JOIN users AS u ON TRUE) USING (password)",
        "SELECT 1 FROM (SELECT 1 AS password) AS g NATURAL JOIN users AS u",
        "SELECT 1 FROM (SELECT 1 AS password) AS g NATURAL LEFT JOIN users AS u",
        "SELECT 1 FROM users AS u NATURAL JOIN (SELECT 1 AS password) AS g",
        # A condition that the server resolves without the tables behind it, or in front of a comma.
        "SELECT (SELECT 1 FROM orders AS o JOIN orders AS p ON password = 'x' "
        "JOIN (SELECT 1 AS password) AS g ON TRUE) FROM users",
        "SELECT (SELECT 1 FROM orders AS o JOIN orders AS p ON password = 'x', (SELECT 1 AS password) AS g) FROM users",
        # An ORDER BY behind parentheses is the query's in them.
        "SELECT (((SELECT 1 FROM users) ORDER BY password) LIMIT 1) FROM (SELECT 1 AS password) AS g",
        "SELECT * FROM (VALUES (password)) AS v",
    ],
)
def test_a_closed_column_is_not_compared_by_way_of_a_join(dialect, sql):
    assert not judge(sql, schema(dialect), 200).ok


def test_a_condition_of_a_join_sees_what_is_behind_it_in_sqlite_alone():
    inner = "SELECT 1 FROM orders AS o JOIN orders AS p ON password = 'x', users AS u"
    sql = f"SELECT ({inner}) FROM (SELECT 1 AS password) AS x"
    passed = [dialect for dialect in ("sqlite", "postgresql", "mysql") if judge(sql, schema(dialect), 200).ok]
    assert passed == ["postgresql", "mysql"]


@pytest.mark.parametrize(
    ("dialect", "name"),
    [("sqlite", "rowid"), ("sqlite", "oid"), ("sqlite", "_rowid_"), ("postgresql", "tableoid"), ("postgresql", "ctid"),
     ("postgresql", "xmin"), ("mysql", "_rowid")],
)  # fmt: skip
def test_a_column_that_tables_have_without_being_told_so_is_closed(dialect, name):
    for sql in (
        f"SELECT {name} FROM orders",
        f"SELECT {name} AS a, 2 AS {name} FROM orders",
        f"SELECT 2 AS {name} FROM orders GROUP BY {name}",
        f"SELECT (SELECT {name} FROM orders LIMIT 1) FROM (SELECT 1 AS {name}) AS x",
    ):
        assert not judge(sql, schema(dialect), 200).ok, sql
    assert judge(f"SELECT {name} FROM odd", schema(dialect, table("odd", name)), 200).ok


@pytest.mark.parametrize(
    ("dialect", "sql", "told"),
    [
        ("mysql", "SELECT LO_CREATE(5)", "the function lo_create"),
        ("mysql", "SELECT date_trunc('month', name) FROM users", "DATE_FORMAT"),
        ("postgresql", "SELECT DATE_FORMAT(name, '%Y') FROM users", "to_char"),
        ("postgresql", "SELECT pg_read_file('x')", "the function pg_read_file"),
        ("sqlite", "SELECT load_extension('x')", "the function load_extension"),
    ],
)
def test_a_function_that_is_refused_is_called_as_the_dialect_calls_it(dialect, sql, told):
    assert told in (judge(sql, schema(dialect), 10).reason or "")


def test_a_table_or_column_named_by_a_reserved_word_gets_mysqls_quotes():
    known = Schema("mysql", (table("lines", "line", "rank"),))
    assert judge("SELECT l.rank, rank FROM lines l", known, 10).sql == "SELECT l.`rank`, `rank` FROM `lines` l"
    assert judge("SELECT `rank` FROM `lines`", known, 10).sql == "SELECT `rank` FROM `lines`"
    sqlite = Schema("sqlite", (table("lines", "line", "rank"),))
    assert judge("SELECT rank FROM lines", sqlite, 10).sql == "SELECT rank FROM lines"
