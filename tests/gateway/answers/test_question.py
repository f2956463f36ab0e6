"""A question is judged before anything is asked, and what is wrong with it is named."""

from __future__ import annotations

import pytest

from gateway.answers.question import MAX_QUESTION_CHARACTERS, from_json, from_query
from gateway.decoding import BadQuestion

WRONG = [
    (b"", "question: required"),
    (b"nonsense", "the body: must be JSON"),
    (b'{"question": "a"', "the body: must be JSON"),
    (b'["a"]', "the body: must be an object, got an array"),
    (b"{}", "question: required"),
    (b'{"question": ""}', "question: must not be blank"),
    (b'{"question": " \\n"}', "question: must not be blank"),
    (b'{"question": 7}', "question: must be a string, got an integer"),
    (b'{"question": null}', "question: must be a string, got null"),
    (b'{"question": "a\\u0000b"}', "question: must not contain U+0000"),
    (b'{"question": "\xff"}', "the body: must be UTF-8"),
    (b'{"question": "a", "qestion": "b"}', "qestion: unknown field"),
    (b'{"question": "a", "top_k": true}', "top_k: must be an integer, got true or false"),
    (b'{"question": "a", "top_k": 1.5}', "top_k: must be an integer, got a number"),
    (b'{"question": "a", "top_k": -2}', "top_k: must be an integer >= -1"),
    (b'{"question": "a", "temperature": "0.5"}', "temperature: must be a number, got a string"),
    (b'{"question": "a", "temperature": true}', "temperature: must be a number, got true or false"),
    (b'{"question": "a", "temperature": -0.1}', "temperature: must be a number >= 0"),
    (b'{"question": "a", "temperature": 2.1}', "temperature: must be a number <= 2"),
    (b'{"question": "a", "temperature": NaN}', "the body: must be JSON"),
    (b'{"question": "a", "temperature": 1e999}', "temperature: number out of range"),
    (b'{"question": "a", "top_p": 0}', "top_p: must be a number > 0"),
    (b'{"question": "a", "top_p": 1.01}', "top_p: must be a number <= 1"),
    (b'{"question": "a", "repetition_penalty": 0}', "repetition_penalty: must be a number > 0"),
    (b'{"question": "a", "repetition_penalty": 2.5}', "repetition_penalty: must be a number <= 2"),
    (b'{"question": "a", "max_tokens": 0}', "max_tokens: must be an integer >= 1"),
    (b'{"question": "a", "seed": -1}', "seed: must be an integer >= 0"),
    (b'{"question": "a", "seed": 1e3}', "seed: must be an integer"),
    (b'{"question": "a", "stop": ""}', "stop: must be a string of at least 1 character"),
    (b'{"question": "a", "stop": ["x", ""]}', "stop[1]: must be a string of at least 1 character"),
    (b'{"question": "a", "stop": ["1","2","3","4","5","6","7","8","9"]}', "stop: must be an array of at most 8 items"),
    (b'{"question": "a", "stop": [3]}', "stop[0]: must be a string, got an integer"),
    (b'{"question": "a", "execute": 1}', "execute: must be true or false, got an integer"),
    (b'{"question": "a", "execute": "true"}', "execute: must be true or false, got a string"),
    (b'{"question": "a", "language": "fr"}', 'language: must be "zh" or "en", got "fr"'),
    (b'{"question": "a", "constrain": "json"}', 'constrain: must be "sql", got "json"'),
    (b'{"question": "a\\ud800"}', "the body: must be JSON; half a surrogate pair"),
    (b'{"question": "a\\ud83d\\ude00", "top_k": "x"}', "top_k: must be an integer"),
    (b'{"question": "a", "provider": 3}', "provider: must be a string, got an integer"),
    (b'{"question": "a", "database": ["metro"]}', "database: must be a string, got an array"),
    (b'{"question": "a", "history": {}}', "history: must be an array, got an object"),
    (b'{"question": "a", "history": ["a"]}', "history[0]: must be an object, got a string"),
    (b'{"question": "a", "history": [{"question": "b"}]}', "history[0].answer: required, but missing"),
    (
        b'{"question": "a", "history": [{"question": "b", "answer": 1}]}',
        "history[0].answer: must be a string",
    ),
    (b'{"question": "a", "history": [{"question": "b", "answer": "c", "d": 1}]}', "history[0].d: unknown field"),
    (
        b'{"question": "a", "history": [{"question": "\\u0000", "answer": "b"}]}',
        "history[0].question: must not contain",
    ),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, "a: unknown field"),
]


@pytest.mark.parametrize(("body", "told"), WRONG, ids=[told for _, told in WRONG])
def test_a_bad_field_is_named(body, told):
    with pytest.raises(BadQuestion) as caught:
        from_json(body)
    assert str(caught.value).startswith(told)


def test_a_question_has_a_length_limit_in_characters():
    longest = "问" * MAX_QUESTION_CHARACTERS
    assert from_json(f'{{"question": "{longest}"}}'.encode()).question == longest
    with pytest.raises(BadQuestion, match=r"^question: must be a string of at most 8000 characters"):
        from_json(f'{{"question": "{longest}?"}}'.encode())


def test_every_field_at_the_edges_of_its_range_is_taken():
    asked = from_json(
        b'{"question": "a", "provider": "p", "database": "none", "history": [{"question": "b", "answer": ""}],'
        b' "execute": false, "language": "zh", "temperature": 2, "top_p": 1, "top_k": -1, "max_tokens": 1, "seed": 0,'
        b' "stop": ["x"], "repetition_penalty": 2}'
    )
    how = asked.sampling
    assert (how.temperature, how.top_p, how.top_k, how.max_tokens, how.seed) == (2.0, 1.0, -1, 1, 0)
    assert (how.stop, how.repetition_penalty, asked.execute, asked.database) == (("x",), 2.0, False, "none")
    assert [message["content"] for message in asked.chat()] == ["b", "", "a"]


def test_null_is_the_same_as_absent():
    assert from_json(b'{"question": "a", "top_k": null, "history": null}') == from_json(b'{"question": "a"}')


def test_a_query_string_says_the_same_as_a_body():
    body = b'{"question": "1", "execute": true, "temperature": 0.5, "top_k": 3, "stop": ["a", "b"],'
    body += b' "history": [{"question": "x", "answer": "y"}]}'
    query = {
        "question": ["1"],
        "execute": ["true"],
        "temperature": ["0.5"],
        "top_k": ["3"],
        "stop": ["a", "b"],
        "history": ['[{"question": "x", "answer": "y"}]'],
    }
    assert from_query(query) == from_json(body)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({}, "question: required"),
        ({"question": ["a", "b"]}, "question: must be there once, came 2 times"),
        ({"question": ["a"], "top_k": ["x"]}, "top_k: must be an integer, got a string"),
        ({"question": ["a"], "temperature": ["nan"]}, "temperature: must be a number"),
        ({"question": ["a"], "temperature": ["inf"]}, "temperature: must be a number"),
        ({"question": ["a"], "execute": ["perhaps"]}, "execute: must be true or false, got a string"),
        ({"question": ["a"], "history": ["["]}, "history: must be JSON"),
        ({"question": ["a"], "history": ["3"]}, "history: must be an array"),
        ({"question": ["a"], "more": ["b"]}, "more: unknown field"),
    ],
)
def test_a_bad_query_string_is_named_too(query, told):
    with pytest.raises(BadQuestion) as caught:
        from_query(query)
    assert str(caught.value).startswith(told)


def test_what_a_model_said_may_come_back_whatever_it_was():
    """A reply with U+0000 in it must not make every further question of the conversation a bad one."""
    asked = from_json(b'{"question": "a", "history": [{"question": "b", "answer": "c\\u0000d"}]}')
    assert asked.history[0].answer == "cd"
