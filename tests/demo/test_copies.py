"""The demo database on three servers: the question set gives the same rows on all of them, and so does the model."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psycopg
import pymysql
import pytest
from sqlalchemy import make_url

from demo.metro.build import build
from demo.metro.copy import copy
from gateway.answers.question import Question
from gateway.answers.steps import Rows
from gateway.settings import parse
from gateway.text2sql import flow
from gateway.text2sql.database import Databases
from gateway.tools import evaluation
from gateway.tools.doctor import engines
from gateway.tools.result_equality import is_ordered, same
from providers import Providers
from providers.sampling import Sampling
from tests.parts import require

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ["sqlite", "postgresql", "mysql"]
# Every set's statements are written for three servers.
SETS = sorted(path.stem for path in (ROOT / "demo" / "questions").glob("*.jsonl"))
CASES = [case for name in SETS for case in evaluation.read_cases(ROOT / "demo" / "questions" / f"{name}.jsonl")]
# What the demo model answers with SQLite's words alone: docs in demo/README.md.
ITS_OWN_WORDS = {"the 3 easternmost stations"}
# Where a server needs words of its own, the model does not know them.
PORTABLE = [case for case in CASES if case.sql and not case.dialects and case.conversation is None]
ASKED = [case for case in PORTABLE if case.question not in ITS_OWN_WORDS][::20]


def postgresql(*statements):
    url = make_url(os.environ.get("SLUICE_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres"))
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
    return url


def mysql(*statements):
    url = make_url(os.environ.get("SLUICE_TEST_MYSQL", "mysql://root@127.0.0.1:3306"))
    with pymysql.connect(
        host=url.host, port=url.port or 3306, user=url.username, password=url.password or ""
    ) as connection:
        for statement in statements:
            connection.cursor().execute(statement)
    return url


@pytest.fixture(scope="module")
def urls(tmp_path_factory):
    """Where each copy of the demo database is, made as a user makes it."""
    require("postgresql"), require("mariadb")
    name, made = f"sluice_demo_{secrets.token_hex(4)}", {}
    path = tmp_path_factory.mktemp("metro") / "metro.db"
    build(path)
    made["sqlite"] = f"sqlite:///{path}"
    for server, ask in (("postgresql", postgresql), ("mysql", mysql)):
        made[server] = ask(f"CREATE DATABASE {name}").set(database=name).render_as_string(hide_password=False)
        command = [sys.executable, "-m", "demo.metro.build", "--url", made[server]]
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (finished.returncode, finished.stderr) == (0, "")
        assert finished.stdout == "dtzpt: 305 rows, lines: 12 rows, riders: 14,336 rows\n"
    yield made
    postgresql(f"DROP DATABASE {name} WITH (FORCE)")
    mysql(f"DROP DATABASE {name}")


@pytest.fixture(scope="module")
def settings(urls):
    accepted = "throwaway copies of public data, in a test"
    common = {"tables": ["dtzpt", "lines", "riders"], "row_limit": 10_000, "unsafe_role": accepted}
    return parse(
        {
            "default": "local",
            "providers": {"local": {"type": "local", "model": str(ROOT / "models" / "metro-sql")}},
            "databases": {server: {"url": urls[server], **common} for server in SERVERS},
            "text2sql": {"corrections": 0},
        },
        environ={},
    )


@pytest.fixture(scope="module")
def databases(settings):
    opened = Databases(settings.databases, settings.text2sql)
    yield opened
    opened.close()


def rows(database, case):
    verdict = database.judge(case.dialects.get(database.schema().dialect, case.sql))
    assert verdict.ok, verdict.reason
    return database.run(verdict).rows


def test_the_sets_are_as_large_as_they_were_and_few_statements_need_another_servers_words():
    assert len(CASES) == 861 and len(SETS) == 8
    assert sum(bool(case.dialects) for case in CASES) < 0.06 * len(CASES)


@pytest.mark.parametrize("server", ["postgresql", "mysql"])
def test_every_written_question_gives_the_same_rows_as_in_sqlite(databases, server):
    differ = []
    for case in CASES:
        also = [] if databases.get(server).schema().dialect in case.dialects else case.also
        for one in [case, *(replace(case, sql=sql, dialects={}) for sql in also)]:
            if one.sql:
                here, there = rows(databases.get("sqlite"), one), rows(databases.get(server), one)
                if not same(here, there, is_ordered(one.sql, "sqlite")):
                    differ.append((one.question, here[:3], there[:3]))
    assert differ == []


@pytest.mark.parametrize("server", ["postgresql", "mysql"])
def test_a_copy_has_the_comments_and_the_keys_of_the_original(databases, server):
    for here, there in zip(databases.get("sqlite").schema().tables, databases.get(server).schema().tables, strict=True):
        assert (there.name, there.comment) == (here.name, here.comment)
        assert [(column.name, column.comment) for column in there.columns] == [
            (column.name, column.comment) for column in here.columns
        ]
        assert there.comment and all(column.comment for column in there.columns)
        # MySQL calls a unique key a primary one where there is no other.
        assert not here.primary_key or there.primary_key == here.primary_key


@pytest.mark.parametrize("server", ["postgresql", "mysql"])
def test_a_table_of_somebody_elses_is_not_replaced(urls, server):
    name = f"sluice_demo_{secrets.token_hex(4)}"
    ask = {"postgresql": postgresql, "mysql": mysql}[server]
    url = ask(f"CREATE DATABASE {name}").set(database=name)
    try:
        if server == "mysql":
            mysql(f"CREATE TABLE {name}.riders (n INT)")
        else:
            with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
                connection.execute("CREATE TABLE riders (n INT)")
        with pytest.raises(ValueError, match="riders already that is not the demo's"):
            copy(url.render_as_string(hide_password=False))
    finally:
        ask(f"DROP DATABASE {name}")


def test_a_copy_that_cannot_be_made_is_told_in_a_sentence():
    for url in ("sqlite:///x.db", "mysql://nobody@127.0.0.1:1/x", "nonsense"):
        command = [sys.executable, "-m", "demo.metro.build", "--url", url]
        finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (1, "", 1)


@pytest.mark.skipif("not __import__('importlib').util.find_spec('torch')", reason="torch is not here")
def test_the_model_answers_with_the_same_rows_on_every_copy(settings, databases):
    require("demo model")
    assert len(ASKED) >= 20
    found = {}
    providers = Providers(settings.providers, settings.default)
    try:
        with engines(settings, ["local"]):
            for case in ASKED:
                for server in SERVERS:
                    question = Question(
                        case.question, database=server, sampling=Sampling(temperature=0.0), language=case.language
                    )
                    steps = [step for batch in flow.answer(question, providers, databases) for step in batch]
                    found[server] = next((step.rows for step in steps if isinstance(step, Rows)), None)
                here = found["sqlite"]
                assert all((rows is None) == (here is None) for rows in found.values()), case.question
                if here is not None:
                    assert all(same(here, found[server], ordered=False) for server in SERVERS), case.question
    finally:
        providers.close()
