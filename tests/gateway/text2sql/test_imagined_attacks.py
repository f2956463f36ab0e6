"""imagined.yaml: with a good role and with a superuser nothing changes, nothing closed is shown, no limit is exceeded.

Time and memory are measured on the server (watching.py), not by what the gateway says.
"""

from __future__ import annotations

import os
from pathlib import Path

import gevent
import pytest
import yaml

from gateway.text2sql.errors import SqlError
from gateway.text2sql.guard.judge import Verdict
from tests.gateway.text2sql.servers import MARKER
from tests.gateway.text2sql.watching import Watch
from tests.reliability.rig import at_most

HERE = Path(__file__).parent
IMAGINED = yaml.safe_load((HERE / "imagined.yaml").read_text("utf-8"))
GROUPS = [
    group for name in ("hostile.yaml", "evasions.yaml") for group in yaml.safe_load((HERE / name).read_text("utf-8"))
]
TIMEOUT_S = 0.5
ROWS, BYTES = 50, 1 << 20
# What a statement that passed the guard may take on the server.
MOST_KIB = 300 << 10


def statements(dialect: str, groups: list[dict]) -> list[tuple[str, bool]]:
    """Each statement for that server, and whether a good role and the connection have to stop it by themselves."""
    return [
        (sql, dialect not in group.get("alone", []))
        for group in groups
        if dialect in group.get("servers", [dialect])
        for sql in group["sql"]
    ]


def run(database, sql: str) -> None:
    try:
        rows = database.run(Verdict(sql, ok=True, limited=sql))
    except SqlError as error:
        assert MARKER not in error.message, sql
        return
    assert MARKER not in repr(rows), sql
    assert len(rows.rows) <= ROWS, sql


def is_over(server) -> bool:
    for _ in range(100):
        if not server.running():
            return True
        gevent.sleep(0.1)
    return False


def test_there_are_enough_of_them():
    assert sum(len(group["sql"]) for group in IMAGINED) >= 150


@pytest.mark.parametrize("role", ["reader", "owner"])
def test_nothing_comes_of_what_a_stranger_would_try(server, role, opened):
    database = opened(server, role, row_limit=ROWS, byte_limit=BYTES, timeout_s=TIMEOUT_S)
    database.schema()
    before = server.digest()
    with Watch(server) as watch:
        for sql, _ in statements(server.dialect, IMAGINED):
            verdict = database.judge(sql)
            if verdict.ok:
                run(database, verdict.limited)
            else:
                assert len(verdict.reason or "") > 10, sql
        assert is_over(server)
    assert server.digest() == before
    assert not os.path.exists("/tmp/stolen")
    assert watch.oldest_s < TIMEOUT_S + at_most(0.5), watch.oldest
    assert watch.most_kib < MOST_KIB


@pytest.mark.parametrize("groups", [IMAGINED, GROUPS], ids=["imagined", "corpus"])
def test_without_the_guard_no_statement_outlives_its_time_on_the_server(server, groups, opened):
    """By the role, the connection and the limits alone."""
    database = opened(server, "reader", row_limit=ROWS, byte_limit=BYTES, timeout_s=0.2)
    database.schema()
    before = server.digest()
    with Watch(server) as watch:
        for sql, is_stopped in statements(server.dialect, groups):
            if is_stopped:
                run(database, sql)
        assert is_over(server)
    assert server.digest() == before
    assert not os.path.exists("/tmp/stolen")
    assert watch.oldest_s < 0.2 + at_most(0.5), watch.oldest
