"""Statements that passed, run: the rows are the same everywhere, limits hold, and who leaves takes the query along."""

from __future__ import annotations

import contextlib
import socket
import time

import gevent
import pytest

from gateway.text2sql.databases import mysql, postgresql, sqlite
from gateway.text2sql.errors import SqlFailed, SqlLimit
from gateway.text2sql.guard.judge import Verdict
from prompts import render
from tests.gateway.text2sql.slow_statements import SLOW
from tests.reliability.rig import at_most

QUESTIONS = [
    "SELECT name, line, seq FROM dtzpt WHERE name = '沈塘桥' ORDER BY line",
    "SELECT COUNT(*) AS n FROM dtzpt",
    "SELECT district, COUNT(DISTINCT name) AS n FROM dtzpt GROUP BY district ORDER BY n DESC, district",
    "SELECT l.line, l.length_km, COUNT(*) AS n FROM {lines} AS l JOIN dtzpt AS d ON d.line = l.line "
    "GROUP BY l.line, l.length_km ORDER BY n DESC, l.line LIMIT 5",
    "SELECT station, SUM(entries) AS n FROM riders WHERE day BETWEEN '2024-03-01' AND '2024-03-07' "
    "GROUP BY station ORDER BY n DESC, station LIMIT 10",
    "WITH by_day AS (SELECT day, SUM(entries) AS n FROM riders GROUP BY day) "
    "SELECT day, n FROM by_day WHERE n > (SELECT AVG(n) FROM by_day) ORDER BY day",
    "SELECT name FROM dtzpt WHERE name LIKE '%桥' AND opened < '2015-01-01' ORDER BY id",
    "SELECT name, RANK() OVER (PARTITION BY line ORDER BY seq DESC) AS r FROM dtzpt WHERE line = '2号线' ORDER BY r",
    "SELECT CASE WHEN lng > 120.2 THEN 'east' ELSE 'west' END AS side, COUNT(*) AS n FROM dtzpt GROUP BY 1 ORDER BY 1",
    "SELECT station FROM riders EXCEPT SELECT name FROM dtzpt",
    "SELECT name FROM dtzpt WHERE name IN (SELECT station FROM busy WHERE entries > 1500000) GROUP BY 1 ORDER BY 1",
    "SELECT substr(opened, 1, 4) AS y, COUNT(*) AS n FROM dtzpt GROUP BY 1 ORDER BY 1",
]


def rows(database, sql):
    verdict = database.judge(sql)
    assert verdict.ok, verdict.reason
    return database.run(verdict)


def plain(value):
    try:
        return round(float(value), 6)
    except (TypeError, ValueError):
        return value


def test_a_question_has_the_same_rows_on_every_server(sqlite_server, postgresql_server, mysql_server, opened):
    for question in QUESTIONS:
        told = []
        for server in (sqlite_server, postgresql_server, mysql_server):
            sql = question.replace("{lines}", "`lines`" if server.dialect == "mysql" else "lines")
            given = rows(opened(server), sql).rows
            told.append([[plain(value) for value in row] for row in given])
        assert told[0] == told[1] == told[2], question


def test_an_unquoted_reserved_word_is_written_so_that_the_server_takes_it(mysql_server, opened):
    assert rows(opened(mysql_server), "SELECT COUNT(*) AS n FROM dtzpt d JOIN `lines` l ON l.line = d.line").rows == [
        [305]
    ]


@pytest.mark.parametrize(
    "text", ["it's", 'say "x"', "a\\b", "\\", "\\'; --", "%s %(a)s :a ?", "行\n尾", "/*! x */", "$$"]
)
def test_a_text_reaches_the_server_as_it_was_judged(server, opened, text):
    database = opened(server)
    written = "'" + text.replace("'", "''") + "'"
    if server.dialect == "mysql":
        written = written.replace("\\", "\\\\")
    assert rows(database, f"SELECT {written} AS x FROM dtzpt LIMIT 1").rows == [[text]]


def test_more_rows_than_the_limit_are_cut_and_said_to_be(server, opened):
    given = rows(opened(server, row_limit=7), "SELECT name FROM dtzpt")
    assert (len(given.rows), given.truncated) == (7, True)
    given = rows(opened(server, row_limit=7), "SELECT name FROM dtzpt LIMIT 7")
    assert (len(given.rows), given.truncated) == (7, False)


def test_more_bytes_than_the_limit_are_cut_and_the_next_statement_works(server, opened):
    database = opened(server, row_limit=5000, byte_limit=20_000)
    given = rows(database, "SELECT name, line, name_en FROM dtzpt")
    assert given.truncated
    assert 10 < len(given.rows) < 305
    assert rows(database, "SELECT COUNT(*) AS n FROM dtzpt").rows == [[305]]


def test_a_wide_result_is_read_in_pieces(server, opened):
    given = rows(opened(server, row_limit=100_000), "SELECT * FROM riders")
    assert len(given.rows) > 10_000
    assert not given.truncated


def ends_within(database, verdict, seconds: float) -> bool:
    """Whether the statement ends in its limit so soon."""
    began = time.monotonic()
    with pytest.raises(SqlLimit) as limit:
        database.run(verdict)
    assert limit.value.retryable
    return time.monotonic() - began < seconds


def test_a_statement_that_runs_long_is_ended_within_half_a_second_of_its_limit(server, opened):
    database = opened(server, timeout_s=0.1)
    database.schema()
    for sql in SLOW:
        if server.dialect == "sqlite":
            sql = sql.replace("concat('%', b.station)", "'%' || b.station")
        verdict = database.judge(sql)
        assert verdict.ok, (sql, verdict.reason)
        assert ends_within(database, verdict, 0.1 + at_most(0.5)), sql
    database.server.close()
    assert gone(server, within_s=at_most(1))


def gone(server, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while server.running() and time.monotonic() < end:
        gevent.sleep(0.02)
    return server.running() == 0


def started(server) -> bool:
    end = time.monotonic() + 30
    while not (running := server.running()) and time.monotonic() < end:
        gevent.sleep(0.02)
    return running > 0


def test_the_limit_holds_without_the_servers_own(server, opened, monkeypatch):
    database = opened(server, timeout_s=0.3)
    verdict = database.judge(SLOW[0])
    asked = database.server.query
    monkeypatch.setattr(database.server, "query", lambda sql, collected, timeout_s: asked(sql, collected, 60))
    assert ends_within(database, verdict, 0.3 + at_most(0.5))
    assert gone(server, within_s=at_most(1))


def test_the_servers_own_limit_holds_without_ours(server, opened, monkeypatch):
    monkeypatch.setattr("gateway.text2sql.database.GRACE_S", 60)
    database = opened(server, timeout_s=0.3)
    assert ends_within(database, database.judge(SLOW[0]), 0.3 + at_most(0.5))


def test_who_leaves_takes_the_running_statement_along_within_a_second(server, opened):
    database = opened(server, timeout_s=30)
    verdict = database.judge(SLOW[0])
    running = gevent.spawn(database.run, verdict)
    assert started(server)
    began = time.monotonic()
    running.kill()
    assert time.monotonic() - began < at_most(0.2)
    assert gone(server, within_s=at_most(1))
    assert rows(database, "SELECT COUNT(*) AS n FROM dtzpt").elapsed_ms < at_most(1000)


@pytest.mark.parametrize("without", ["the server's own look", "a cancel"])
def test_each_way_of_taking_a_statement_along_works_without_the_other(postgresql_server, opened, monkeypatch, without):
    if without == "a cancel":
        monkeypatch.setattr(postgresql, "_cancel", lambda connection: connection.close())
    else:
        monkeypatch.setattr(postgresql, "CHECK_MS", 0)
    database = opened(postgresql_server, timeout_s=30)
    running = gevent.spawn(database.run, database.judge(SLOW[0]))
    assert started(postgresql_server)
    running.kill()
    assert gone(postgresql_server, within_s=at_most(1))


def test_other_greenlets_run_on_while_a_statement_runs(server, opened):
    database = opened(server, timeout_s=1)
    verdict = database.judge(SLOW[0])
    gaps = []

    def tick():
        last = time.monotonic()
        while True:
            gevent.sleep(0.005)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    ticking = gevent.spawn(tick)
    with pytest.raises(SqlLimit):
        database.run(verdict)
    ticking.kill()
    assert len(gaps) > 20
    # A blocked loop would be one gap as long as the statement.
    assert max(gaps) < 0.9


def test_statements_beyond_the_connections_wait_and_are_told_that_the_database_is_busy(server, opened):
    database = opened(server, timeout_s=0.6, connections=1)
    verdict, quick = database.judge(SLOW[0]), database.judge("SELECT 1 AS x FROM dtzpt LIMIT 1")
    running = gevent.spawn(database.run, verdict)
    gevent.sleep(0.1)
    with pytest.raises(SqlLimit):
        database.run(verdict)
    with pytest.raises(SqlLimit):
        running.get()
    # The one connection may still be busy with ending that.
    for _ in range(8):
        with contextlib.suppress(SqlLimit):
            assert database.run(quick).rows == [[1]]
            return
    pytest.fail("the connection never came back")


def test_an_error_of_the_databases_is_told_in_its_words(server, opened):
    database = opened(server)
    with pytest.raises(SqlFailed) as failed:
        database.run(Verdict("SELECT nope FROM dtzpt", ok=True, limited="SELECT nope FROM dtzpt"))
    assert "nope" in failed.value.message or "prohibited" in failed.value.message
    assert not failed.value.retryable


@pytest.mark.parametrize("url", ["postgresql://x@127.0.0.1:1/x", "mysql://x@127.0.0.1:1/x", "sqlite:////nowhere/x.db"])
def test_a_database_that_is_not_there_is_a_failure_that_may_pass(url):
    from gateway.settings import DatabaseSettings
    from gateway.text2sql.database import Database

    with pytest.raises(SqlFailed) as failed:
        Database("gone", DatabaseSettings(url=url)).schema()
    assert failed.value.retryable
    assert "gone" in failed.value.message
    assert "/nowhere" not in failed.value.message


def test_a_regular_expression_runs_in_mariadb(mysql_server, opened):
    database = opened(mysql_server)
    rows = database.run(database.judge("SELECT COUNT(*) FROM dtzpt WHERE name RLIKE '^沈塘' OR name REGEXP '^沈塘'"))
    assert rows.rows == [[2]]
    database.schema()  # MariaDB has no REGEXP_LIKE, which MySQL has
    assert "REGEXP" in database.judge("SELECT name FROM dtzpt WHERE REGEXP_LIKE(name, 'x')").reason


def long_text(characters: int) -> str:
    """An expression for a text of 10 ** `characters` a's."""
    text = "'aaaaaaaaaa'"
    for _ in range(characters - 1):
        text = f"replace({text}, 'a', 'aaaaaaaaaa')"
    return text


LONG_STEPS = [
    f"SELECT COUNT(*) FROM riders a, riders b WHERE length(replace({long_text(4)}, 'a', a.day || b.day)) > 0",
    f"SELECT COUNT(*) FROM riders a, riders b WHERE replace({long_text(5)}, 'b', a.day || b.day) LIKE '%{'a' * 190}b'",
    f"SELECT COUNT(*) FROM riders a, riders b WHERE {long_text(5)} || a.station || b.day GLOB '*{'a' * 190}b*'",
    f"SELECT COUNT(*) FROM riders a, riders b WHERE instr({long_text(5)} || a.day, '{'a' * 900}b' || b.day) > 0",
    f"SELECT SUM(length(upper({long_text(5)} || a.day || b.day))) FROM riders a, riders b",
    f"SELECT MAX(replace({long_text(5)} || a.day, 'aa', 'a')) FROM riders a, riders b",
]


def test_statements_of_long_steps_end_in_time_and_leave_sqlites_processes_free(sqlite_server, opened):
    """Without the guard: no interrupt would end one of these steps."""
    database = opened(sqlite_server, timeout_s=1)
    database.schema()
    for sql in LONG_STEPS:
        sent = Verdict(sql, ok=True, limited=sql)
        asked = [gevent.spawn(database.run, sent) for _ in range(4)]
        for one in gevent.joinall(asked, raise_error=False):
            assert isinstance(one.exception, SqlLimit), (sql, one.exception)
        assert rows(database, "SELECT COUNT(*) AS n FROM dtzpt").rows == [[305]]
    assert gone(sqlite_server, within_s=at_most(0.5))


def test_who_leaves_long_steps_of_sqlite_takes_them_along(sqlite_server, opened):
    database = opened(sqlite_server, timeout_s=30)
    database.schema()
    sent = Verdict(LONG_STEPS[0], ok=True, limited=LONG_STEPS[0])
    asked = [gevent.spawn(database.run, sent) for _ in range(4)]
    assert started(sqlite_server)
    gevent.killall(asked)
    assert gone(sqlite_server, within_s=at_most(0.5))
    assert rows(database, "SELECT COUNT(*) AS n FROM dtzpt").elapsed_ms < at_most(1000)


def test_a_schema_that_takes_long_to_read_does_without_the_samples_that_do(server, opened, monkeypatch):
    module = {"sqlite": sqlite, "postgresql": postgresql, "mysql": mysql}[server.dialect]
    monkeypatch.setattr(module, "READ_S", 1)
    slow = (
        "CREATE VIEW slow AS SELECT a.station FROM riders a, riders b, riders c, riders d "
        "WHERE a.entries + b.exits + c.entries + d.exits = 7"
    )
    server.own(slow)
    try:
        database = opened(server, "owner", tables=["dtzpt", "slow"], columns={}, samples={"slow.station": 3})
        began = time.monotonic()
        known = database.schema()
        assert time.monotonic() - began < 15
        assert [table.name for table in known.tables] == ["dtzpt", "slow"]
        assert rows(database, "SELECT COUNT(*) AS n FROM dtzpt").rows == [[305]]
    finally:
        server.own("DROP VIEW slow")


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_an_address_that_accepts_and_says_nothing_is_given_up(scheme, monkeypatch):
    from gateway.settings import DatabaseSettings
    from gateway.text2sql.database import Database

    monkeypatch.setattr(mysql, "CONNECT_S", 1)
    monkeypatch.setattr(postgresql, "CONNECT_S", 2)  # the least that libpq keeps
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        database = Database("mute", DatabaseSettings(url=f"{scheme}://x@127.0.0.1:{silent.getsockname()[1]}/x"))
        with pytest.raises(SqlFailed) as failed, gevent.Timeout(20):
            database.schema()
        assert failed.value.retryable


def test_a_key_that_names_nothing_closes_the_database_and_is_told_with_its_path(server, opened, caplog):
    database = opened(server, columns={"Staff_": ["name"]})
    for _ in range(2):
        with pytest.raises(SqlFailed) as failed:
            database.schema()
        assert not failed.value.retryable
        assert "Staff_" not in failed.value.message
    assert "databases.test.columns.Staff_" in caplog.text


def test_matches_and_paths_into_json_run_on_mariadb(mysql_server, opened):
    database = opened(mysql_server)
    asked = "SELECT COUNT(*) AS n FROM dtzpt WHERE name REGEXP '桥$' AND NOT name RLIKE '^x'"
    assert rows(database, asked).rows[0][0] > 0
    document = '{"k": {"a b": ["x"]}}'
    read = """JSON_EXTRACT(d.doc, '$.k."a b"[0]')"""
    for path, expected in ((f"JSON_UNQUOTE({read})", "x"), (read, '"x"')):
        given = rows(database, f"SELECT {path} AS x FROM (SELECT '{document}' AS doc) d")
        assert given.rows == [[expected]]
    assert "JSON_EXTRACT" in database.judge("SELECT name -> '$.k' FROM dtzpt").reason


def test_values_that_python_cannot_hold_come_as_the_server_writes_them(postgresql_server, opened):
    told = {
        "'infinity'::timestamptz": ("infinity", "timestamptz"),
        "'-infinity'::timestamp": ("-infinity", "datetime"),
        "'0044-03-15 BC'::date": ("0044-03-15 BC", "date"),
        "'12024-01-01'::timestamptz": ("12024-01-01 00:00:00+00", "timestamptz"),
        "'24:00'::time": ("24:00:00", "time"),
        "'2024-03-01 08:30+08'::timestamptz": ("2024-03-01T00:30:00+00:00", "timestamptz"),
        "'2024-03-01'::date": ("2024-03-01", "date"),
        "'1 year 1 month'::interval": ("1 year 1 mon", "interval"),
        "'90 minutes'::interval": (5400.0, "interval"),
        """'{"d": 1.10, "e": 1.5, "n": 9007199254740993}'::jsonb""": (
            {"d": "1.10", "e": 1.5, "n": "9007199254740993"},
            "json",
        ),
        "ARRAY[1, 2]": ([1, 2], "json"),
        "ARRAY['infinity'::date]": (["infinity"], "json"),
        "ARRAY['a', NULL]": (["a", None], "json"),
    }
    # Past the guard, which takes no array's element type for a cast.
    sql = "SELECT " + ", ".join(told)
    given = opened(postgresql_server).run(Verdict(sql, ok=True, limited=sql))
    assert given.rows == [[value for value, _ in told.values()]]
    assert [column["type"] for column in given.columns] == [word for _, word in told.values()]


def test_bytes_of_mysql_are_told_as_bytes(mysql_server, opened):
    told = "CAST('a' AS BINARY(2)) AS a, POINT(1, 2) AS b, CONCAT('x', name) AS c, _binary'z' AS d"
    sql = f"SELECT {told} FROM dtzpt LIMIT 1"
    given = opened(mysql_server).run(Verdict(sql, ok=True, limited=sql))
    assert [column["type"] for column in given.columns] == ["bytes", "bytes", "text", "bytes"]
    assert given.rows[0][0] == "0x6100" and given.rows[0][3] == "0x7a"


def test_a_column_with_a_percent_sign_is_shown_sampled_and_read_under_its_name(server, opened):
    quote = "`{}`" if server.dialect == "mysql" else '"{}"'
    percent, colon = quote.format("增长%"), quote.format("a :b")
    server.own(f"CREATE TABLE odd ({percent} INTEGER, {colon} INTEGER)")
    try:
        server.own("INSERT INTO odd VALUES (7, 8)")
        database = opened(server, "owner", tables=["odd"], columns={}, samples={"odd.增长%": 2, "odd.a :b": 2})
        schema = database.schema()
        assert [(one.name, one.samples) for one in schema.by_name["odd"].columns] == [
            ("增长%", ("7",)),
            ("a :b", ("8",)),
        ]
        assert "增长%%" not in render.table_text(schema.by_name["odd"], schema.dialect)
        assert rows(database, f"SELECT {percent} AS a, {colon} AS b FROM odd").rows == [[7, 8]]
    finally:
        server.own("DROP TABLE odd")
