"""Text to SQL in the server as it is shipped: patched, under gunicorn, with databases that are asked for real."""

from __future__ import annotations

import time

import pytest

from providers.scripted import Upstream
from tests.gateway.live import Live
from tests.gateway.text2sql.servers import ACCEPTED, COLUMNS, MARKER, TABLES
from tests.gateway.text2sql.slow_statements import SLOW
from tests.reliability.rig import at_most

GOOD = "问题：沈塘桥\n\n```sql\nSELECT name, line FROM dtzpt WHERE name = '沈塘桥' ORDER BY line\n```"


@pytest.fixture(scope="module")
def live(sqlite_server, postgresql_server, mysql_server):
    """A running server with a model that answers well, one that answers slowly, and three databases."""
    shared = {"tables": TABLES, "columns": COLUMNS, "timeout_s": 20}
    databases = {
        server.dialect: {"url": server.reader_url, **shared}
        for server in (sqlite_server, postgresql_server, mysql_server)
    }
    databases["owner"] = {"url": postgresql_server.owner_url, **shared}
    databases["accepted"] = {"url": mysql_server.owner_url, "unsafe_role": ACCEPTED, **shared}
    with Upstream(text=GOOD, pace_s=0) as good, Upstream(text=f"```sql\n{SLOW[0]}\n```", pace_s=0) as slow:
        providers = {
            name: {"type": "openai", "model": "m", "base_url": upstream.base_url("openai")}
            for name, upstream in (("good", good), ("slow", slow))
        }
        configuration = {
            "default": "good",
            "providers": providers,
            "databases": databases,
            "server": {"resume_window_s": 0},
            "text2sql": {"corrections": 0},
        }
        with Live(configuration) as running:
            yield running


@pytest.mark.parametrize("database", ["sqlite", "postgresql", "mysql", "accepted"])
def test_a_question_streams_its_reply_its_statement_and_its_rows(live, database):
    with live.ask("沈塘桥？", database=database) as reply:
        found = list(reply.events())
    names = [event.name for event in found]
    assert names[0] == "start" and names[-3:] == ["sql", "rows", "done"]
    assert "".join(event.data["text"] for event in found if event.name == "message") == GOOD
    assert found[-2].data["rows"] == [["沈塘桥", "19号线"], ["沈塘桥", "2号线"]]
    assert found[-3].data["dialect"] == {"accepted": "mysql"}.get(database, database)


def test_a_database_whose_role_can_write_is_not_asked_and_no_model_either(live):
    with live.ask("沈塘桥？", database="owner") as reply:
        assert reply.status == 422
        error = reply.json()["error"]
    assert error["code"] == "sql_failed" and "superuser" in error["message"]
    assert "superuser" in live.log.read_text("utf-8")


@pytest.mark.parametrize("database", ["postgresql", "mysql"])
def test_a_client_that_leaves_ends_its_statement_on_the_server_within_a_second(live, request, database):
    server = request.getfixturevalue(f"{database}_server")
    reply = live.ask("慢？", database=database, provider="slow")
    end = time.monotonic() + 30
    while not server.running():
        assert time.monotonic() < end
        time.sleep(0.02)
    left = time.monotonic()
    reply.close()
    while server.running():
        assert time.monotonic() - left < at_most(1)
        time.sleep(0.02)


@pytest.mark.parametrize("database", ["sqlite", "postgresql", "mysql"])
def test_other_streams_go_on_while_a_statement_runs(live, database):
    with live.ask("慢？", database=database, provider="slow") as slow:
        events = slow.events()
        while next(events).name != "sql":
            pass
        with live.ask("沈塘桥？", database="sqlite") as reply:
            began = time.monotonic()
            assert [event.name for event in reply.events()][-1] == "done"
            assert time.monotonic() - began < at_most(1)


def test_nothing_that_is_not_open_is_in_the_log(live):
    assert MARKER not in live.log.read_text("utf-8")
