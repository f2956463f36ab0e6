"""What an upstream's words mean, and what a message's content is."""

from __future__ import annotations

import pytest

from providers.errors import ContextTooLong, Rejected
from providers.wires.content import count, text_of
from providers.wires.meanings import by_words


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]",
        "the max input tokens is 8192",
        "the max length of current question is 4800",
        "The prompt (5000 tokens) is too long",
        "Input is too long for the requested model",
        "输入长度超过限制",
    ],
)
def test_a_prompt_that_is_too_long_is_known_by_its_words(message):
    assert by_words(message) is ContextTooLong


@pytest.mark.parametrize(
    "message",
    [
        "the length of messages must be an odd number",
        "temperature must be in [0, 2]",
        "Range of max_tokens should be [1, 8192]",
        "Required parameter(s) missing: messages",
        "Input data may contain inappropriate content.",
        "",
    ],
)
def test_another_refusal_is_not_taken_for_it(message):
    assert by_words(message) is not ContextTooLong


def test_parts_of_text_are_joined_and_anything_else_is_refused():
    assert text_of(None, "it") == ""
    assert text_of([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "it") == "ab"
    with pytest.raises(Rejected, match="'image_url'"):
        text_of([{"type": "image_url", "image_url": {"url": "x"}}], "it")


@pytest.mark.parametrize("value", [None, True, -1, 1.5, "3", float("inf"), []])
def test_only_a_whole_number_of_tokens_counts(value):
    assert count(value) is None
    assert count(3) == 3
