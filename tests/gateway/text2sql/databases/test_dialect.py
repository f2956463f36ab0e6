"""A new kind of server is its row (and its module and templates): nothing else asks which server it is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.text2sql.databases import DIALECTS
from gateway.text2sql.databases.dialect import ascii_lower
from gateway.text2sql.databases.dialects.sqlite import SQLITE
from gateway.text2sql.guard.judge import judge
from prompts import render
from prompts.tables import Column, Schema, Table

# A server that keeps the case of tables, folds columns, and calls its hidden column "serial".
NEW = replace(
    SQLITE,
    name="testserver",
    title="Test Server",
    template="sqlite",
    fold_table=lambda name: name,
    fold_column=ascii_lower,
    quoting_exact=True,
    pseudo_columns=frozenset({"serial"}),
    names_as_text=False,
)
SCHEMA = Schema("testserver", (Table("Orders", (Column("id", "INT"), Column("total", "INT"))),), "main")


@pytest.fixture(autouse=True)
def added(monkeypatch):
    monkeypatch.setitem(DIALECTS, NEW.name, NEW)


def test_names_fold_as_its_row_says():
    assert judge("SELECT TOTAL FROM Orders", SCHEMA, 10).ok
    assert not judge("SELECT total FROM orders", SCHEMA, 10).ok
    assert not judge('SELECT "TOTAL" FROM Orders', SCHEMA, 10).ok


def test_its_pseudo_columns_are_closed():
    assert not judge("SELECT serial FROM Orders", SCHEMA, 10).ok
    assert not judge("SELECT serial AS id FROM Orders ORDER BY serial", SCHEMA, 10).ok


def test_its_prompt_has_its_title_and_its_template():
    (system, _) = render.messages("?", replace(SCHEMA, dialect="sqlite"), NEW, language="en")
    assert "Test Server" in system["content"] and "strftime" in system["content"]


def test_every_row_names_a_module_and_templates_that_exist():
    for row in {row.name: row for row in DIALECTS.values() if row is not NEW}.values():
        __import__(f"gateway.text2sql.databases.{row.module}")
        for language in render.LANGUAGES:
            assert render._templates().get_template(f"{row.template}.{language}.jinja")
