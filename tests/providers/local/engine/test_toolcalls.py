from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.local.engine.toolcalls import ToolCalls, call_form

TWO = (
    'One moment.\n<tool_call>\n{"name": "f", "arguments": {"a": "x}\\"{", "b": [1, 2, {"c": null}]}}\n</tool_call>'
    '\n<tool_call>\n{"arguments": {}, "name": "g"}\n</tool_call>'
)
CASES = [
    ("hermes", TWO, "One moment.", [("f", '{"a": "x}\\"{", "b": [1, 2, {"c": null}]}'), ("g", "{}")]),
    ("hermes", '<tool_call>{"name":"f","arguments":"{\\"a\\":1}"}</tool_call>', "", [("f", '{"a":1}')]),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": 1', "", [("f", '{"a": 1')]),
    ("hermes", '<tool_call>{"name": "f", "arguments": {}} then text', " then text", [("f", "{}")]),
    ("hermes", '<tool_call>{"name": "f"}</tool_call>', "", [("f", "{}")]),
    ("hermes", '<tool_call>{"name": "f", "arguments": null}</tool_call>', "", [("f", "{}")]),
    ("hermes", '<tool_call>{"name": "查 询/😀", "arguments": {}}</tool_call>', "", [("查 询/😀", "{}")]),
    ("hermes", "a <tool_call> not json", "a <tool_call> not json", []),
    ("hermes", '<tool_call>{"arguments": {}}</tool_call>', '<tool_call>{"arguments": {}}</tool_call>', []),
    ("hermes", "x < y and <tool", "x < y and <tool", []),
    ("hermes", "text  \n", "text  \n", []),
    ("llama", '{"name": "f", "parameters": {"a": 1}}', "", [("f", '{"a": 1}')]),
    ("llama", ' {"name": "f", "parameters": {}}; {"name":"g","parameters":{}}', "", [("f", "{}"), ("g", "{}")]),
    ("llama", '{"a": 1}', '{"a": 1}', []),
    ("llama", 'See {"name":"f"}', 'See {"name":"f"}', []),
]


def read(form: str, text: str, cuts: list[int]) -> tuple[str, list[tuple[str, str]]]:
    calls = ToolCalls(form)
    shown: list[str] = []
    made: dict[int, list[str]] = {}
    pieces = [*cuts, len(text)]
    for n, cut in enumerate(pieces):
        piece, text = text[:cut], text[cut:]
        part, found = calls.push(piece, last=n == len(pieces) - 1)
        shown.append(part)
        for each in found:
            call = made.setdefault(each.index, ["", ""])
            assert bool(each.id) == bool(each.name) == (not call[0]), "id and name come once, first"
            call[0] += each.name
            call[1] += each.arguments
    assert calls.count == len(made)
    return "".join(shown), [(name, arguments) for name, arguments in made.values()]


@pytest.mark.parametrize(("form", "text", "reply", "expected"), CASES)
@given(cuts=st.lists(st.integers(1, 9), max_size=60))
def test_calls_are_told_from_text_however_they_come_in_pieces(form, text, reply, expected, cuts):
    assert read(form, text, cuts) == (reply, expected)


def test_a_name_that_never_ended_is_text():
    assert read("llama", '{"name": "f"', [])[0] == '{"name": "f"'


def test_the_name_comes_before_the_arguments_end():
    calls = ToolCalls("hermes")
    _, first = calls.push('<tool_call>{"name": "f", ')
    assert [piece.name for piece in first] == ["f"]
    _, second = calls.push('"arguments": {"a": "long')
    assert [piece.arguments for piece in second] == ['{"a": "long']


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(categories=("L", "N")), min_size=1, max_size=8),
            st.dictionaries(st.text(max_size=5), st.recursive(st.none() | st.text(), st.lists), max_size=3),
        ),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.integers(1, 20), max_size=50),
    st.sampled_from(["hermes", "llama"]),
)
def test_any_calls_come_back_as_they_were_written(calls, cuts, form):
    word = "parameters" if form == "llama" else "arguments"
    written = [json.dumps({"name": name, word: arguments}, ensure_ascii=False) for name, arguments in calls]
    text = "; ".join(written) if form == "llama" else "".join(f"<tool_call>\n{each}\n</tool_call>" for each in written)
    _, found = read(form, text, cuts)
    assert [(name, json.loads(arguments)) for name, arguments in found] == calls


def read_whole(calls: ToolCalls, text: str) -> tuple[str, list[tuple[int, str]]]:
    shown, pieces = calls.push(text, last=True)
    return shown, [(piece.index, piece.name or piece.arguments) for piece in pieces]


def test_an_object_with_another_name_is_no_call_in_llamas_form():
    person = '{"name": "Bob", "parameters": {"age": 3}}'
    assert read_whole(ToolCalls("llama", ["f"]), person) == (person, [])
    assert read_whole(ToolCalls("llama", ["Bob"]), person) == ("", [(0, "Bob"), (0, '{"age": 3}')])


def test_one_call_where_several_are_not_wanted():
    assert read_whole(ToolCalls("hermes", several=False), TWO)[1][0] == (0, "f")
    assert {index for index, _ in read_whole(ToolCalls("hermes", several=False), TWO)[1]} == {0}


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("{% if tools %}<tool_call>", "hermes"),
        ('{% if tools %}{"name": n, "parameters": p}', "llama"),
        ("{% if tools %}<tool_call><function=f>", None),
        ("{% if tools %}<tool_call>f<arg_key>", None),
        ("<tool_call>", None),
    ],
)
def test_the_form_is_that_of_the_template(template, form):
    assert call_form(template) == form
