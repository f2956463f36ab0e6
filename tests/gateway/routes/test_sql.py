"""POST /sql from outside: a statement that a person edited is judged and run, and no model is asked."""

from __future__ import annotations

import json

import pytest


def events(reply):
    found = []
    for block in reply.get_data(as_text=True).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


def run(client, sql, **more):
    return client.post("/sql", json={"sql": sql, **more}, headers={"Accept": "text/event-stream"})


def test_a_statement_gives_its_verdict_and_its_rows(serving):
    client, providers = serving()
    given = events(run(client, "select count(*) as n from dtzpt; -- 站点", database="metro"))
    assert [name for name, _ in given] == ["start", "sql", "rows", "done"]
    statement, rows, done = (data for _, data in given[1:])
    assert statement["sql"] == "select count(*) as n from dtzpt"
    assert statement["ok"] and statement["final"] and statement["tables"] == ["dtzpt"]
    assert rows["columns"][0]["name"] == "n" and rows["rows"] == [[305]]
    assert done["finish_reason"] == "stop" and done["usage"] is None and "sql" in done["timing"]
    assert providers.requests == []


def test_a_refused_statement_says_why_and_gives_no_rows(serving):
    client, _ = serving()
    given = events(run(client, "DELETE FROM dtzpt"))
    assert [name for name, _ in given] == ["start", "sql", "done"]
    assert not given[1][1]["ok"] and "DELETE" in given[1][1]["reason"]


def test_what_the_database_refuses_is_a_failure(serving):
    client, _ = serving()
    reply = client.post("/sql", json={"sql": "SELECT substr(name) FROM dtzpt"}, headers={"Accept": "application/json"})
    assert reply.status_code in (422, 502) and reply.get_json()["error"]["code"] == "sql_failed"


def test_where_nothing_is_run_the_verdict_alone_comes(serving):
    client, _ = serving(execute=False)
    assert [name for name, _ in events(run(client, "SELECT 1 FROM dtzpt"))] == ["start", "sql", "done"]


@pytest.mark.parametrize(
    ("body", "named"),
    [({}, "sql"), ({"sql": ""}, "sql"), ({"sql": 1}, "sql"), ({"sql": "SELECT 1", "database": "none"}, "database"),
     ({"sql": "SELECT 1", "database": "nope"}, "database"), ({"sql": "SELECT 1", "x": 1}, "x"),
     ({"sql": "x" * 20_001}, "sql")],
)  # fmt: skip
def test_a_wrong_field_is_named(serving, body, named):
    client, _ = serving()
    reply = client.post("/sql", json=body)
    assert reply.status_code == 400 and named in reply.get_json()["error"]["message"]
