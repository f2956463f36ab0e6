"""A thought that only its closing tag tells: reasoning in the forms that are written at the end."""

from __future__ import annotations

import pytest

from gateway.answers.events import Event
from gateway.formats.orphans import apart


def text(*pieces: str) -> list[Event]:
    return [Event("message", {"text": piece}) for piece in pieces]


def thought(*pieces: str) -> list[Event]:
    return [Event("reasoning", {"text": piece}) for piece in pieces]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (text("why ", "not</thi", "nk>so"), [*thought("why ", "not"), *text("so")]),
        (text("why</think>"), thought("why")),
        (text("so `</think>` says"), text("so `</think>` says")),
        (text("<think>a</think>b"), text("<think>a</think>b")),
        ([*thought("why"), *text("so</think>")], [*thought("why"), *text("so</think>")]),
        (
            [*text("a</think>b"), Event("correcting", {"attempt": 1}), *text("c", "</THINK>d")],
            [*thought("a"), *text("b"), Event("correcting", {"attempt": 1}), *thought("c"), *text("d")],
        ),
        ([], []),
    ],
)
def test_what_a_closing_tag_alone_ends_is_reasoning(found, told):
    assert apart(found) == told
