"""Statements of as_met.yaml: what is sent is what was written, so the rows are the plain client's."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml

from gateway.text2sql.database import Database
from gateway.text2sql.errors import SqlFailed
from tests.gateway.text2sql import servers

CASES = [
    pytest.param(server, case, id=f"{server}: {case['sql'][:60]}")
    for group in yaml.safe_load((Path(__file__).parent / "as_met.yaml").read_text("utf-8"))
    for server in group.get("servers", [group.get("server")])
    for case in group["cases"]
]
CREATE = "CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR(50), city VARCHAR(50))"
FILL = "INSERT INTO customers VALUES (1, '甲', '杭州'), (2, '乙', '上海'), (3, 'Bob', '杭州')"


@pytest.fixture(scope="module")
def customers(request):
    """Opens the server's database with `customers`, once for each server."""
    made: dict[str, object] = {}

    def of(name):
        server = request.getfixturevalue(f"{name}_server")
        if name not in made:
            made[name] = server
            server.own(CREATE)
            server.own(FILL)
        return server

    yield of
    for server in made.values():
        server.own("DROP TABLE customers")


@pytest.mark.parametrize(("name", "case"), CASES)
def test_a_statement_means_here_what_it_means_on_its_server(name, case, customers, opened):
    database = opened(customers(name), "owner", tables=[*servers.TABLES, "customers"])
    verdict = database.judge(case["sql"])
    if "refused" in case:
        assert not verdict.ok
        assert case["refused"] in verdict.reason
        return
    if "refused_or_failed" in case and not verdict.ok:
        return
    assert verdict.ok, verdict.reason
    if "failed" in case:
        with pytest.raises(SqlFailed, match=case["failed"]):
            database.run(verdict)
        return
    if "refused_or_failed" in case:
        with contextlib.suppress(SqlFailed):
            database.run(verdict)  # whatever the server says: no failure of ours
        return
    rows = database.run(verdict)
    if "rows" in case:
        assert rows.rows == case["rows"]
    if "count" in case:
        assert len(rows.rows) == case["count"]
    if "names" in case:
        assert [column["name"] for column in rows.columns] == case["names"]


def test_a_session_keeps_the_databases_own_sql_mode(mysql_server, customers, opened):
    """Without ONLY_FULL_GROUP_BY a server gives an arbitrary name; with it, the model is corrected."""
    server = customers("mysql")
    url = server.owner_url + "?init_command=SET+sql_mode%3D%27ONLY_FULL_GROUP_BY%2CANSI_QUOTES%2CPIPES_AS_CONCAT%27"
    database = Database("test", servers.settings(url, tables=["customers"], columns={}, unsafe_role=servers.ACCEPTED))
    try:
        with pytest.raises(SqlFailed, match="1055"):
            database.run(database.judge("SELECT city, name, MAX(id) AS m FROM customers GROUP BY city"))
        rows = database.run(database.judge('SELECT COUNT(*) FROM customers WHERE city = "上海"'))
        assert rows.rows == [[1]]  # no ANSI_QUOTES: what the guard read as a text is one
    finally:
        database.close()


def test_times_are_in_the_databases_own_zone_or_in_the_configured_one(postgresql_server, mysql_server, opened):
    postgresql_server.own("CREATE TABLE sold (at timestamptz)")
    postgresql_server.own("INSERT INTO sold VALUES ('2024-03-05 01:30+08')")
    postgresql_server.own(f"ALTER DATABASE {postgresql_server.name} SET timezone = 'Asia/Shanghai'")
    mysql_server.own("CREATE TABLE sold (at timestamp)")
    mysql_server.own("INSERT INTO sold VALUES (CONVERT_TZ('2024-03-05 01:30:00', '+08:00', @@time_zone))")
    local = "SELECT COUNT(*) AS n FROM sold WHERE CAST(at AS DATE) = DATE '2024-03-05'"
    try:
        for server, more, n in (
            (postgresql_server, {}, 1),
            (postgresql_server, {"timezone": "UTC"}, 0),
            (mysql_server, {"timezone": "+08:00"}, 1),
            (mysql_server, {"timezone": "+00:00"}, 0),
        ):
            database = opened(server, "owner", tables=["sold"], columns={}, **more)
            assert database.run(database.judge(local)).rows == [[n]], (server.dialect, more)
        given = opened(postgresql_server, "owner", tables=["sold"], columns={})
        rows = given.run(given.judge("SELECT at FROM sold"))
        assert rows.rows == [["2024-03-05T01:30:00+08:00"]] and rows.columns[0]["type"] == "timestamptz"
        given = opened(mysql_server, "owner", tables=["sold"], columns={}, timezone="+08:00")
        rows = given.run(given.judge("SELECT at FROM sold"))
        assert rows.rows == [["2024-03-05T01:30:00+08:00"]] and rows.columns[0]["type"] == "timestamptz"
    finally:
        postgresql_server.own(f"ALTER DATABASE {postgresql_server.name} RESET timezone")
        for server in (postgresql_server, mysql_server):
            server.own("DROP TABLE sold")
