"""Each layer alone, with the others off: taking one away is noticed here. How a role is judged is in test_roles.py."""

from __future__ import annotations

import sqlite3

import psycopg
import pymysql
import pytest
from sqlalchemy import make_url

from gateway.text2sql.databases import sqlite_runner
from gateway.text2sql.errors import SqlError, SqlFailed
from gateway.text2sql.guard.judge import Verdict
from tests.gateway.text2sql.servers import MARKER


def send(database, sql):
    """Run a statement that no guard saw."""
    return database.run(Verdict(sql, ok=True, limited=sql))


# The role's own rights, with neither guard nor our connection: a plain driver.


def test_a_good_role_of_postgresql_cannot_read_or_write_what_is_not_its_own(postgresql_server):
    with psycopg.connect(postgresql_server.reader_url, autocommit=True) as plain:
        for sql in (
            "SELECT * FROM secret",
            "SELECT salary FROM staff",
            "DELETE FROM lines",
            "COPY dtzpt TO PROGRAM 'cat'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                plain.execute(sql)


def test_a_good_role_of_mysql_cannot_read_or_write_what_is_not_its_own(mysql_server):
    with pymysql.connect(
        host=mysql_server.server.host, port=mysql_server.server.port, user=mysql_server.name, database=mysql_server.name
    ) as plain:
        for sql in (
            "SELECT * FROM secret",
            "SELECT salary FROM staff",
            "DELETE FROM `lines`",
            "SELECT write_line('x')",
        ):
            with pytest.raises(pymysql.err.OperationalError):
                plain.cursor().execute(sql)


# How a statement is sent: with an all-powerful role and no guard.


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; INSERT INTO calls VALUES ('x')",
        "COMMIT; INSERT INTO calls VALUES ('x')",
        "INSERT INTO calls VALUES ('x')",
        "WITH a AS (INSERT INTO calls VALUES ('x') RETURNING 1) SELECT * FROM a",
        "SET TRANSACTION READ WRITE",
        "COPY calls FROM PROGRAM 'echo x'",
        "COPY secret TO PROGRAM 'cat'",
        "DO $$ BEGIN INSERT INTO calls VALUES ('x'); END $$",
        "SELECT * INTO stolen FROM dtzpt",
    ],
)
def test_postgresql_takes_one_query_and_nothing_else_from_us_even_for_a_superuser(postgresql_server, opened, sql):
    before = postgresql_server.digest()
    with pytest.raises(SqlFailed):
        send(opened(postgresql_server, "owner"), sql)
    assert postgresql_server.digest() == before


@pytest.mark.parametrize("sql", ["SELECT 1; INSERT INTO calls VALUES ('x')", "COMMIT; INSERT INTO calls VALUES ('x')"])
def test_mysql_takes_one_statement_from_us_even_for_a_superuser(mysql_server, opened, sql):
    before = mysql_server.digest()
    with pytest.raises(SqlFailed):
        send(opened(mysql_server, "owner"), sql)
    assert mysql_server.digest() == before


# The read-only transaction, which is rolled back: a function that writes, called by a superuser, past the guard.


@pytest.mark.parametrize(
    "sql", ["SELECT write_line('x')", "SELECT nextval('counter')", "SELECT * FROM dtzpt FOR UPDATE"]
)
def test_the_transaction_of_postgresql_lets_no_function_write(postgresql_server, opened, sql):
    before = postgresql_server.digest()
    with pytest.raises(SqlFailed) as refused:
        send(opened(postgresql_server, "owner"), sql)
    assert "read-only" in refused.value.message
    assert postgresql_server.digest() == before


def test_what_a_read_only_transaction_lets_through_is_rolled_back(postgresql_server, opened):
    # lo_create writes in a read-only transaction; a large object would stay if the transaction were committed.
    before = postgresql_server.digest()
    send(opened(postgresql_server, "owner"), "SELECT lo_create(0)")
    assert postgresql_server.digest() == before


@pytest.mark.parametrize("sql", ["SELECT write_line('x')", "INSERT INTO calls VALUES ('x')", "SELECT NEXTVAL(counter)"])
def test_the_transaction_of_mysql_lets_nothing_write(mysql_server, opened, sql):
    before = mysql_server.digest()
    with pytest.raises(SqlFailed):
        send(opened(mysql_server, "owner"), sql)
    assert mysql_server.digest() == before


# The connection: nothing stays for the next statement.


def test_a_setting_that_a_statement_changed_is_gone_with_its_connection(postgresql_server, opened):
    database = opened(postgresql_server, "owner", timeout_s=2)
    send(database, "SELECT set_config('statement_timeout', '0', false)")
    (((left,),),) = (send(database, "SELECT current_setting('statement_timeout')").rows,)
    assert 0 < int(left.removesuffix("ms")) <= 2000


def test_a_lock_that_a_statement_took_is_gone_with_its_connection(postgresql_server, mysql_server, opened):
    for server, sql in (
        (postgresql_server, "SELECT pg_advisory_lock(7)"),
        (mysql_server, "SELECT GET_LOCK('seven', 60)"),
    ):
        database = opened(server, "owner", timeout_s=10)
        for _ in range(2):
            send(database, sql)


# SQLite: each of its layers, with the others taken away.


def test_sqlite_opens_the_file_for_reading_alone(sqlite_server):
    connection = sqlite_runner.connect(make_url(sqlite_server.reader_url).database)
    connection.execute("PRAGMA query_only = OFF")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM lines")
    connection.close()


def test_sqlite_is_told_to_query_only(sqlite_server):
    connection = sqlite_runner.connect(make_url(sqlite_server.reader_url).database)
    assert connection.execute("PRAGMA query_only").fetchone() == (1,)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("CREATE TEMP TABLE probe (x)")
    connection.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM secret",
        "SELECT salary FROM staff",
        "SELECT sql FROM sqlite_master",
        "PRAGMA table_info(secret)",
        "ATTACH DATABASE ':memory:' AS x",
        "SELECT load_extension('x')",
        "SELECT randomblob(10)",
        "WITH busy AS (SELECT * FROM secret) SELECT * FROM busy",
        "VACUUM",
    ],
)
def test_sqlites_authorizer_refuses_what_is_not_open(sqlite_server, opened, sql):
    with pytest.raises(SqlFailed):
        send(opened(sqlite_server), sql)


def test_sqlites_authorizer_lets_an_open_view_read_for_itself(sqlite_server, opened):
    given = send(
        opened(sqlite_server, tables=["busy"], columns={}),
        "SELECT station, entries FROM busy ORDER BY entries DESC LIMIT 1",
    )
    assert given.rows[0][0] == "火车东站"
    with pytest.raises(SqlFailed):
        send(opened(sqlite_server, tables=["busy"], columns={}), "SELECT entries FROM riders")


def test_a_value_that_a_statement_blows_up_is_cut_by_sqlites_own_limit(sqlite_server, opened):
    nested = "'xxxxxxxxxxxxxxxx'"
    for _ in range(8):
        nested = f"replace({nested}, 'x', 'xxxxxxxxxxxxxxxx')"
    with pytest.raises(SqlError):
        send(opened(sqlite_server, byte_limit=100_000), f"SELECT {nested} FROM dtzpt")


def test_no_layer_shows_the_marker_to_a_good_role(server, opened):
    database = opened(server)
    for sql in (
        "SELECT * FROM secret",
        "SELECT salary FROM staff",
        "SELECT name FROM dtzpt UNION SELECT note FROM secret",
    ):
        assert not database.judge(sql).ok
        with pytest.raises(SqlFailed) as refused:
            send(database, sql)
        assert MARKER not in refused.value.message
