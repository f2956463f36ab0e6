"""The corpus in hostile.yaml and evasions.yaml changes nothing, reads nothing closed, waits and locks nowhere."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from gateway.answers.steps import Rows
from gateway.text2sql.database import Database
from gateway.text2sql.errors import SqlError
from gateway.text2sql.guard.judge import Verdict
from tests.gateway.text2sql.servers import MARKER
from tests.reliability.rig import at_most

HERE = Path(__file__).parent
GROUPS = [
    group for name in ("hostile.yaml", "evasions.yaml") for group in yaml.safe_load((HERE / name).read_text("utf-8"))
]
ROLES = ["reader", "owner"]


def statements(dialect: str, harmless: bool) -> list[str]:
    return [
        sql
        for group in GROUPS
        if dialect in group.get("servers", [dialect]) and group.get("harmless", False) == harmless
        for sql in group["sql"]
    ]


def test_the_corpus_is_large():
    assert sum(len(group["sql"]) for group in GROUPS) >= 150


def test_the_guard_alone_refuses_each_hostile_statement_and_says_why(server, opened):
    database = opened(server, "owner")
    passed = [sql for sql in statements(server.dialect, harmless=False) if database.judge(sql).ok]
    assert passed == []
    for sql in statements(server.dialect, harmless=False):
        assert len(database.judge(sql).reason or "") > 10


@pytest.mark.parametrize("role", ROLES)
def test_what_seems_hostile_and_is_harmless_gives_its_rows_and_nothing_else(server, role, opened):
    database, before = opened(server, role, row_limit=50), server.digest()
    for sql in statements(server.dialect, harmless=True):
        verdict = database.judge(sql)
        if verdict.ok:
            try:
                rows = database.run(verdict)
            except SqlError:
                continue  # the server says no: nothing came of it either
            assert len(rows.rows) <= 50
            assert MARKER not in repr(rows)
        else:
            assert verdict.reason
    assert server.digest() == before


@pytest.mark.parametrize("role", ROLES)
def test_the_whole_corpus_changes_nothing_and_shows_nothing(server, role, opened):
    database, before = opened(server, role, row_limit=50), server.digest()
    for group in GROUPS:
        for sql in group["sql"]:
            verdict = database.judge(sql)
            if verdict.ok:
                assert MARKER not in repr(run(database, verdict.limited))
    assert server.digest() == before
    assert not os.path.exists("/tmp/stolen")


def run(database: Database, sql: str) -> Rows | None:
    """The rows of a statement that no guard saw."""
    try:
        return database.run(Verdict(sql, ok=True, limited=sql))
    except SqlError:
        return None


def test_without_the_guard_a_good_role_and_the_connection_stop_every_change_and_every_leak(server, opened):
    database, before = opened(server, "reader", timeout_s=0.2), server.digest()
    began = time.monotonic()
    count = 0
    for group in GROUPS:
        if server.dialect not in group.get("servers", [server.dialect]) or server.dialect in group.get("alone", []):
            continue
        for sql in group["sql"]:
            count += 1
            assert MARKER not in repr(run(database, sql)), sql
    assert server.digest() == before
    assert not os.path.exists("/tmp/stolen")
    assert time.monotonic() - began < count * at_most(0.3)
