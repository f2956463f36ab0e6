"""What analysts write on each server: the guard takes it as it is, and what it opened makes nothing without a bound."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gateway.text2sql.errors import SqlFailed

WRITTEN = yaml.safe_load((Path(__file__).parent / "analysts.yaml").read_text("utf-8"))


def test_what_analysts_write_is_taken_and_runs(server, opened):
    database = opened(server, "owner")
    refused, failed = [], []
    for expression in WRITTEN[server.dialect]:
        verdict = database.judge(f"SELECT {expression}")
        if not verdict.ok:
            refused.append((expression, verdict.reason))
            continue
        assert verdict.sql == f"SELECT {expression}" or "#" in expression or "/*" in expression or "--" in expression
        try:
            database.run(verdict)
        except SqlFailed as error:
            failed.append((expression, error.message))
    assert refused == []
    # Versions differ in what they have.
    assert len(failed) < len(WRITTEN[server.dialect]) / 8, failed


@pytest.mark.parametrize(
    ("name", "sql", "rows"),
    [
        ("postgresql", "SELECT jsonb_set('{\"a\":1}', '{a}', '2') AS x", [[{"a": 2}]]),
        ("postgresql", "SELECT r.a, r.b FROM jsonb_to_recordset('[{\"a\":1,\"b\":\"x\"}]') AS r(a int, b text)",
         [[1, "x"]]),
        ("postgresql", "SELECT '[2024-01-01,2024-02-01)'::daterange @> DATE '2024-01-05' AS x", [[True]]),
        ("mysql", "SELECT INSERT('Quadratic', 3, 4, 'What') AS x", [["QuWhattic"]]),
        ("mysql", "SELECT t.n, t.a FROM JSON_TABLE('[{\"a\":5}]', '$[*]' COLUMNS (n FOR ORDINALITY, a INT PATH '$.a' "
         "DEFAULT '0' ON EMPTY NULL ON ERROR)) AS t", [[1, 5]]),
        ("mysql", "SELECT d.id, t.v FROM dtzpt d, JSON_TABLE('[7]', '$[*]' COLUMNS (v INT PATH '$')) t "
         "WHERE d.id = 1", [[1, 7]]),
        ("mysql", "VALUES (1,'a'),(2,'b')", [[1, "a"], [2, "b"]]),
        ("mysql", "WITH v(a, b) AS (VALUES (1,'x'),(2,'y')) SELECT b FROM v WHERE a = 2", [["y"]]),
        ("mysql", "SELECT COUNT(*) AS n # 站点数\nFROM dtzpt", [[305]]),
        ("mysql", "SELECT COUNT(*) AS n FROM dtzpt # how many stations there are", [[305]]),
        ("mysql", "SELECT UTC_TIMESTAMP = UTC_TIMESTAMP() AS x, UTC_DATE <= UTC_TIMESTAMP AS y", [[1, 1]]),
        ("mysql", "SELECT '2024-01-31' + INTERVAL 1 MONTH AS x", [["2024-02-29"]]),
        ("sqlite", "SELECT json_set('{\"a\":1}', '$.a', 2) AS x", [['{"a":2}']]),
    ],
)  # fmt: skip
def test_what_was_refused_needlessly_gives_the_servers_rows(name, sql, rows, request, opened):
    database = opened(request.getfixturevalue(f"{name}_server"), "owner")
    verdict = database.judge(sql)
    assert verdict.ok, verdict.reason
    assert database.run(verdict).rows == rows


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("postgresql", "SELECT json_agg(s) FROM staff s"),  # a table's row has its closed columns
        ("postgresql", "SELECT row_to_json(secret) FROM dtzpt"),
        ("postgresql", "SELECT to_jsonb(s) FROM (SELECT 1) t, staff s"),
        ("postgresql", "SELECT r.a FROM jsonb_to_recordset((SELECT note FROM secret)::jsonb) AS r(a int)"),
        # The arguments of a function that gives rows are judged as any others.
        ("postgresql", "SELECT e FROM staff s, unnest(ARRAY[s.salary]) e"),
        ("postgresql", "SELECT x FROM staff, LATERAL regexp_split_to_table(salary, '') x"),
        ("postgresql", "SELECT e FROM staff s, jsonb_array_elements(to_jsonb(s.salary)) e"),
        ("sqlite", "SELECT j.value FROM staff s, json_each(json_array(s.salary)) j"),
        ("mysql", "SELECT j.s FROM staff, JSON_TABLE(JSON_ARRAY(staff.salary), '$[*]' COLUMNS (s TEXT PATH '$')) j"),
        ("postgresql", "SELECT r.b FROM jsonb_to_recordset('[]') AS r(a int)"),
        ("postgresql", "SELECT r.a FROM jsonb_to_recordset('[]') AS r(a regclass)"),
        ("postgresql", "SELECT jsonb_pretty(jsonb_agg(name)) FROM dtzpt"),  # its indents may be very long
        ("postgresql", "SELECT jsonb_pretty(concat(name, name, name)::jsonb) FROM dtzpt"),
        ("mysql", "SELECT t.v FROM JSON_TABLE((SELECT note FROM secret), '$' COLUMNS (v INT PATH '$')) t"),
        ("mysql", "SELECT t.w FROM JSON_TABLE('[]', '$' COLUMNS (v INT PATH '$')) t"),
        ("mysql", "SELECT note FROM JSON_TABLE('[]', '$' COLUMNS (v INT PATH '$')) t, secret"),
        ("mysql", "SELECT 5 # 3 AS x FROM dtzpt"),
        ("mysql", "SELECT name # seq AS x\nFROM dtzpt"),
        ("mysql", "SELECT name #> '{a}' FROM dtzpt"),
        ("mysql", "VALUES ((SELECT note FROM secret))"),
        ("mysql", "SELECT COMPRESS(REPEAT('a', 100))"),
    ],
)
def test_what_was_opened_opens_nothing_closed_and_nothing_without_a_bound(name, sql, request, opened):
    assert not opened(request.getfixturevalue(f"{name}_server"), "owner").judge(sql).ok
