"""Thoughts between tags: every spelling of the field, however the text is cut."""

from __future__ import annotations

import pytest

from providers.stream.thinking import ThinkTags

THOUGHT, ANSWER = "先试试：\n```sql\nSELECT 1\n```\n不对。", "There are 42."
# (opening, closing), as models and services write them.
SPELLINGS = {
    "DeepSeek R1, QwQ, Qwen3": ("<think>", "</think>"),
    "capitals": ("<THINK>", "</THINK>"),
    "one in capitals": ("<Think>", "</think>"),
    "prompts of Claude": ("<thinking>", "</thinking>"),
    "Gemini's OpenAI endpoint": ("<thought>", "</thought>"),
    "Marco-o1": ("<Thought>", "</Thought>"),
    "EXAONE": ("<thoughts>", "</thoughts>"),
    "Reka": ("<reasoning>", "</reasoning>"),
    "reason": ("<reason>", "</reason>"),
    "Seed": ("<seed:think>", "</seed:think>"),
    "MiniMax": ("<mm:think>", "</mm:think>"),
    "LongCat": ("<longcat_think>", "</longcat_think>"),
    "antThinking": ("<antThinking>", "</antThinking>"),
    "Sky-T1": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "Command A": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "a start and an end": ("<|think_start|>", "<|think_end|>"),
    "without pipes": ("<think_start>", "<think_end>"),
    "with pipes": ("<|think|>", "<|/think|>"),
    "Solar": ("<|think|>", "<|end|>"),
    "Magistral": ("[THINK]", "[/THINK]"),
    "Kimi-VL": ("◁think▷", "◁/think▷"),
    "MedGemma": ("<unused94>thought\n", "<unused95>"),
    "MedGemma without the word": ("<unused94>", "<unused95>"),
    "Gemma": ("<|channel>thought\n", "<channel|>"),
    "Apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "gpt-oss": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "gpt-oss with its start": (
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|end|>\n<|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
    "gpt-oss that returns": ("<|channel|>analysis<|message|>", "<|return|><|channel|>final<|message|>"),
    "gpt-oss without a second heading": ("<|channel|>analysis<|message|>", "<|end|>"),
    "gpt-oss that calls a tool first": (
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
        "<|call|><|start|>assistant<|channel|>final<|message|>",
    ),
}


def split(tags: ThinkTags, pieces: list[str]) -> tuple[str, str]:
    found = [tags.split(piece) for piece in pieces] + [tags.split("", last=True)]
    return "".join(thought for thought, _ in found), "".join(text for _, text in found)


def every_cut(whole: str) -> list[list[str]]:
    return [[whole], list(whole), *([whole[:at], whole[at:]] for at in range(1, len(whole)))]


@pytest.mark.parametrize("mode", ["auto", "true"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_thought_in_every_spelling_is_cut_out_however_it_comes(name, mode):
    opening, closing = SPELLINGS[name]
    for before in ("", "\n"):
        for pieces in every_cut(f"{before}{opening}{THOUGHT}{closing}{ANSWER}"):
            thought, text = split(ThinkTags(mode), pieces)
            assert (thought.strip(), text.strip()) == (THOUGHT, ANSWER), pieces


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_thought_that_never_ends_is_no_text(name):
    opening, _ = SPELLINGS[name]
    for pieces in every_cut(opening + THOUGHT):
        assert split(ThinkTags("auto"), pieces)[1] == "", pieces


# Those that end a thought by themselves, whatever began it.
ALONE = [closing for name, (_, closing) in SPELLINGS.items() if not name.startswith(("gpt-oss", "Solar"))]


@pytest.mark.parametrize("mode", ["true", "opened"])
@pytest.mark.parametrize("closing", ALONE)
def test_a_closing_tag_alone_ends_what_the_prompt_began(closing, mode):
    for pieces in every_cut(f"{THOUGHT}\n{closing}\n\n{ANSWER}"):
        thought, text = split(ThinkTags(mode), pieces)
        assert (thought.strip(), text.strip()) == (THOUGHT, ANSWER), pieces


@pytest.mark.parametrize("closing", ALONE)
def test_where_the_whole_reply_is_there_auto_knows_it_too(closing):
    thought, text = ThinkTags("auto").split_whole(f"{THOUGHT}\n{closing}\n\n{ANSWER}")
    assert (thought.strip(), text.strip()) == (THOUGHT, ANSWER)


@pytest.mark.parametrize(
    "text",
    [
        "The tag `</think>` ends a thought.",
        'Write "</think>" there.',
        "A <think> that stands in the middle, and </think> behind it.",
        "analysis of variance",
        "analysisResult is a name",
        "<table><tr><td>1</td></tr></table>",
        "[1] says so",
        "[thinking aloud] yes",
        "<think about it> he said",
        "<cancel_reason>late</cancel_reason>",
        "<|im_end|>",
        "1 < 2",
        "<",
        "[",
        "analysis",
        "an",
        "<|chan",
        "<unused",
    ],
)
def test_what_only_looks_like_a_tag_is_text(text):
    for pieces in every_cut(text):
        assert split(ThinkTags("auto"), pieces) == ("", text), pieces
    tags = ThinkTags("auto")
    thought, rest = tags.split_whole(text)
    assert (thought, rest + tags.split("", last=True)[1]) == ("", text)


def test_words_of_gpt_oss_without_their_tokens():
    whole = "analysisWe need SELECT 1.assistantfinalThere are 42."
    for pieces in ([whole], ["analysis", *whole[8:]], *([whole[:at], whole[at:]] for at in range(8, len(whole)))):
        assert split(ThinkTags("auto"), pieces) == ("We need SELECT 1.", "There are 42.")


def test_special_tokens_around_the_answer_are_no_text():
    whole = "<|START_THINKING|>why<|END_THINKING|><|START_RESPONSE|>so<|END_RESPONSE|>"
    for pieces in every_cut(whole):
        assert split(ThinkTags("auto"), pieces) == ("why", "so")


def test_a_heading_of_gpt_oss_that_never_ends_is_not_held_for_ever():
    assert split(ThinkTags("auto"), ["<|channel|>" + "word " * 100, "more"])[1].endswith("more")


def test_a_commentary_for_the_reader_is_text():
    first, second = (
        "<|channel|>commentary<|message|>I look it up.",
        "<|start|>assistant<|channel|>final<|message|> Done.",
    )
    whole = f"{first}<|end|>{second}<|return|>"
    for pieces in every_cut(whole):
        assert split(ThinkTags("auto"), pieces) == ("", "I look it up. Done.")
