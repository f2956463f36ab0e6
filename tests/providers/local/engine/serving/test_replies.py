"""What a reply is told apart into: thoughts, text, tool calls; by models that always say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from providers.local.client import _deltas
from providers.local.engine.serving.chat import Chat
from providers.local.engine.serving.folder import open_folder
from providers.local.wire import Piece
from tests.providers.local.engine.running import a_loop, asking, run
from tests.providers.local.models import LLAMA_TEMPLATE, OPENED_TEMPLATE, TEMPLATE, TOOL_TEMPLATE, make_speaker

pytestmark = pytest.mark.usefixtures("way")

THOUGHT = ["<think>", "hmm", "</think>", "\n\nHello!"]
CALL = ["<tool_call>", '\n{"name": "f", ', '"arguments": ', '{"a": 1', "}}\n", "</tool_call>"]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def pieces(folder: Path, **parameters) -> list[Piece]:
    """What the engine sends for one question."""
    loop = a_loop(folder)
    assert loop.ask(("test", 0), asking("x", **parameters)) is None
    sent: list[Piece] = []
    loop.preprocessing.settle()
    while loop.busy:
        sent += [piece for _, piece in loop.step()]
    return sent


def said(folder: Path, **parameters) -> tuple[str, str, str | None]:
    """(reasoning, text, finish reason)"""
    sent = pieces(folder, **parameters)
    assert all(isinstance(piece, Piece) for piece in sent), sent
    return "".join(p.reasoning for p in sent), "".join(p.text for p in sent), sent[-1].finish_reason


def test_a_thought_is_reasoning(tmp_path):
    folder = make_speaker(tmp_path, THOUGHT)
    assert said(folder) == ("hmm", "\n\nHello!", "stop")
    assert pieces(folder)[-1].reasoning_tokens == 3
    assert said(folder, think="never") == ("", "<think>hmm</think>\n\nHello!", "stop")


def test_a_reply_begins_in_the_thought_that_the_prompt_opens(tmp_path):
    folder = make_speaker(tmp_path, THOUGHT[1:], OPENED_TEMPLATE)
    assert said(folder) == ("hmm", "\n\nHello!", "stop")


def test_a_stop_string_counts_in_a_thought_too(tmp_path):
    assert said(make_speaker(tmp_path, THOUGHT), stop=["hmm"]) == ("", "", "stop")


@pytest.mark.parametrize(
    ("history", "same_as"),
    [
        ("<think>x</think>b", "b"),
        ("<think>\n\nSELECT 1\n</think>b", "b"),
        ("b", "b"),
    ],
)
def test_thoughts_of_the_history_are_cut_by_the_template_as_transformers_does_it(tmp_path, history, same_as):
    from transformers import AutoTokenizer

    folder = make_speaker(tmp_path, THOUGHT)
    chat = Chat(open_folder(str(folder)))

    def conversation(reply: str) -> list[dict[str, str]]:
        return [
            {"role": "user", "content": "a <tool_call>"},
            {"role": "assistant", "content": reply},
            {"role": "user", "content": "c"},
        ]

    mine = chat.prompt(conversation(history), {})
    assert mine == chat.prompt(conversation(same_as), {})
    judge = AutoTokenizer.from_pretrained(folder)
    expected = judge.apply_chat_template(conversation(history), add_generation_prompt=True, tokenize=True)
    assert mine == expected["input_ids"]


def test_a_call_comes_while_it_is_written(tmp_path):
    folder = make_speaker(tmp_path, ["Well.", *CALL], TOOL_TEMPLATE)
    sent = pieces(folder, tools=[TOOL])
    calls = [call for piece in sent for call in piece.tool_calls or ()]
    assert "".join(piece.text for piece in sent) == "Well."
    assert [name for _, _, name, _ in calls if name] == ["f"]
    arguments = [written for *_, written in calls if written]
    assert "".join(arguments) == '{"a": 1}' and len(arguments) > 1
    assert sent[-1].finish_reason == "tool_calls"
    deltas = [delta for piece in sent for delta in _deltas(piece)]
    assert deltas[-1].finish_reason == "tool_calls"
    (index, id, name) = next((c.index, c.id, c.name) for delta in deltas for c in delta.tool_calls)
    assert (index, name) == (0, "f") and id.startswith("call_")


def test_without_tools_a_call_is_text(tmp_path):
    folder = make_speaker(tmp_path, CALL, TOOL_TEMPLATE)
    for how in ({}, {"tools": [TOOL], "tool_choice": "none"}):
        assert said(folder, **how) == ("", "".join(CALL), "stop")


def test_llamas_calls_are_read(tmp_path):
    folder = make_speaker(tmp_path, ['{"name": "f", "para', 'meters": {"a": "', '✓"}}'], LLAMA_TEMPLATE)
    sent = pieces(folder, tools=[TOOL])
    assert "".join(written for piece in sent for *_, written in piece.tool_calls or ()) == '{"a": "✓"}'
    assert sent[-1].finish_reason == "tool_calls"


def test_tools_are_refused_where_the_template_has_none(tmp_path):
    folder = make_speaker(tmp_path, ["x"], TEMPLATE)
    (answer,) = run(a_loop(folder), [asking("x", tools=[TOOL])])
    assert answer.failed.code == "bad_request" and answer.failed.message.startswith("tools: ")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tool_choice": "required"}, "tool_choice: needs tools"),
        ({"tools": [TOOL], "tool_choice": "some"}, 'tool_choice: must be "none"'),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice: must name"),
        ({"tools": [{"type": "function"}]}, "tools[0]: "),
        ({"response_format": {"type": "xml"}}, "response_format: type must be"),
        ({"response_format": {"type": "json_schema"}}, "response_format: json_schema.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}}, "response_format: "),
        ({"options": {"guided_regex": "("}}, "guided_regex: "),
        ({"options": {"guided_choice": []}}, "guided_choice: "),
        ({"options": {"guided_json": "{"}}, "guided_json: "),
        ({"options": {"structured_outputs": {"grammar": "nonsense"}}}, "structured_outputs.grammar: "),
        ({"options": {"guided_regex": "a"}, "response_format": {"type": "json_object"}}, "response_format: only one"),
        ({"options": {"min_tokens": -1}}, "min_tokens: "),
        ({"options": {"min_tokens": 30}, "max_tokens": 20}, "min_tokens: must be at most max_tokens, 20, got 30"),
        ({"options": {"logit_bias": {"x": 1}}}, "logit_bias: "),
        ({"options": {"logit_bias": {"1": 1000}}}, "logit_bias"),
        ({"options": {"prompt_logprobs": 1}}, "prompt_logprobs: "),
        ({"options": {"prompt_logprobs": "1"}}, "prompt_logprobs: "),
        ({"options": {"allowed_token_ids": [1]}}, "allowed_token_ids: "),
        ({"options": {"min_tokens": "3"}}, "min_tokens: must be an integer, got a string"),
        ({"options": {"ignore_eos": 1}}, "ignore_eos: must be true or false, got an integer"),
        ({"options": {"logit_bias": {"1": "2"}}}, "logit_bias[...]: must be a number, got a string"),
        ({"options": {"logit_bias": {"400000": 1}}}, "logit_bias: must have token ids below"),
        ({"options": {"logit_bias": {"-1": 1}}}, "logit_bias: must have token ids below"),
        ({"options": {"logit_bias": {"9" * 5000: 1}}}, "logit_bias: must have token ids below"),
        ({"options": {"stop_token_ids": [400000], "min_tokens": 2}}, "stop_token_ids: must be token ids below"),
        ({"options": {"stop_token_ids": ["1"]}}, "stop_token_ids[0]: must be an integer, got a string"),
        ({"options": {"chat_template_kwargs": {"messages": []}}}, "chat_template_kwargs: must not have messages"),
        ({"options": {"chat_template_kwargs": "x"}}, "chat_template_kwargs: must be an object, got a string"),
        ({"options": {"structured_outputs": {"structural_tag": "{}"}}}, "structured_outputs.structural_tag: "),
        ({"options": {"min_tokens": 3, "guided_regex": "a"}}, "min_tokens: cannot be combined with guided_regex"),
        ({"options": {"ignore_eos": True}, "response_format": {"type": "json_object"}}, "ignore_eos: cannot be"),
        ({"options": {"bad_words": ["a"], "guided_regex": "a"}}, "bad_words: cannot be combined"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"not": {}}}}}, "response_format: "),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "http://x/y"}}}},
            "response_format: ",
        ),
        ({"options": {"bad_words": [""]}}, "bad_words"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_named(tmp_path, options, words):
    folder = make_speaker(tmp_path, ["x"], TOOL_TEMPLATE)
    (answer,) = run(a_loop(folder), [asking("x", **options)])
    assert answer.failed and answer.failed.code == "bad_request"
    assert answer.failed.message.startswith(words), answer.failed.message


SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["a", "b"]}, "number": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "number"],
    "additionalProperties": False,
}
FORMS = [
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}, None),
    ({"response_format": {"type": "json_object"}}, None),
    ({"options": {"guided_json": SCHEMA}}, None),
    ({"options": {"structured_outputs": {"json": SCHEMA}}}, None),
    ({"options": {"guided_choice": ["yes", 'n"o']}}, ["yes", 'n"o']),
    ({"options": {"guided_regex": "a/[0-9]{2}"}}, [f"a/{n:02}" for n in range(100)]),
    ({"options": {"guided_grammar": 'start: "x" "y"'}}, ["xy"]),
    ({"options": {"guided_grammar": 'root ::= "x" "z"'}}, ["xz"]),
]


@pytest.mark.parametrize(("how", "allowed"), FORMS, ids=range(len(FORMS)))
def test_a_random_model_writes_what_the_structure_allows(models, how, allowed):
    loop = a_loop(models["qwen3"][0])
    asks = [asking("x", temperature=1.0, seed=seed, max_tokens=200, **how) for seed in range(4)]
    for answer in run(loop, asks):
        if answer.finish_reason == "stop":
            if allowed:
                assert answer.text in allowed
            else:
                assert isinstance(json.loads(answer.text), dict)
        else:
            assert not allowed


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "g"}}])
@pytest.mark.parametrize("template", [TOOL_TEMPLATE, LLAMA_TEMPLATE], ids=["hermes", "llama"])
def test_a_forced_call_is_a_call_by_its_functions_schema(tmp_path, template, choice):
    folder = make_speaker(tmp_path, ["nothing"], template)
    tools = [
        {"type": "function", "function": {"name": "f", "parameters": SCHEMA}},
        {"type": "function", "function": {"name": "g", "parameters": SCHEMA}},
    ]
    loop = a_loop(folder)
    asks = [
        asking("x", temperature=temperature, seed=1, max_tokens=200, tools=tools, tool_choice=choice,
               parallel_tool_calls=False)
        for temperature in (0.0, 0.3, 1.0)
    ]  # fmt: skip
    whole = [answer for answer in run(loop, asks) if answer.finish_reason == "tool_calls"]
    assert whole, "each was cut by its length"
    for answer in whole:
        assert answer.text.strip() == ""
        names = [name for _, _, name, _ in answer.calls if name]
        assert names == ["g"] if isinstance(choice, dict) else names in (["f"], ["g"])
        assert json.loads("".join(arguments for *_, arguments in answer.calls)).keys() == SCHEMA["properties"].keys()


NESTED = {
    "$defs": {"Line": {"enum": ["一号线", "2"]}, "Node": {"type": "object", "properties": {
        "line": {"$ref": "#/$defs/Line"}, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}},
        "required": ["line", "next"], "additionalProperties": False}},
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "http://example.com/x",
    "type": "object",
    "properties": {"format": {"$ref": "#/$defs/Node"}, "site": {"type": "string", "format": "binary", "maxLength": 3}},
    "required": ["format", "site"],
    "additionalProperties": False,
}  # fmt: skip
"""References, a recursion, Chinese values, a format that is only a remark, a property with the name of a keyword."""


@pytest.mark.parametrize(
    "how",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": NESTED}}},
        {"tools": [TOOL | {"function": {"name": "查 询/~", "parameters": NESTED}}], "tool_choice": "required"},
        {"tools": [TOOL, TOOL | {"function": {"name": "g", "parameters": NESTED | {"uniqueItems": True}}}],
         "tool_choice": {"type": "function", "function": {"name": "g"}}},
    ],
    ids=["a format", "a function", "the second function"],
)  # fmt: skip
def test_schemas_with_references_are_followed(tmp_path, how):
    folder = make_speaker(tmp_path, ["nothing"], TOOL_TEMPLATE)
    loop = a_loop(folder)
    asks = [asking("x", temperature=1.0, seed=seed, max_tokens=300, parallel_tool_calls=False, **how)
            for seed in range(4)]  # fmt: skip
    whole = [answer for answer in run(loop, asks) if answer.finish_reason != "length"]
    assert whole, "each was cut by its length"
    for answer in whole:
        text = answer.text or "".join(arguments for *_, arguments in answer.calls)
        assert json.loads(text)["format"]["line"] in ("一号线", "2")


def test_a_call_may_come_instead_of_the_structure(tmp_path):
    """Tools and response_format together: the reply is the one or the other."""
    form = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    (called,) = run(
        a_loop(make_speaker(tmp_path / "a", CALL, TOOL_TEMPLATE)), [asking("x", tools=[TOOL], response_format=form)]
    )
    assert called.failed is None
    assert (called.finish_reason, [name for _, _, name, _ in called.calls if name]) == ("tool_calls", ["f"])
    spoken = make_speaker(tmp_path / "b", ['{"name": "a", ', '"number": 7}'], TOOL_TEMPLATE)
    (written,) = run(a_loop(spoken), [asking("x", tools=[TOOL], response_format=form)])
    assert (written.finish_reason, json.loads(written.text)["name"]) == ("stop", "a")


def test_a_forced_call_is_written_with_the_tokens_of_the_tags(tmp_path):
    """Qwen3's tokeniser has them; spelt in pieces they would be foreign to the model."""
    loop = a_loop(make_speaker(tmp_path, CALL, TOOL_TEMPLATE))
    (answer,) = run(loop, [asking("x", tools=[TOOL], tool_choice="required", max_tokens=60)])
    assert answer.failed is None
    assert (answer.finish_reason, "".join(written for *_, written in answer.calls)) == ("tool_calls", '{"a": 1}')
    chat = loop.preprocessing.make.keywords["chat"]
    reply = answer.tokens[-answer.completion_tokens :]
    assert chat.tokenizer.token_to_id("<tool_call>") == reply[0] and reply.count(reply[0]) == 1
    assert chat.tokenizer.token_to_id("</tool_call>") in reply


def test_a_forced_call_needs_no_form_of_the_template(tmp_path):
    folder = make_speaker(tmp_path, THOUGHT[1:3], OPENED_TEMPLATE)
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    loop = a_loop(folder)
    asks = [asking("x", temperature=1.0, seed=n, max_tokens=200, tools=[tool], tool_choice="required",
                   parallel_tool_calls=False) for n in range(3)]  # fmt: skip
    answers = run(loop, asks)
    called = [answer for answer in answers if answer.finish_reason == "tool_calls"]
    assert called and all(answer.reasoning == "hmm" for answer in answers)
    assert json.loads("".join(arguments for *_, arguments in called[0].calls)).keys() == SCHEMA["properties"].keys()
    decoded = loop.preprocessing.make.keywords["chat"].tokenizer.decode(called[0].tokens)
    assert '"name": "f"' in decoded, "the prompt shows the function"


def test_a_regular_expression_may_have_slashes_and_backslashes(models):
    loop = a_loop(models["qwen3"][0])
    (answer,) = run(loop, [asking("x", options={"guided_regex": r"a\/b/c\/\d"})])
    assert answer.failed is None and re.fullmatch(r"a\/b/c/\d", answer.text)


def test_a_token_that_the_model_does_not_have_is_no_bad_word(models):
    """Its logit would be looked for outside the row, which on a GPU ends the process."""
    loop = a_loop(models["qwen3"][0])
    chat = loop.preprocessing.make.keywords["chat"]
    chat.tokenizer.add_tokens(["<beyond>"])
    (answer,) = run(loop, [asking("x", options={"bad_words": ["<beyond>"], "min_tokens": 2}, max_tokens=4)])
    assert answer.failed is None and loop.counters.failed_steps == 0


@pytest.mark.parametrize("opened", [False, True])
def test_a_thought_before_structured_output_is_free(tmp_path, opened):
    spoken = THOUGHT[1:3] if opened else THOUGHT[:3]
    folder = make_speaker(tmp_path, spoken, OPENED_TEMPLATE if opened else TOOL_TEMPLATE)
    form = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    (answer,) = run(a_loop(folder), [asking("x", response_format=form, max_tokens=200)])
    assert answer.reasoning == "hmm"
    if answer.finish_reason == "stop":
        assert json.loads(answer.text).keys() == SCHEMA["properties"].keys()
    else:
        assert answer.text.lstrip().startswith("{")


def test_a_special_token_as_a_stop_string_ends_the_text(tmp_path):
    folder = make_speaker(tmp_path, ["Hi", " there", " friend"])
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["special"] = token["special"] or token["content"] == " there"
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert said(folder) == ("", "Hi friend", "stop")
    assert said(folder, stop=[" there"]) == ("", "Hi", "stop")
    assert said(folder, options={"skip_special_tokens": False}) == ("", "Hi there friend", "stop")


def test_what_vllm_knows_beside_openai(tmp_path):
    words = ["one", " two", " three", " four"]
    folder = make_speaker(tmp_path, words)
    chat = Chat(open_folder(str(folder)))
    two, end = chat.tokenizer.token_to_id(" two"), chat.tokenizer.token_to_id("<|im_end|>")

    def text(**options) -> str:
        return said(folder, max_tokens=8, options=options)[1]

    assert text() == "one two three four"
    assert text(stop_token_ids=[two]) == "one"
    assert text(bad_words=["two"])[:7] != "one two"
    assert text(logit_bias={str(two): -100.0})[:7] != "one two"
    assert said(folder, stop=[" th"], options={"include_stop_str_in_output": True}) == ("", "one two th", "stop")
    assert said(folder, stop=["one"], options={"min_tokens": 3}, max_tokens=8)[1] == "one two three four"
    (answer,) = run(a_loop(folder), [asking("x", options={"min_tokens": 7}, max_tokens=9)])
    assert answer.completion_tokens >= 7 and end not in answer.tokens[-answer.completion_tokens :][:6]
    (answer,) = run(a_loop(folder), [asking("x", options={"ignore_eos": True}, max_tokens=9)])
    assert (answer.completion_tokens, answer.finish_reason) == (9, "length")


def test_a_reply_goes_on_with_the_last_message(models):
    chat = Chat(open_folder(str(models["qwen2"][0])))
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "One, two, "}]
    assert chat.text(messages, {}, continued=True).endswith("<|im_start|>assistant\nOne, two, ")


def test_null_content_beside_tool_calls_is_an_empty_text(tmp_path):
    folder = make_speaker(tmp_path, THOUGHT)
    function = {"name": "f", "arguments": '{"a": 1}'}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "1", "content": "r"},
    ]
    assert "<|im_start|>assistant\n<|im_end|>" in Chat(open_folder(str(folder))).text(messages, {})


def test_template_variables_of_the_request_go_over_those_of_the_configuration(tmp_path):
    folder = make_speaker(tmp_path, THOUGHT)
    loop = a_loop(folder)
    how = {"template": {"enable_thinking": True}, "options": {"chat_template_kwargs": {"enable_thinking": False}}}
    (answer,) = run(loop, [asking("x", **how, max_tokens=2)])
    assert loop.preprocessing.make.keywords["chat"].tokenizer.decode(answer.tokens).count("</think>")
