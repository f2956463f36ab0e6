from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.local.engine.thoughts import Thoughts

TAGS = ("<think>", "</think>")
CASES = [
    ("<think>hmm</think>\n\nHello!", {}, "hmm", "\n\nHello!"),
    ("hmm</think>\n\nHello!", {"opened": True}, "hmm", "\n\nHello!"),
    (" \n<think>a</think>b<think>c</think>", {}, "a", "b<think>c</think>"),
    ("x<think>a</think>b<think>c</think>", {"anywhere": True}, "ac", "xb"),
    ("Hello <think>", {}, "", "Hello <think>"),
    ("<thi", {}, "", "<thi"),
    ("<think>no end </thi", {}, "no end </thi", ""),
    ("  ", {}, "", "  "),
    ("a < b", {}, "", "a < b"),
]


@pytest.mark.parametrize(("text", "how", "reasoning", "reply"), CASES)
@given(cuts=st.lists(st.integers(1, 9), max_size=40))
def test_a_thought_is_told_from_the_text_however_it_comes_in_pieces(text, how, reasoning, reply, cuts):
    thoughts = Thoughts(TAGS, **how)
    parts = []
    rest = text
    for cut in cuts:
        parts.append(thoughts.push(rest[:cut]))
        rest = rest[cut:]
    parts.append(thoughts.push(rest, last=True))
    assert ("".join(part for part, _ in parts), "".join(part for _, part in parts)) == (reasoning, reply)


def test_other_tags_may_be_chosen():
    thoughts = Thoughts(("[THINK]", "[/THINK]"))
    assert thoughts.push("[THINK]a[/THINK]b", last=True) == ("a", "b")


def test_text_that_is_no_tag_does_not_wait():
    thoughts = Thoughts(TAGS)
    assert thoughts.push("H") == ("", "H")
    assert thoughts.push("<think") == ("", "<think")
