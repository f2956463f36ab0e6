"""Plans: how a fault is written down."""

from __future__ import annotations

import pytest

from providers.scripted.plan import WORDS, UnknownWord, parse, split_model


def test_words_are_joined_by_commas():
    plan = parse("crlf,fail=rate, after=2")
    assert (plan.crlf, plan.fail, plan.after) == (True, "rate", 2)


def test_a_position_may_be_left_out():
    assert parse("cut").cut == 0
    assert parse("cut=120").cut == 120
    assert parse("").cut is None


@pytest.mark.parametrize("text", ["nonsense", "cut=x", "fail=no", "hang=never", "crlf=1", "times=often"])
def test_what_cannot_be_read_is_a_sentence_that_names_it(text):
    with pytest.raises(UnknownWord, match=text.partition("=")[0]):
        parse(text)


def test_a_plan_stands_behind_the_models_at():
    assert split_model("qwen-plus@cut=120") == ("qwen-plus", "cut=120")
    assert split_model("qwen-plus") == ("qwen-plus", "")


def test_every_word_says_what_it_does():
    assert all(word.does for word in WORDS.values())
