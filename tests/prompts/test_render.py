from __future__ import annotations

from dataclasses import dataclass

import pytest

from prompts.example_store import Pair
from prompts.render import correction, messages, table_text
from prompts.tables import Column, ForeignKey, Schema, Table
from prompts.tokens import estimate


@dataclass
class Turn:
    question: str
    answer: str


@dataclass
class Row:
    template: str = "sqlite"
    title: str = "A server"


TABLE = Table(
    "orders",
    (
        Column("id", "INTEGER", "编号"),
        Column("Made", "DATE", "", ("2024-01-01", "2024-01-02")),
        Column("user id", "INTEGER"),
    ),
    "订单",
    ("id",),
    (ForeignKey(("user id",), "users", ("id",)),),
)
SCHEMA = Schema("postgresql", (TABLE,), "public")


def test_a_table_looks_like_its_create_statement():
    assert table_text(TABLE, "postgresql") == (
        "CREATE TABLE orders ( -- 订单\n"
        "  id INTEGER, -- 编号\n"
        '  "Made" DATE, -- [2024-01-01 | 2024-01-02]\n'
        '  "user id" INTEGER,\n'
        "  PRIMARY KEY (id),\n"
        '  FOREIGN KEY ("user id") REFERENCES users (id)\n'
        ")"
    )


def test_names_are_quoted_as_the_server_needs_it():
    assert "`lines`" in table_text(Table("lines", ()), "mysql")
    assert '"order"' in table_text(Table("order", ()), "postgresql")
    assert "sales.orders" in table_text(Table("sales.orders", ()), "postgresql")


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_a_prompt_has_rules_tables_examples_and_last_the_bare_question(language, dialect):
    sent = messages("有几单？", SCHEMA, Row(dialect), [Pair("q", "SELECT 1"), Pair("hi", "")], language)
    assert [message["role"] for message in sent] == ["system", "user"]
    system = sent[0]["content"]
    assert "orders" in system and "SELECT 1" in system and "```sql" in system
    assert "{{" not in system and "\n\n\n" not in system
    assert sent[-1]["content"] == "有几单？"


def test_what_is_the_same_for_every_question_comes_first():
    one = messages("a", SCHEMA, Row(), [Pair("x", "SELECT 1")])[0]["content"]
    other = messages("b", SCHEMA, Row(), [Pair("y", "SELECT 2")])[0]["content"]
    assert one[: one.index("SELECT 1") - 20].startswith(other[: other.index("SELECT 2") - 20][:-5])


def test_earlier_turns_come_between_and_the_oldest_give_way():
    turns = [Turn(f"问题{n}", "答" * 300) for n in range(20)]
    sent = messages("现在？", SCHEMA, Row(), history=turns, prompt_tokens=2000)
    asked = [message["content"] for message in sent if message["role"] == "user"]
    assert asked[-2:] == ["问题19", "现在？"]
    assert 2 < len(asked) < 20
    assert sum(estimate(message["content"]) for message in sent) <= 2000


def test_examples_give_way_when_the_prompt_would_be_too_long():
    examples = [Pair(f"第{n}个问题" * 20, "SELECT 1") for n in range(10)]
    few = messages("?", SCHEMA, Row(), examples, prompt_tokens=900)[0]["content"].count("SELECT 1\n")
    assert 0 < few < 10


def test_nothing_in_a_comment_is_taken_for_a_template():
    table = Table("t", (Column("a", "TEXT", "{{ 7 * 7 }} {% raw %}"),))
    assert "{{ 7 * 7 }} {% raw %}" in messages("{{ 1 }}", Schema("sqlite", (table,)), Row())[0]["content"]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_correction_tells_the_reason(language):
    assert "no column x" in correction("no column x", language)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [("", 0, 0), ("沈塘桥地铁站的信息", 6, 9), ("SELECT name FROM dtzpt", 4, 8), ("2024-03-01", 6, 10)],
)
def test_tokens_are_estimated_near_what_tokenizers_count(text, least, most):
    assert least <= estimate(text) <= most
