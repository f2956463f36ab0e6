# ruff: noqa: E501 (statements are read across)
"""The training questions: every statement runs, every reply keeps its form, and names survive every slip."""

import json
import re
import sqlite3
from datetime import date, timedelta
from random import Random

import pytest
import sqlglot
from sqlglot import expressions

from demo.metro.build import build
from demo.model import dates, rider_edits, row_edits
from demo.model.drawing import catalogue, draw, pick
from demo.model.evaluate import statement
from demo.model.figures import with_figures
from demo.model.followups import FIRST_OF_EDITS, MAKERS_OF_NEXT, NEEDS, edited, titled
from demo.model.generate import examples
from demo.model.grammar import parse, slot_names
from demo.model.names import stations
from demo.model.slots import BOUNDS, MAKERS
from demo.model.statement import parse as parse_statement
from demo.model.tokenizer import prompt, train, widened

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


def test_a_ranking_shows_its_figure_beside_each_name():
    ranked = {
        "SELECT line FROM lines ORDER BY length_km DESC LIMIT 3": "SELECT line, length_km FROM lines ORDER BY length_km DESC LIMIT 3",
        "SELECT station FROM riders GROUP BY station ORDER BY SUM(entries + exits) LIMIT 1": "SELECT station, SUM(entries + exits) FROM riders GROUP BY station ORDER BY SUM(entries + exits) LIMIT 1",
        "SELECT line FROM lines WHERE stations > 30": "SELECT line, stations FROM lines WHERE stations > 30",
        "SELECT station FROM riders GROUP BY station HAVING AVG(exits) > 9": "SELECT station, AVG(exits) FROM riders GROUP BY station HAVING AVG(exits) > 9",
    }
    for bare, shown in ranked.items():
        assert with_figures(bare) == shown
        assert with_figures(shown) == shown


@pytest.mark.parametrize(
    "sql",
    ["SELECT name FROM dtzpt WHERE line = '1号线' ORDER BY seq", "SELECT COUNT(*) FROM lines WHERE stations > 30"],
)
def test_what_has_no_figure_stays_as_it_is(sql):
    assert with_figures(sql) == sql


def test_no_training_statement_ranks_names_without_their_figure(drawn):
    alone = re.compile(
        r"SELECT (?:DISTINCT )?[a-z.]+ FROM .* ORDER BY (?:SUM|AVG|COUNT|length_km|stations)[^()]*(?:\([^()]*\))?(?: DESC)? LIMIT \d+"
    )
    assert [one.sql for one in drawn if one.sql and alone.fullmatch(one.sql)] == []


def test_follow_ups_come_with_the_question_before_and_its_statement(drawn, metro):
    following = [one for one in drawn if one.earlier]
    assert 0.35 < len(following) / len(drawn) < 0.6
    for one in following:
        metro.execute(one.earlier[1]).fetchmany(1)
    changed = [one for one in following if len(one.question) < 12 and one.sql]
    assert len(changed) > 100


@pytest.mark.parametrize("maker", [maker for _, maker in MAKERS_OF_NEXT], ids=lambda maker: maker.__name__)
def test_every_kind_of_follow_up_is_drawn_and_runs(maker, metro):
    rng, found = Random(5), 0
    titles = NEEDS.get(maker, ())
    for _ in range(400):
        language = rng.choice(["zh", "en"])
        first = draw(rng, language, titled()[rng.choice(titles)] if titles else pick(rng))
        second = maker(first, rng, language)
        if second is not None and second.sql != first.sql:
            found += 1
            assert second.question
            if second.sql:
                metro.execute(second.sql).fetchmany(1)
    assert found > 40


EDITS = [maker for _, maker in (*rider_edits.MAKERS, *row_edits.MAKERS)]


@pytest.mark.parametrize("maker", EDITS, ids=lambda maker: maker.__name__)
def test_every_kind_of_edit_is_drawn_and_runs(maker, metro):
    rng, found = Random(6), 0
    for _ in range(300):
        language = rng.choice(["zh", "en"])
        first = draw(rng, language, titled()[rng.choice(FIRST_OF_EDITS)])
        if rng.random() < 0.5:
            first = edited(first, rng, language) or first
        before = parse_statement(first.sql)
        if before is None or (maker in [one for _, one in rider_edits.MAKERS] and not before.has_riders):
            continue
        edit = maker(before, rng, language)
        if edit is not None:
            found += 1
            question, after, zh, en = edit
            assert question and zh and en
            metro.execute(str(after)).fetchmany(1)
    assert found > 3


def test_every_title_that_begins_a_conversation_is_in_the_grammar():
    assert {*FIRST_OF_EDITS} <= {*titled()}


def test_most_statements_can_be_taken_apart_and_put_together_again(drawn):
    statements = [one.sql for one in drawn if one.sql]
    apart = [sql for sql in statements if parse_statement(sql) is not None]
    assert len(apart) > 0.95 * len(statements)
    for sql in apart:
        assert str(parse_statement(sql)) == sql


def test_a_condition_with_an_and_of_its_own_is_one_condition():
    made = parse_statement(
        "SELECT day, SUM(entries) FROM riders WHERE station = 'A AND B' AND day BETWEEN '1' AND '2'"
        " AND station IN (SELECT name FROM dtzpt WHERE line = '1' AND district = '2') GROUP BY day ORDER BY day LIMIT 3"
    )
    assert made is not None
    assert made.where == (
        "station = 'A AND B'",
        "day BETWEEN '1' AND '2'",
        "station IN (SELECT name FROM dtzpt WHERE line = '1' AND district = '2')",
    )
    assert (made.columns, made.order, made.limit) == (("day", "SUM(entries)"), "day", "3")


@pytest.mark.parametrize("sql", ["SELECT 1", "SELECT a FROM b WHERE c = 1 OR d = 2"])
def test_a_form_that_is_not_taken_apart_gives_nothing(sql):
    assert parse_statement(sql) is None


def test_a_third_question_changes_what_the_second_one_asked(drawn):
    short = [one for one in drawn if one.earlier and len(one.earlier[0]) < 8 and one.sql]
    assert len(short) > 60


@pytest.mark.parametrize("days", range(2, 31))
def test_the_last_days_are_counted_by_the_database_back_from_its_last_day(days, metro):
    assert dates.last_days(days, Random(days), "en").split()[-1] == "days"
    first = date(2024, 4, 25) - timedelta(days - 1)
    where = dates.LAST_DAYS.format(days)
    (found,) = metro.execute(f"SELECT MIN(day), MAX(day), COUNT(DISTINCT day) FROM riders WHERE {where}").fetchall()
    assert found == (first.isoformat(), "2024-04-25", days)
    for seed in range(400):
        slot = dates.recent_slot(Random(seed), "en")
        if re.search(rf" {days} days$", slot.text):
            assert slot.sql["is"] == where


def test_gibberish_is_drawn_to_be_declined(drawn):
    assert sum(one.intent == "gibberish" for one in drawn) > 10
    assert all(one.sql is None for one in drawn if one.intent == "gibberish")


def test_a_wider_tokenizer_reads_the_same_text_in_fewer_tokens(drawn):
    narrow = train([one.reply for one in drawn[:200]], weight=20)
    form = json.loads(narrow.backend_tokenizer.to_str())
    wider, before = widened(narrow)
    assert len(wider) >= len(narrow)
    assert len(before) == len(wider) - len(narrow)
    for one in drawn[:200]:
        assert wider.decode(wider(one.reply)["input_ids"]) == one.reply
        assert len(wider(one.reply)["input_ids"]) <= len(narrow(one.reply)["input_ids"])
    assert form["model"]["ignore_merges"] in (False, None)


def test_the_template_and_the_training_prompt_are_the_same_text(drawn):
    tokenizer = train(["SELECT name FROM dtzpt"], weight=20)
    for one in drawn[:300]:
        asked = [{"role": "system", "content": "a long schema"}]
        if one.earlier:
            asked.append({"role": "user", "content": one.earlier[0]})
            asked.append({"role": "assistant", "content": f"x\n\n```sql\n{one.earlier[1]}\n```"})
        asked.append({"role": "user", "content": one.question})
        shown = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
        assert shown == prompt(one.question, one.earlier)


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
