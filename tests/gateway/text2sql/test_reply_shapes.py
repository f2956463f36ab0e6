"""Shapes of replies in Chinese and English (reply_shapes.yaml): the statement that a person would point at is taken."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from gateway.text2sql.extract import looks_like_sql, statements
from gateway.text2sql.statement_text import unquoted
from tests.reliability.rig import at_most

SHAPES = yaml.safe_load((Path(__file__).parent / "reply_shapes.yaml").read_text("utf-8"))
GOOD = "SELECT name, city FROM customers ORDER BY id"


def as_lines(sql: str) -> str:
    """`sql` without what changes nothing: its last semicolons, and the spaces in front of a line."""
    return "\n".join(line.strip() for line in sql.rstrip("; \n").splitlines())


@pytest.mark.parametrize("shape", SHAPES, ids=[shape["name"] for shape in SHAPES])
def test_the_statement_that_a_person_would_point_at_is_taken(shape):
    found = statements(shape["reply"], ["customers"])
    assert found
    assert as_lines(found[-1]) == as_lines(shape["sql"])


@pytest.mark.parametrize(
    ("sql"),
    [
        "SELECT REPLACE(name, '\\n', '&lt;') FROM customers",
        "SELECT name FROM customers WHERE id\n> 5",
        "SELECT name FROM customers WHERE note = '> a\n> b'",
        "SELECT name || ' <br> ' || city FROM customers",
        "SELECT a\n- b\n+ c FROM customers",
        "SELECT '**' || name || '**' FROM customers",
        "SELECT '“' || name || '”' FROM customers",
        "SELECT name FROM customers -- | a |",
        "SELECT id & 1 FROM customers",
        "SELECT $$a\\nb$$ FROM customers",
        "SELECT 'it\\'s \\r' FROM customers",
        "-- don't count\nSELECT REPLACE(name, '\\n', '&lt;') FROM customers",
        "/* don't */ SELECT '&amp;' || name FROM customers",
    ],
)
def test_what_stands_in_a_statement_of_a_block_stays_as_it_is(sql):
    assert statements(f"```sql\n{sql}\n```") == [sql]


def test_a_quotation_loses_its_marks_and_a_block_beside_it_keeps_its_own():
    reply = f"> 说明：\n> 第二行\n\n```sql\n{GOOD}\n> 1\n```\n> ```sql\n> {GOOD}\n> ```"
    assert unquoted(reply) == f"说明：\n第二行\n\n```sql\n{GOOD}\n> 1\n```\n```sql\n{GOOD}\n```"


@pytest.mark.parametrize(
    "reply",
    [
        "SELECT 什么 FROM 哪张表取决于您的问题。",
        "<thing>select it from x</thing>",
        "The words select and from are keywords; you select a row from a table.",
    ],
)
def test_a_reply_that_only_looks_like_sql_says_so(reply):
    if not statements(reply, ["customers"]):
        assert looks_like_sql(reply)


@pytest.mark.parametrize(
    "piece",
    ["> ", "&lt;", "\\n", "**", "|", "“", "```\n", "````\n```sql\n", '"sql": ["', "+ select\n", "<br>", "‘‘‘\n"],
)
def test_no_shape_takes_more_than_its_length_allows(piece):
    reply = f"SELECT a {piece * (200_000 // len(piece))}"
    began = time.process_time()
    statements(reply, ["customers"])
    assert time.process_time() - began < at_most(0.5)
