from __future__ import annotations

import time

import pytest

from prompts.example_store import BadExamples, ExampleStore, Pair, filled, load, merged

PAIRS = [
    Pair("沈塘桥在几号线上？", "SELECT line FROM dtzpt WHERE name = '沈塘桥'", ("dtzpt",), "h1"),
    Pair("客流最大的站是哪个？", "SELECT station FROM riders ORDER BY entries DESC LIMIT 1", ("riders",), "h2"),
    Pair("Which district has the most stations?", "SELECT district FROM dtzpt", ("dtzpt",), "h1"),
    Pair("你好", "", ()),
]


def test_the_pairs_that_share_the_most_telling_words_come_first():
    memory = filled(PAIRS)
    assert memory.nearest("火车东站的客流有多大", 2)[0] == PAIRS[1]
    assert memory.nearest("沈塘桥是几号线", 1) == [PAIRS[0]]
    assert memory.nearest("stations of each district", 1) == [PAIRS[2]]
    assert memory.nearest("???", 5) == []
    assert memory.nearest("今天天气", 5) == []


@pytest.mark.parametrize("question", ['"', 'a" OR found MATCH "b', "NEAR(沈塘桥)", "* - : ^", "沈塘桥 AND NOT", "\0"])
def test_no_question_breaks_the_search(question):
    filled(PAIRS).nearest(question, 5)


def test_pairs_stay_on_disk_and_the_last_word_on_a_question_counts(tmp_path):
    path = str(tmp_path / "memory.db")
    memory = ExampleStore(path)
    memory.add(PAIRS[0])
    memory.add(Pair("沈塘桥在几号线上？ ", "SELECT 2", ("dtzpt",), "h9"))
    memory.close()
    again = ExampleStore(path)
    assert len(again) == 1
    assert again.nearest("沈塘桥", 5) == [Pair("沈塘桥在几号线上？", "SELECT 2", ("dtzpt",), "h9")]


def test_each_changes_its_own_pairs_and_the_first_word_on_a_question_stays_first():
    memory = ExampleStore(":memory:")
    pairs = {by: Pair("沈塘桥在几号线上？", f"SELECT '{by}'") for by in ("alice", "bob")}
    for by, pair in pairs.items():
        memory.add(pair, by=by)
    memory.add(pairs["alice"], by="alice")
    assert memory.nearest("沈塘桥", 5) == list(pairs.values())
    assert not memory.forget("沈塘桥在几号线上？", by="carol")
    assert memory.forget("沈塘桥在几号线上？", by="alice")
    assert memory.nearest("沈塘桥", 5) == [pairs["bob"]]


def test_what_is_forgotten_is_not_found(tmp_path):
    memory = ExampleStore(str(tmp_path / "memory.db"))
    memory.add(PAIRS[0])
    assert memory.forget("沈塘桥在几号线上？")
    assert not memory.forget("沈塘桥在几号线上？")
    assert memory.nearest("沈塘桥", 5) == []


def test_two_processes_may_write_to_one_store(tmp_path):
    path = str(tmp_path / "memory.db")
    one, other = ExampleStore(path), ExampleStore(path)
    one.add(PAIRS[0])
    other.add(PAIRS[1])
    assert len(one) == len(other) == 2


def test_a_search_among_thousands_takes_milliseconds():
    memory = filled(Pair(f"第{n}号站的客流是多少，在哪个区？", "SELECT 1") for n in range(3000))
    began = time.process_time()
    for _ in range(20):
        memory.nearest("火车东站的客流是多少", 6)
    assert (time.process_time() - began) / 20 < 0.05


def test_lists_are_merged_in_turn_without_repeating_a_question():
    assert merged(3, PAIRS[:2], PAIRS[1:4]) == sorted(PAIRS[:3], key=lambda pair: pair.question)
    assert merged(3) == []


def test_a_file_of_pairs_is_read(tmp_path):
    path = tmp_path / "examples.yaml"
    path.write_text("- question: |\n    有几条\n    线？\n  sql: SELECT 1\n- {question: 你好, sql: ''}\n", "utf-8")
    assert load(path) == [Pair("有几条 线？", "SELECT 1"), Pair("你好", "")]


@pytest.mark.parametrize("text", ["- question: x", "- {question: 1, sql: x}", "x: [", "- 7"])
def test_a_bad_file_of_pairs_says_what_is_wrong(tmp_path, text):
    path = tmp_path / "examples.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(BadExamples, match=r"examples\.yaml: (entry 1|not valid YAML)"):
        load(path)


def test_the_demos_examples_are_good():
    assert len(load("prompts/examples/metro.yaml")) >= 4
