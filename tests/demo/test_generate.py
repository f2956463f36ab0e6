"""The training questions: every statement runs, every reply keeps its form, and names survive every slip."""

import sqlite3

import pytest
import sqlglot
from sqlglot import expressions

from demo.metro.build import build
from demo.model.evaluate import statement
from demo.model.generate import catalogue, examples
from demo.model.grammar import parse, slot_names
from demo.model.names import stations
from demo.model.slots import BOUNDS, MAKERS
from demo.model.tokenizer import train

TABLES = {"dtzpt", "lines", "riders"}


@pytest.fixture(scope="module")
def drawn():
    return list(examples(2500, seed=11))


@pytest.fixture(scope="module")
def metro(tmp_path_factory):
    path = tmp_path_factory.mktemp("metro") / "metro.db"
    build(path)
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        yield database


def test_every_statement_runs_on_the_database(drawn, metro):
    for sql in {one.sql for one in drawn if one.sql}:
        metro.execute(sql).fetchmany(2)


def test_every_statement_is_one_select_over_the_three_tables(drawn):
    for sql in {one.sql for one in drawn[:600] if one.sql}:
        (parsed,) = sqlglot.parse(sql, read="sqlite")
        assert isinstance(parsed, expressions.Select), sql
        assert {table.name for table in parsed.find_all(expressions.Table)} <= TABLES


def test_a_reply_has_its_statement_in_one_block_and_a_refusal_has_none(drawn):
    for one in drawn:
        assert statement(one.reply) == one.sql
        assert ("```" in one.reply) == (one.sql is not None)


def test_the_same_seed_draws_the_same_questions():
    assert list(examples(50, seed=3)) == list(examples(50, seed=3))
    assert list(examples(50, seed=3)) != list(examples(50, seed=4))


def test_both_languages_and_refusals_are_drawn(drawn):
    assert 0.3 < sum(one.language == "en" for one in drawn) / len(drawn) < 0.5
    assert 0.05 < sum(one.sql is None for one in drawn) / len(drawn) < 0.2


def test_no_piece_of_the_grammar_is_left_in_a_question(drawn):
    assert not [one.question for one in drawn if set("\x01\x02{}[]|") & {*one.question}]


def test_every_phrasing_is_balanced_and_names_known_slots():
    for intent in catalogue():
        for template in [*intent.phrasings["zh"], *intent.phrasings["en"], *intent.restated.values()]:
            parse(template)
            kinds = {name.rstrip("0123456789") for name in slot_names(template)}
            assert kinds <= {*MAKERS, *BOUNDS, "END"}, (intent.title, template)


def test_every_intent_is_phrased_and_restated_in_both_languages():
    for intent in catalogue():
        assert intent.phrasings["zh"] and intent.phrasings["en"], intent.title
        assert {*intent.restated} == {"zh", "en"}, intent.title


def test_a_tokenizer_keeps_every_station_name_with_one_token_for_each_character():
    tokenizer = train(["SELECT name FROM dtzpt"], weight=20)
    for row in stations():
        tokens = tokenizer(row["name"])["input_ids"]
        assert tokenizer.decode(tokens) == row["name"]
        assert len(tokens) == len(row["name"])
        assert tokenizer.decode(tokenizer(row["name_en"])["input_ids"]) == row["name_en"]
