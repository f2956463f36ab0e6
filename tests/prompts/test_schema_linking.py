from __future__ import annotations

import time

import pytest

from prompts.render import table_text
from prompts.schema_linking import SchemaLinker
from prompts.tokens import estimate
from tests.prompts.large_schema import DATA, large_schema

TOKENS = 3000


def write(table):
    return table_text(table, "postgresql")


@pytest.fixture(scope="module")
def narrowing():
    return SchemaLinker(large_schema(), write)


def test_the_right_tables_are_among_those_chosen_for_nearly_every_question(narrowing):
    assert len(narrowing.schema.tables) == 500
    wrong = []
    for question, wanted in DATA["questions"]:
        chosen = {table.name for table in narrowing.choose(question, TOKENS).tables}
        if not {*wanted} <= chosen:
            wrong.append((question, {*wanted} - chosen))
    assert len(wrong) <= 0.05 * len(DATA["questions"]), wrong


def test_the_tables_stay_within_the_budget(narrowing):
    for question, _ in DATA["questions"]:
        chosen = narrowing.choose(question, TOKENS).tables
        assert 0 < sum(estimate(write(table)) for table in chosen) <= TOKENS


def test_tables_come_in_the_schemas_order_and_the_same_question_gives_the_same_bytes(narrowing):
    names = [table.name for table in narrowing.choose("会员订单的客户", TOKENS).tables]
    assert names == sorted(names)
    again = SchemaLinker(large_schema(), write).choose("会员订单的客户", TOKENS)
    assert [write(table) for table in again.tables] == [write(narrowing.schema.by_name[name]) for name in names]


def test_choosing_takes_milliseconds(narrowing):
    began = time.process_time()
    for question, _ in DATA["questions"]:
        narrowing.choose(question, TOKENS)
    assert (time.process_time() - began) / len(DATA["questions"]) < 0.02


def test_a_schema_that_fits_is_shown_whole(narrowing):
    assert narrowing.choose("anything", 10**9) is narrowing.schema


def test_a_question_that_fits_nothing_still_shows_some_tables(narrowing):
    assert narrowing.choose("zzz", TOKENS).tables


def test_what_has_to_be_joined_comes_along(narrowing):
    chosen = {table.name for table in narrowing.choose("hotel order items", TOKENS).tables}
    assert {"hotel_orders", "hotel_products"} <= chosen
