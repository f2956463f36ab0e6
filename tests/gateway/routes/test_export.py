"""POST /sql with `all_rows`: a result beyond `row_limit`, whole, as CSV that is sent as it comes."""

from __future__ import annotations

import csv
import io
import sqlite3

import pytest

from demo.metro import build
from tests.gateway.live import Live

MANY = "SELECT a.name AS a, b.name AS b, a.id * b.id AS n FROM dtzpt AS a CROSS JOIN dtzpt AS b ORDER BY a.id, b.id"


def export(client, sql, accept="text/csv", **more):
    return client.post("/sql", json={"sql": sql, "all_rows": True, **more}, headers={"Accept": accept})


def read(reply):
    return list(csv.reader(io.StringIO(reply.get_data(as_text=True), newline="")))


def test_all_rows_come_where_the_answer_has_the_first_ones(serving):
    client, providers = serving(row_limit=10)
    short = client.post("/sql", json={"sql": MANY}, headers={"Accept": "text/csv"})
    assert len(read(short)) == 11 and short.headers["X-Rows-Truncated"] == "true"
    reply = export(client, MANY, database="metro")
    assert reply.status_code == 200 and reply.headers["X-Rows-Limit"] == "100000"
    assert reply.headers["Content-Type"].startswith("text/csv") and "X-Answer-Id" not in reply.headers
    found = read(reply)
    assert found[0] == ["a", "b", "n"] and len(found) == 305 * 305 + 1
    assert found[1:11] == read(short)[1:] and providers.requests == []


def test_rows_end_at_export_rows(serving):
    client, _ = serving(row_limit=10, export_rows=1234)
    reply = export(client, MANY)
    assert reply.headers["X-Rows-Limit"] == "1234" and len(read(reply)) == 1235


@pytest.mark.parametrize(
    ("sql", "status", "code", "word"),
    [("DELETE FROM dtzpt", 422, "sql_refused", "DELETE"), ("SELECT * FROM secret", 422, "sql_refused", "secret"),
     ("SELECT substr(name) FROM dtzpt", 422, "sql_failed", "substr")],
)  # fmt: skip
def test_what_cannot_run_is_a_failure_of_its_own(serving, sql, status, code, word):
    client, _ = serving()
    reply = export(client, sql)
    assert reply.status_code == status and reply.get_json()["error"]["code"] == code
    assert word in reply.get_json()["error"]["message"]


@pytest.mark.parametrize(
    ("more", "accept"), [({}, "text/event-stream"), ({"execute": False}, "text/csv"), ({"export_rows": 0}, "text/csv")]
)
def test_it_is_csv_alone_and_only_where_the_owner_allows_it(serving, more, accept):
    client, _ = serving(**more)
    reply = export(client, "SELECT name FROM dtzpt", accept)
    assert reply.status_code == 400 and reply.get_json()["error"]["message"].startswith("all_rows: ")


def test_a_spreadsheet_gets_its_mark_and_no_formula(serving):
    client, _ = serving()
    sql = "SELECT '=1+1' AS f, '-5' AS t, -5 AS n, '＝x' AS w, 'a,\"b\"' AS q, NULL AS none FROM lines LIMIT 1"
    text = export(client, sql, spreadsheet=True).get_data(as_text=True)
    assert text == '\ufefff,t,n,w,q,none\r\n\'=1+1,-5,-5,\'＝x,"a,""b""",\r\n'
    assert export(client, sql).get_data(as_text=True).startswith("f,t,n,w,q,none\r\n=1+1,")


def test_a_statement_without_rows_gives_its_names(serving):
    client, _ = serving()
    assert export(client, "SELECT name FROM dtzpt WHERE id < 0").get_data(as_text=True) == "name\r\n"


def test_a_failure_in_the_middle_and_too_many_bytes_break_the_reply_off(tmp_path):
    build.build(tmp_path / "metro.db")
    with sqlite3.connect(tmp_path / "metro.db") as connection:
        connection.execute("CREATE TABLE numbers AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                           "WHERE i < 90000) SELECT i, printf('%0300d', i) AS words FROM n")  # fmt: skip
    database = {"url": f"sqlite:///{tmp_path / 'metro.db'}", "export_bytes": 64 << 20}
    configuration = {
        "default": "m",
        "providers": {"m": {"type": "openai", "model": "m", "base_url": "http://127.0.0.1:1"}},
        "databases": {"metro": database, "wide": database | {"export_bytes": 256 << 20}},
    }
    fails = "SELECT i, words, abs(CASE WHEN i = 85000 THEN -9223372036854775807 - 1 ELSE i END) AS n FROM numbers"
    with Live(configuration) as live:
        for fields in ({"sql": "SELECT i, words FROM numbers"}, {"sql": fails, "database": "wide"}):
            reply = live.call("POST", "/sql", fields | {"all_rows": True}, {"Accept": "text/csv"})
            if reply.status == 422:
                # Nothing was sent yet: the failure is a reply of its own.
                assert reply.json()["error"]["code"] == "sql_failed"
                continue
            assert reply.status == 200
            with pytest.raises(ConnectionError):
                reply.body()
        whole = live.call("POST", "/sql", {"sql": "SELECT i, words FROM numbers", "database": "wide", "all_rows": True},
                          {"Accept": "text/csv"})  # fmt: skip
        assert whole.body().count(b"\r\n") == 90_001
        log = live.log.read_text("utf-8")
    assert "Traceback" not in log
