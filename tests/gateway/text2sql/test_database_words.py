"""What a database says reaches the model, the caller and the log: without values, addresses and roles."""

from __future__ import annotations

import pytest

from gateway.text2sql.database import Database
from gateway.text2sql.errors import SqlFailed, without_values
from gateway.text2sql.guard.judge import Verdict
from tests.gateway.text2sql.servers import MARKER, settings


def refusal(database, sql):
    with pytest.raises(SqlFailed) as refused:
        database.run(Verdict(sql, ok=True, limited=sql))
    return refused.value.message


@pytest.mark.parametrize(
    ("words", "statement", "about_statement", "told"),
    [
        (
            'invalid input syntax for type boolean: "hidden"',
            "SELECT 1",
            False,
            "invalid input syntax for type boolean: …",
        ),
        ('value "a" and "b" is out of range', "SELECT 1", False, "value … is out of range"),
        ('invalid input syntax: "a"secret: b"', "SELECT 1", False, "invalid input syntax: …"),
        ("requested character too large: 4242", "SELECT 1", False, "requested character too large: …"),
        ("ORDER BY position 12 is not in select list", "SELECT a ORDER BY 12", True, None),
        ('column "nmae" does not exist', "SELECT nmae FROM t", True, None),
        ('column "t.nmae" does not exist', "SELECT NMAE FROM t", True, None),
        ('relation "hidden" does not exist', "SELECT a::regclass FROM t", True, "relation … does not exist"),
        ("Unknown column 'x' in 'field list'", "SELECT x FROM t", True, "Unknown column 'x' in …"),
        ("Table 'x' doesn't exist", "SELECT 1 FROM x", True, None),
        ("Table 'y' doesn't exist", "SELECT 1 FROM x", True, "Table … doesn't exist"),
        ("Incorrect value: 'it's hidden'", "SELECT 1", False, "Incorrect value: …"),
        ("denied to user 'reader'@'10.0.0.1' for table `t`", "SELECT t", True, "denied to user …"),
        ("unclosed 'secret", "SELECT 1", False, "unclosed …"),
    ],
)
def test_words_keep_what_the_statement_says_and_nothing_else(words, statement, about_statement, told):
    assert without_values(words, statement, about_statement=about_statement) == (words if told is None else told)


def test_no_value_of_a_row_is_told_by_a_refusal(postgresql_server, opened):
    database = opened(postgresql_server, "owner")
    for sql in (
        "SELECT salary::boolean FROM staff",
        "SELECT salary::int FROM staff",
        "SELECT salary::regclass FROM staff",
        "SELECT salary::json FROM staff",
        "SELECT date_trunc(salary, now()) FROM staff",
        "SELECT now() AT TIME ZONE salary FROM staff",
        "SELECT (note || E'\\n\"x')::date FROM secret",
    ):
        told = refusal(database, sql)
        assert MARKER not in told and MARKER.lower() not in told.lower(), sql
        assert "SQLSTATE" in told


@pytest.mark.parametrize("sql", ["SELECT nmae FROM dtzpt", "SELECT d.nmae FROM dtzpt AS d"])
def test_the_name_that_is_wrong_is_told_for_the_correction(server, opened, sql):
    assert "nmae" in refusal(opened(server), sql)


def test_a_refusal_names_no_role_and_no_address(postgresql_server, mysql_server, opened):
    for server in (postgresql_server, mysql_server):
        told = refusal(opened(server), "SELECT note FROM secret")
        assert server.name not in told and "127.0.0.1" not in told and "localhost" not in told
        assert "secret" in told


@pytest.mark.parametrize("url", ["postgresql://nobody:hunter2secret@127.0.0.1:1/x", "mysql://nobody@127.0.0.1:1/x"])
def test_where_a_database_cannot_be_reached_the_address_is_in_the_log_alone(url, caplog):
    database = Database("shop", settings(url))
    for call in (database.check_role, database.schema):
        with pytest.raises(SqlFailed) as refused:
            call()
        assert refused.value.retryable
        assert "127.0.0.1" not in refused.value.message and "nobody" not in refused.value.message
    assert "refused" in caplog.text.lower()
    assert "hunter2secret" not in caplog.text
