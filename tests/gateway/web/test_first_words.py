"""Every database has its own first questions: from the team's examples, or about its own tables."""

from __future__ import annotations

import os

from gateway.settings import DatabaseSettings
from gateway.web.first_words import MOST, first_words
from prompts.tables import Column, Schema, Table

ORDERS = Table(
    "sales.order_items",
    (
        Column("id", "INTEGER"),
        Column("name", "TEXT"),
        Column("status", "VARCHAR(20)", "订单状态，如 paid"),
        Column("n", "INTEGER"),
    ),
    comment="订单明细，每件商品一行",
)
SCHEMA = Schema("postgresql", (ORDERS,))


def settings(**more) -> DatabaseSettings:
    return DatabaseSettings(url="sqlite://", **more)


def test_a_shop_is_not_asked_about_metro_stations():
    assert first_words(settings(tables=["order_items"]), SCHEMA) == [
        {"lang": "zh", "text": "订单明细一共有多少条？"},
        {"lang": "zh", "text": "按订单状态统计订单明细的数量"},
        {"lang": "en", "text": "How many order items are there?"},
        {"lang": "en", "text": "Count order items by status"},
    ]


def test_a_database_that_has_not_been_read_has_none():
    assert first_words(settings(), None) == []


def test_the_teams_examples_come_first_and_a_file_is_read_again_when_it_changes(tmp_path):
    file = tmp_path / "shop.yaml"
    pairs = "".join(f"- {{question: 第{n}个问题, sql: SELECT {n}}}\n" for n in range(9))
    file.write_text(pairs + "- {question: How many orders, sql: SELECT 1}\n", "utf-8")
    database = settings(examples=str(file))
    words = first_words(database, SCHEMA)
    assert [word["text"] for word in words] == [f"第{n}个问题" for n in range(MOST)] + ["How many orders"]
    file.write_text("- {question: 换了, sql: SELECT 1}\n", "utf-8")
    os.utime(file, ns=(1, 1))
    assert first_words(database, SCHEMA) == [{"lang": "zh", "text": "换了"}]


def test_a_file_that_cannot_be_read_leaves_the_page_as_it_is(tmp_path):
    assert first_words(settings(examples=str(tmp_path / "missing.yaml")), None) == []
