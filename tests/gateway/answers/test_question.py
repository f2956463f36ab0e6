"""A question is judged before anything is asked, and what is wrong with it is named."""

from __future__ import annotations

import pytest

from gateway.answers.question import MAX_QUESTION_CHARACTERS, BadQuestion, from_json, from_query

WRONG = [
    (b"", "question: it is missing"),
    (b"nonsense", "the body is not JSON"),
    (b'{"question": "a"', "the body is not JSON"),
    (b'["a"]', "the body: expected object, got array"),
    (b"{}", "question: it is missing"),
    (b'{"question": ""}', "question: it is empty"),
    (b'{"question": " \\n"}', "question: it is empty"),
    (b'{"question": 7}', "question: expected str, got int"),
    (b'{"question": null}', "question: expected str, got null"),
    (b'{"question": "a\\u0000b"}', "question: it contains a NUL character"),
    (b'{"question": "\xff"}', "the body is not UTF-8"),
    (b'{"question": "a", "qestion": "b"}', "qestion: unknown field"),
    (b'{"question": "a", "top_k": true}', "top_k: expected int, got bool"),
    (b'{"question": "a", "top_k": 1.5}', "top_k: expected int, got float"),
    (b'{"question": "a", "top_k": -2}', "top_k: expected int >= -1"),
    (b'{"question": "a", "temperature": "0.5"}', "temperature: expected float, got str"),
    (b'{"question": "a", "temperature": true}', "temperature: expected float, got bool"),
    (b'{"question": "a", "temperature": -0.1}', "temperature: expected float >= 0.0"),
    (b'{"question": "a", "temperature": 2.1}', "temperature: expected float <= 2.0"),
    (b'{"question": "a", "temperature": NaN}', "the body is not JSON"),
    (b'{"question": "a", "temperature": 1e999}', "temperature: number out of range"),
    (b'{"question": "a", "top_p": 0}', "top_p: expected float > 0.0"),
    (b'{"question": "a", "top_p": 1.01}', "top_p: expected float <= 1.0"),
    (b'{"question": "a", "repetition_penalty": 0}', "repetition_penalty: expected float > 0.0"),
    (b'{"question": "a", "repetition_penalty": 2.5}', "repetition_penalty: expected float <= 2.0"),
    (b'{"question": "a", "max_tokens": 0}', "max_tokens: expected int >= 1"),
    (b'{"question": "a", "seed": -1}', "seed: expected int >= 0"),
    (b'{"question": "a", "seed": 1e3}', "seed: expected int"),
    (b'{"question": "a", "stop": ""}', "stop: expected str of length >= 1"),
    (b'{"question": "a", "stop": ["x", ""]}', "stop[1]: expected str of length >= 1"),
    (b'{"question": "a", "stop": ["1","2","3","4","5","6","7","8","9"]}', "stop: expected array of length <= 8"),
    (b'{"question": "a", "stop": [3]}', "stop[0]: expected str, got int"),
    (b'{"question": "a", "execute": 1}', "execute: expected bool, got int"),
    (b'{"question": "a", "execute": "true"}', "execute: expected bool, got str"),
    (b'{"question": "a", "language": "fr"}', "language: it is zh or en"),
    (b'{"question": "a", "constrain": "json"}', "constrain: it is sql"),
    (b'{"question": "a\\ud800"}', "the body is not JSON: half a surrogate pair"),
    (b'{"question": "a\\ud83d\\ude00", "top_k": "x"}', "top_k: expected int"),
    (b'{"question": "a", "provider": 3}', "provider: expected str, got int"),
    (b'{"question": "a", "database": ["metro"]}', "database: expected str, got array"),
    (b'{"question": "a", "history": {}}', "history: expected array, got object"),
    (b'{"question": "a", "history": ["a"]}', "history[0]: expected object, got str"),
    (b'{"question": "a", "history": [{"question": "b"}]}', "history[0].answer: it is missing"),
    (b'{"question": "a", "history": [{"question": "b", "answer": 1}]}', "history[0].answer: expected str, got int"),
    (b'{"question": "a", "history": [{"question": "b", "answer": "c", "d": 1}]}', "history[0].d: unknown field"),
    (b'{"question": "a", "history": [{"question": "b", "answer": "\\u0000"}]}', "history[0].answer: it contains a NUL"),
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
    with pytest.raises(BadQuestion, match=r"^question: expected str of length <= 8000"):
        from_json(f'{{"question": "{longest}?"}}'.encode())


def test_every_field_at_the_edges_of_its_range_is_taken():
    asked = from_json(
        b'{"question": "a", "provider": "p", "database": "none", "history": [{"question": "b", "answer": ""}],'
        b' "execute": false, "language": "zh", "temperature": 2, "top_p": 1, "top_k": -1, "max_tokens": 1, "seed": 0,'
        b' "stop": ["x"], "repetition_penalty": 2}'
    )
    assert (asked.temperature, asked.top_p, asked.top_k, asked.max_tokens, asked.seed) == (2.0, 1.0, -1, 1, 0)
    assert (asked.stop, asked.repetition_penalty, asked.execute, asked.database) == (("x",), 2.0, False, "none")
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
        ({}, "question: it is missing"),
        ({"question": ["a", "b"]}, "question: it is given 2 times"),
        ({"question": ["a"], "top_k": ["x"]}, "top_k: expected int, got str"),
        ({"question": ["a"], "temperature": ["nan"]}, "temperature: expected float"),
        ({"question": ["a"], "temperature": ["inf"]}, "temperature: expected float"),
        ({"question": ["a"], "execute": ["perhaps"]}, "execute: expected bool, got str"),
        ({"question": ["a"], "history": ["["]}, "history: it is not JSON"),
        ({"question": ["a"], "history": ["3"]}, "history: expected array"),
        ({"question": ["a"], "more": ["b"]}, "more: unknown field"),
    ],
)
def test_a_bad_query_string_is_named_too(query, told):
    with pytest.raises(BadQuestion) as caught:
        from_query(query)
    assert str(caught.value).startswith(told)
