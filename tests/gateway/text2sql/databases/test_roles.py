"""The role that reads: what it may do beside reading is found and told before anything runs."""

from __future__ import annotations

import time

import gevent
import pytest

from gateway.text2sql.database import Database
from gateway.text2sql.databases.privileges import mysql_excess
from gateway.text2sql.errors import SqlFailed
from gateway.text2sql.guard.judge import Verdict
from tests.gateway.text2sql.servers import settings


def test_a_role_that_can_only_read_is_taken(server, opened):
    opened(server, unsafe_role="").check_role()


@pytest.mark.parametrize(
    ("grant", "revoke", "word"),
    [
        ("GRANT INSERT ON dtzpt TO {role}", "REVOKE INSERT ON dtzpt FROM {role}", "INSERT on table public.dtzpt"),
        (
            "GRANT UPDATE (name) ON staff TO {role}",
            "REVOKE UPDATE (name) ON staff FROM {role}",
            "UPDATE on column name of",
        ),
        ("GRANT TRUNCATE ON riders TO {role}", "REVOKE TRUNCATE ON riders FROM {role}", "TRUNCATE"),
        ("ALTER ROLE {role} SUPERUSER", "ALTER ROLE {role} NOSUPERUSER", "superuser"),
        ("ALTER ROLE {role} CREATEDB", "ALTER ROLE {role} NOCREATEDB", "CREATEDB"),
        ("ALTER ROLE {role} CREATEROLE", "ALTER ROLE {role} NOCREATEROLE", "CREATEROLE"),
        ("ALTER ROLE {role} BYPASSRLS", "ALTER ROLE {role} NOBYPASSRLS", "BYPASSRLS"),
        ("GRANT pg_write_server_files TO {role}", "REVOKE pg_write_server_files FROM {role}", "pg_write_server_files"),
        ("GRANT pg_read_server_files TO {role}", "REVOKE pg_read_server_files FROM {role}", "pg_read_server_files"),
        (
            "GRANT pg_execute_server_program TO {role}",
            "REVOKE pg_execute_server_program FROM {role}",
            "pg_execute_server_program",
        ),
        (
            "GRANT CREATE ON SCHEMA public TO {role}",
            "REVOKE CREATE ON SCHEMA public FROM {role}",
            "CREATE on schema public",
        ),
        ("ALTER TABLE calls OWNER TO {role}", "ALTER TABLE calls OWNER TO CURRENT_USER", "owns table public.calls"),
    ],
)
def test_a_role_of_postgresql_that_can_do_more_is_refused_and_told_what(postgresql_server, opened, grant, revoke, word):
    with postgresql_server.connect() as owner:
        owner.execute(grant.format(role=postgresql_server.name))
        try:
            database = opened(postgresql_server, unsafe_role="")
            assert word in ", ".join(one.whole for one in database.server.excess())
            with pytest.raises(SqlFailed, match="can do more than read"):
                database.check_role()
            opened(postgresql_server).check_role()  # accepted in writing
        finally:
            owner.execute(revoke.format(role=postgresql_server.name))


@pytest.fixture
def other_role(postgresql_server):
    """A role beside the reader's, which is no member of anything."""
    name = f"{postgresql_server.name}_other"
    with postgresql_server.connect() as owner:
        owner.execute(f"CREATE ROLE {name}")
        yield name
        owner.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("GRANT postgres TO {role}", "it may become a superuser (postgres)"),
        ("ALTER ROLE {other} CREATEDB", "it may become a role with CREATEDB"),
        ("GRANT INSERT ON dtzpt TO {other}", "it may INSERT on table public.dtzpt as {other}"),
        ("ALTER FUNCTION write_line OWNER TO {other}", "it owns function public.write_line(text) as {other}"),
        ("GRANT pg_write_all_data TO {other}", "it is a member of pg_write_all_data"),
    ],
)
def test_what_a_role_could_become_counts_although_it_does_not_inherit_it(
    postgresql_server, opened, other_role, statement, word
):
    names = {"role": postgresql_server.name, "other": other_role}
    with postgresql_server.connect() as owner:
        owner.execute("ALTER ROLE {role} NOINHERIT; GRANT {other} TO {role}".format(**names))
        owner.execute(statement.format(**names))
        try:
            database = opened(postgresql_server, unsafe_role="")
            assert word.format(**names) in ", ".join(one.whole for one in database.server.excess())
        finally:
            owner.execute("ALTER ROLE {role} INHERIT; REVOKE postgres, {other} FROM {role}".format(**names))


@pytest.mark.parametrize(
    ("statement", "undo", "word"),
    [
        ("GRANT pg_read_all_data TO {role}", "REVOKE pg_read_all_data FROM {role}", "pg_read_all_data"),
        ("GRANT TRIGGER ON busy TO {role}", "REVOKE TRIGGER ON busy FROM {role}", "TRIGGER on view public.busy"),
        ("GRANT REFERENCES (id) ON dtzpt TO {role}", "REVOKE REFERENCES (id) ON dtzpt FROM {role}", "REFERENCES"),
        ("GRANT USAGE ON SEQUENCE counter TO {role}", "REVOKE ALL ON counter FROM {role}", "USAGE on sequence"),
        ("GRANT UPDATE ON SEQUENCE counter TO PUBLIC", "REVOKE ALL ON counter FROM PUBLIC", "everybody (PUBLIC)"),
        (
            "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {role}",
            "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM {role}",
            "EXECUTE on function pg_read_file(text)",
        ),
        (
            "GRANT EXECUTE ON FUNCTION write_line TO {role}",
            "REVOKE EXECUTE ON FUNCTION write_line FROM {role}",
            "EXECUTE on function public.write_line(text)",
        ),
        (
            "GRANT SELECT ON pg_authid TO {role}",
            "REVOKE SELECT ON pg_authid FROM {role}",
            "own tables on table pg_authid",
        ),
        (
            "GRANT SELECT ON dtzpt TO {role} WITH GRANT OPTION",
            "REVOKE GRANT OPTION FOR SELECT ON dtzpt FROM {role}",
            "grant SELECT to others on table public.dtzpt",
        ),
        ("ALTER FUNCTION write_line OWNER TO {role}", "ALTER FUNCTION write_line OWNER TO CURRENT_USER", "it owns"),
        ("ALTER DATABASE {role} OWNER TO {role}", "ALTER DATABASE {role} OWNER TO CURRENT_USER", "owns database"),
        ("GRANT CREATE ON DATABASE {role} TO {role}", "REVOKE CREATE ON DATABASE {role} FROM {role}", "CREATE on data"),
    ],
)
def test_every_right_of_postgresql_but_reading_is_noticed(postgresql_server, opened, statement, undo, word):
    with postgresql_server.connect() as owner:
        owner.execute(statement.format(role=postgresql_server.name))
        try:
            assert word in ", ".join(one.whole for one in opened(postgresql_server).server.excess())
        finally:
            owner.execute(undo.format(role=postgresql_server.name))


def test_whoever_asks_is_not_told_the_names_of_what_is_closed(postgresql_server, opened, caplog):
    grant = f"GRANT INSERT ON secret TO {postgresql_server.name}"
    with postgresql_server.connect() as owner:
        owner.execute(grant)
        try:
            with pytest.raises(SqlFailed) as refused:
                opened(postgresql_server, unsafe_role="").check_role()
        finally:
            owner.execute(f"REVOKE INSERT ON secret FROM {postgresql_server.name}")
    assert "it may INSERT" in refused.value.message and "secret" not in refused.value.message
    assert "it may INSERT on table public.secret" in caplog.text


@pytest.mark.parametrize(
    ("grants", "word"),
    [
        (["GRANT USAGE ON *.* TO `u`@`%`", "GRANT SELECT ON `shop`.* TO `u`@`%`"], None),
        (["GRANT SELECT, SHOW VIEW ON `shop`.`orders` TO `u`@`%`"], None),
        (["GRANT SELECT (`id`, `name`) ON `shop`.`users` TO `u`@`%`"], None),
        (["GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*00'"], None),
        (["GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION"], "ALL PRIVILEGES"),
        (["GRANT FILE ON *.* TO `u`@`%`"], "FILE"),
        (["GRANT SELECT, INSERT ON `shop`.* TO `u`@`%`"], "INSERT"),
        (["GRANT SELECT (`id`), UPDATE (`name`) ON `shop`.`users` TO `u`@`%`"], "UPDATE"),
        (["GRANT SELECT ON *.* TO `u`@`%`"], "own tables"),
        (["GRANT SELECT ON `mysql`.* TO `u`@`%`"], "own tables"),
        (["GRANT EXECUTE ON `shop`.* TO `u`@`%`"], "EXECUTE"),
        (["GRANT EXECUTE ON FUNCTION `shop`.`write_line` TO `u`@`%`"], "EXECUTE"),
        (["GRANT SELECT ON `shop`.* TO `u`@`%` WITH GRANT OPTION"], "GRANT OPTION"),
        (["GRANT PROXY ON ''@'%' TO 'u'@'%'"], "PROXY"),
        (["GRANT `reports` TO `u`@`%`", "GRANT SELECT ON `shop`.* TO `reports`"], None),
        (["GRANT SELECT, LOCK TABLES ON `my shop`.* TO `u`@`%`"], "LOCK TABLES"),
        (["GRANT SELECT ON `%`.* TO `u`@`%`"], "own tables"),
        (["GRANT SELECT ON `my%`.* TO `u`@`%`"], "own tables"),
        (["GRANT SELECT ON `MYSQ_`.* TO `u`@`%`"], "own tables"),
        ([r"GRANT SELECT ON `my\_shop`.* TO `u`@`%`"], None),
        ([r"GRANT SELECT ON `my\%`.* TO `u`@`%`"], None),
        (["GRANT SELECT ON `mysql`.`user` TO `u`@`%`"], "own tables"),
        (["GRANT SELECT (`Host`) ON `mysql`.`db` TO `u`@`%`"], "own tables"),
        (["GRANT SELECT ON `performance_schema`.* TO `u`@`%`"], "own tables"),
        (["SET DEFAULT ROLE `reports` FOR `u`@`%`"], None),
        (["GRANT `reports` TO `u`@`%` WITH ADMIN OPTION"], "grant a role"),
        (["REVOKE INSERT ON `shop`.* FROM `u`@`%`"], "cannot be judged"),
    ],
)
def test_what_a_role_of_mysql_may_do_is_read_from_its_grants(grants, word):
    told = mysql_excess(grants)
    assert told == [] if word is None else word in told[0].whole


def test_a_role_of_mysql_itself_hides_its_rights_so_it_is_too_much():
    grants = ["GRANT USAGE ON *.* TO `u`@`%`", "GRANT `writers`@`%` TO `u`@`%`"]
    assert "writers" in mysql_excess(grants, is_mariadb=False)[0].whole


def test_the_owner_of_a_database_is_refused_without_a_word_in_writing(postgresql_server, mysql_server, opened):
    for server in (postgresql_server, mysql_server):
        with pytest.raises(SqlFailed) as refused:
            opened(server, "owner", unsafe_role="").check_role()
        assert "unsafe_role" in refused.value.message
        opened(server, "owner").check_role()


def test_a_role_of_mariadb_counts_that_is_granted_and_not_on(mysql_server, opened):
    name, outer, inner = mysql_server.name, f"{mysql_server.name}_o", f"{mysql_server.name}_i"
    with mysql_server.connect() as connection, connection.cursor() as cursor:
        for statement in (
            f"CREATE ROLE {outer}", f"CREATE ROLE {inner}", f"GRANT INSERT ON {name}.calls TO {inner}",
            f"GRANT {inner} TO {outer}", f"GRANT {outer} TO {name}@'%'",
        ):  # fmt: skip
            cursor.execute(statement)
        try:
            assert [one.whole for one in opened(mysql_server).server.excess()] == [f"it may INSERT on {name}.calls"]
        finally:
            cursor.execute(f"DROP ROLE {outer}, {inner}")


def test_a_role_of_mariadb_that_reads_is_taken_also_where_it_is_on_by_default(mysql_server, opened):
    name, role = mysql_server.name, f"{mysql_server.name}_r"
    with mysql_server.connect() as connection, connection.cursor() as cursor:
        for statement in (
            f"CREATE ROLE {role}", f"GRANT SELECT ON {name}.dtzpt TO {role}", f"GRANT {role} TO {name}@'%'",
            f"SET DEFAULT ROLE {role} FOR {name}@'%'",
        ):  # fmt: skip
            cursor.execute(statement)
        try:
            assert opened(mysql_server).server.excess() == []
        finally:
            cursor.execute(f"DROP ROLE {role}")


def test_a_database_whose_role_can_write_is_closed_at_start_and_a_line_says_so_once(postgresql_server, opened, caplog):
    database = opened(postgresql_server, "owner", unsafe_role="")
    database.check()
    with pytest.raises(SqlFailed, match="superuser"):
        database.run(Verdict("SELECT 1", ok=True, limited="SELECT 1"))
    told = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1 and "it is a superuser" in told[0].getMessage()


def test_a_database_that_cannot_be_reached_at_start_is_a_warning_and_is_tried_again(opened, caplog):
    database = Database("gone", settings("postgresql://nobody:hunter2secret@127.0.0.1:1/x"))
    database.check()
    assert [record.levelname for record in caplog.records if "tries again" in record.getMessage()] == ["WARNING"]
    with pytest.raises(SqlFailed) as refused:
        database.check_role()
    assert refused.value.retryable


def test_a_database_that_runs_nothing_may_have_any_role(postgresql_server, opened, caplog):
    opened(postgresql_server, "owner", unsafe_role="", execute=False).check()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_rights_that_come_later_close_the_database_when_the_schema_is_read_again(postgresql_server, opened):
    database = opened(postgresql_server, unsafe_role="", refresh_s=0.01)
    database.check()
    with postgresql_server.connect() as owner:
        owner.execute(f"GRANT DELETE ON calls TO {postgresql_server.name}")
        try:
            deadline = time.monotonic() + 20
            while not _refused(database) and time.monotonic() < deadline:
                database.schema()
                gevent.sleep(0.02)
            assert "DELETE" in _refused(database)
        finally:
            owner.execute(f"REVOKE DELETE ON calls FROM {postgresql_server.name}")
    database.check_role()


def _refused(database):
    try:
        database.check_role()
    except SqlFailed as error:
        return error.message
    return ""


def test_many_first_questions_judge_the_role_and_read_the_schema_once(server, opened, monkeypatch):
    database = opened(server)
    calls = []
    for name in ("excess", "read_schema"):
        asked = getattr(database.server, name)

        def counted(name=name, asked=asked):
            calls.append(name)
            return asked()

        monkeypatch.setattr(database.server, name, counted)
    gevent.joinall([gevent.spawn(lambda: (database.check_role(), database.schema())) for _ in range(20)])
    assert sorted(calls) == ["excess", "read_schema"]
