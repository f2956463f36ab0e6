"""Expressions of one server asked of the others: refused, an error, or the same value; never another one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gateway.text2sql.errors import SqlError
from gateway.text2sql.rows import safe

EXPRESSIONS = yaml.safe_load((Path(__file__).parent / "other_servers.yaml").read_text("utf-8"))
AGGREGATES = ("string_agg", "bool_and", "group_concat", "total(", "stddev", "variance")
# Each server's own way with what is right SQL on all of them: only the writer knows which one was meant.
OWN_WAY = {
    "CONCAT('a', NULL)",  # NULL is left out, or makes all of it NULL
    "5 ^ 3",  # a power in PostgreSQL
    "CAST(2.7 AS INTEGER)",  # rounds, or cuts
    "'abc' LIKE 'A%'",  # with or without case
    "'a\\tb'", "'a\\b'",  # a backslash in a text
    '"a"',  # a name, or a text
    "random() < 2",
    "TIME('2024-03-05 10:00:00')", "CHAR(65)", "char(65)",  # the same value in another type
}  # fmt: skip


def value(given):
    given = safe(given)
    try:
        return round(float(given), 4)
    except (TypeError, ValueError):
        return None if given is None else str(given).replace("T", " ").removesuffix(" 00:00:00")


def query(expression):
    is_aggregate = any(word in expression.lower() for word in AGGREGATES)
    return f"SELECT {expression} AS x FROM sample" + ("" if is_aggregate else " WHERE id = 1")


@pytest.fixture
def databases(sqlite_server, postgresql_server, mysql_server, opened):
    servers = {"sqlite": sqlite_server, "postgresql": postgresql_server, "mysql": mysql_server}
    for server in servers.values():
        server.own("CREATE TABLE sample (id INTEGER PRIMARY KEY, a VARCHAR(20))")
        server.own("INSERT INTO sample VALUES (1, 'q'), (2, 'r')")
    yield {name: opened(server, "owner", tables=["sample"], columns={}) for name, server in servers.items()}
    for server in servers.values():
        server.own("DROP TABLE sample")


def result(database, expression):
    """The values of an expression, None where it is refused or fails."""
    verdict = database.judge(query(expression))
    if not verdict.ok:
        return None
    try:
        return [value(one) for row in database.run(verdict).rows for one in row]
    except SqlError:
        return None


@pytest.mark.parametrize("origin", EXPRESSIONS)
def test_no_expression_of_one_server_means_something_else_on_another(origin, databases):
    own, others = 0, []
    for expression in EXPRESSIONS[origin]:
        meant = result(databases[origin], expression)
        own += meant is not None
        if expression in OWN_WAY or meant is None:
            continue
        for name, database in databases.items():
            given = result(database, expression) if name != origin else None
            if given is not None and given != meant:
                others.append((expression, name, meant, given))
    assert others == []
    assert own > len(EXPRESSIONS[origin]) * 0.9
