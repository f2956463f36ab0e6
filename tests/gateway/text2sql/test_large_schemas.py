"""Five hundred tables: the prompt has the few that count, quickly, and the guard still knows them all."""

from __future__ import annotations

import sqlite3
import time

import gevent
import pytest

from gateway.answers.question import Question
from gateway.settings import DatabaseSettings, TextToSql
from gateway.text2sql.database import Database
from gateway.text2sql.prompting import messages
from prompts.render import table_text
from prompts.tokens import estimate
from tests.prompts.large_schema import DATA, large_schema


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.db"
    with sqlite3.connect(path) as connection:
        connection.execute("BEGIN")
        for table in large_schema().tables:
            connection.execute(table_text(table, "sqlite"))
    opened = Database("large", DatabaseSettings(url=f"sqlite:///{path}", refresh_s=0.05))
    yield opened
    opened.close()


def system_message(database, question):
    return messages(Question(question, database=""), database, TextToSql())[0]["content"]


def test_a_prompt_is_built_in_milliseconds_with_the_tables_that_count(database):
    system_message(database, "first")  # reads the schema and prepares it
    right, slowest = 0, 0.0
    for question, wanted in DATA["questions"]:
        # Processor time of this thread: however busy the machine is.
        began = time.thread_time()
        sent = system_message(database, question)
        slowest = max(slowest, time.thread_time() - began)
        assert estimate(sent) < TextToSql().prompt_tokens
        right += all(f"CREATE TABLE {name} (" in sent for name in wanted)
    assert right >= 0.95 * len(DATA["questions"])
    assert slowest < 0.05


def test_the_comments_of_a_large_schema_are_in_the_prompt(database):
    assert "-- 会员订单表" in system_message(database, "会员订单的平均金额")


def test_reading_the_schema_again_gives_the_same_bytes_and_holds_nobody_up(database):
    before = system_message(database, "会员订单的平均金额")
    schema = database.schema()
    # Processor time of this thread, the event loop's: reading costs it hardly any, however busy the machine is.
    spent, last, end = [], time.thread_time(), time.monotonic() + 1
    while time.monotonic() < end:
        database.schema()  # older than refresh_s: it is read again beside us
        gevent.sleep(0.01)
        spent.append(time.thread_time() - last)
        last = time.thread_time()
    assert system_message(database, "会员订单的平均金额") == before
    assert database.schema() is schema
    assert max(spent) < 0.1


def test_the_guard_allows_tables_that_are_not_in_the_prompt(database):
    assert "mall_reviews" not in system_message(database, "人事考勤")
    assert database.judge("SELECT COUNT(*) FROM mall_reviews").ok
