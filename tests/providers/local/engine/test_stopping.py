from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.local.engine.stopping import StopStrings


def shown(stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
    """What each piece let out, and whether the text ended."""
    strings, out = StopStrings(stops), []
    for piece in pieces:
        text, stopped = strings.push(piece)
        out.append(text)
        if stopped:
            return out, True
    return [*out, strings.flush()], False


@pytest.mark.parametrize(
    ("stops", "pieces", "expected", "stopped"),
    [
        (["END"], ["abE", "N", "Dxyz"], ["ab", "", ""], True),
        (["END"], ["abE", "Nx"], ["ab", "ENx", ""], False),
        (["END"], ["abEN"], ["ab", "EN"], False),
        (["\n\n"], ["a\n", "b\n", "\n"], ["a", "\nb", ""], True),
        (["aab"], ["aaa", "b"], ["a", ""], True),
        (["一二三"], ["零一", "二", "三"], ["零", "", ""], True),
        (["bcd", "c"], ["abcd"], ["ab"], True),
        (["abc", "bc"], ["xabc"], ["x"], True),
        (["abcd", "b"], ["abcd"], ["a"], True),
        ([], ["anything"], ["anything", ""], False),
    ],
)
def test_a_stop_string_ends_the_text_wherever_the_tokens_cut_it(stops, pieces, expected, stopped):
    assert shown(stops, pieces) == (expected, stopped)


def judge(stops: list[str], text: str) -> str:
    """The plain way: read the whole text character by character."""
    for end in range(1, len(text) + 1):
        hits = [stop for stop in stops if text[:end].endswith(stop)]
        if hits:
            return text[: end - max(map(len, hits))]
    return text


@given(st.lists(st.text("ab", min_size=1, max_size=4), max_size=4), st.lists(st.text("ab", max_size=4), max_size=12))
def test_any_text_in_any_pieces_ends_where_the_plain_reading_ends(stops, pieces):
    out, _ = shown(stops, pieces)
    assert "".join(out) == judge(stops, "".join(pieces))
