"""The promises, whatever an adapter hands over."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.delta import Delta, ToolCallDelta, Usage
from providers.errors import BrokenProtocol, CutOff, ProviderError, TooLarge
from providers.stream.normaliser import Normaliser

STOP = Delta(finish_reason="stop")


def normalised(deltas, *, said_done=False, **settings) -> list[Delta]:
    """All that comes out; the failure is raised at the end, as a stream would."""
    normaliser, out = Normaliser(**settings), []
    normaliser.push(deltas, out)
    normaliser.end(out, said_done=said_done)
    return out


def text(deltas) -> str:
    return "".join(delta.text for delta in deltas)


def reasoning(deltas) -> str:
    return "".join(delta.reasoning for delta in deltas)


def texts(*pieces: str) -> list[Delta]:
    return [Delta(piece) for piece in pieces]


def snapshots_of(whole: str, cuts) -> list[Delta]:
    return texts(*(whole[:cut] for cut in cuts), whole)


# -- ends and usage


def test_the_last_delta_and_no_other_has_finish_reason_and_usage():
    usage = Usage(1, 2, 3)
    out = normalised([Delta("He"), Delta("llo", finish_reason="length"), Delta(usage=usage)])
    assert out == [Delta("He"), Delta("llo"), Delta(finish_reason="length", usage=usage)]


def test_the_text_of_the_final_chunk_is_not_lost():
    assert text(normalised([Delta("a"), Delta("b", finish_reason="stop", usage=Usage(1, 2, 3))])) == "ab"


def test_usage_is_the_last_running_total_and_never_a_sum():
    out = normalised([Delta("a", usage=Usage(5, 1, 6)), Delta("b", usage=Usage(5, 2, 7)), STOP])
    assert out[-1].usage == Usage(5, 2, 7)


def test_usage_that_was_not_told_is_none():
    assert normalised([Delta("a"), STOP])[-1].usage is None


def test_an_end_without_a_finish_reason_is_cut_off():
    with pytest.raises(CutOff):
        normalised(texts("a"))


def test_the_upstreams_own_end_marker_after_some_text_is_a_stop():
    assert normalised(texts("a"), said_done=True)[-1] == STOP


def test_the_upstreams_own_end_marker_with_nothing_before_it_is_cut_off():
    with pytest.raises(CutOff):
        normalised(texts(""), said_done=True)


def test_empty_deltas_are_dropped_and_blanks_are_text():
    out = normalised([Delta(), Delta(" "), Delta(""), Delta("\n"), Delta(reasoning=""), STOP])
    assert out == [Delta(" "), Delta("\n"), STOP]


def test_a_reply_may_be_empty_where_the_upstream_says_that_it_is_over():
    assert normalised([Delta(), STOP]) == [STOP]


def test_the_order_of_the_channels_is_kept():
    deltas = [Delta(reasoning="a"), Delta("b", "c"), Delta(reasoning="d"), Delta("e"), STOP]
    assert normalised(deltas) == deltas


def test_log_probabilities_stay_with_their_text():
    entry = {"token": "a", "logprob": -0.1}
    assert normalised([Delta("a", logprobs=[entry]), STOP])[0] == Delta("a", logprobs=[entry])


# -- the cap


@pytest.mark.parametrize("piece", ["x" * 10, "你" * 3 + "x"])
def test_the_answers_cap_counts_bytes_and_keeps_what_fits(piece):
    normaliser, out = Normaliser(max_answer_bytes=25), []
    with pytest.raises(TooLarge):
        normaliser.push(texts(*[piece] * 3), out)
    assert text(out) == piece * 2


def test_tool_arguments_count_too():
    with pytest.raises(TooLarge):
        normalised([Delta(tool_calls=[ToolCallDelta(0, "1", "f", "x" * 30)]), STOP], max_answer_bytes=20)


# -- snapshots


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=12))
def test_declared_snapshots_are_subtracted(whole, cuts):
    deltas = snapshots_of(whole, sorted(cuts))
    out = normalised([*deltas, STOP], snapshots="always")
    assert text(out) == whole
    assert all(delta.text for delta in out[:-1])


def test_snapshots_are_subtracted_per_channel():
    out = normalised(
        [
            Delta(reasoning="1"),
            Delta(reasoning="12"),
            Delta("a", "12"),
            Delta("ab", ""),
            Delta("ab", finish_reason="stop"),
        ],
        snapshots="always",
    )
    assert (reasoning(out), text(out)) == ("12", "ab")


def test_snapshots_of_tool_arguments_are_subtracted_per_call():
    def calls(*arguments):
        return Delta(tool_calls=[ToolCallDelta(n, f"id{n}", f"f{n}", told) for n, told in enumerate(arguments)])

    out = normalised([calls("{"), calls('{"a"', "{"), calls('{"a":1}', "{}"), STOP], snapshots="always")
    told = [piece for delta in out for piece in delta.tool_calls]
    assert ["".join(piece.arguments for piece in told if piece.index == n) for n in (0, 1)] == ['{"a":1}', "{}"]
    assert [(piece.id, piece.name) for piece in told if piece.id or piece.name] == [("id0", "f0"), ("id1", "f1")]


def test_a_snapshot_that_takes_text_back_is_broken_and_the_prefix_stays():
    normaliser, out = Normaliser("always"), []
    with pytest.raises(BrokenProtocol):
        normaliser.push(texts("Hello", "Help"), out)
    assert text(out) == "Hello"


@pytest.mark.parametrize(
    ("settings", "last", "failure"),
    [
        ({"snapshots": "always"}, Delta("A X C D", finish_reason="stop"), BrokenProtocol),
        ({"max_answer_bytes": 8}, Delta(" and more", finish_reason="stop"), TooLarge),
    ],
)
def test_a_last_chunk_whose_text_cannot_be_taken_completes_nothing(settings, last, failure):
    normaliser, out = Normaliser(**settings), []
    with pytest.raises(failure):
        normaliser.push([Delta("A B C"), last], out)
    assert (text(out), normaliser.finish_reason) == ("A B C", None)


def test_an_unfinished_character_at_a_snapshots_end_waits_for_the_next():
    assert normalised([*texts("a\ufffd", "a你\ufffd", "a你好"), STOP], snapshots="always")[:-1] == texts(
        "a", "你", "好"
    )


def test_an_unfinished_character_at_the_end_is_flushed():
    assert text(normalised([*texts("a\ufffd"), STOP], snapshots="always")) == "a\ufffd"


def test_deltas_that_repeat_are_not_taken_for_snapshots():
    pieces = ["ha", "ha", "haha", "hahahaha", "ha"]
    assert text(normalised([*texts(*pieces), STOP], snapshots="auto")) == "".join(pieces)


LONG = "The quick brown fox jumps over the lazy dog"


@pytest.mark.parametrize("first", [18, 4, 1])
def test_auto_finds_snapshots_by_the_third_in_a_row(first):
    assert text(normalised([*snapshots_of(LONG, [first, *range(18, 40, 5)]), STOP], snapshots="auto")) == LONG
    assert text(normalised([*snapshots_of(LONG, range(first, 40)), STOP], snapshots="auto")) == LONG


def test_auto_holds_back_what_may_be_a_snapshot_and_releases_it_when_it_is_none():
    normaliser, out = Normaliser("auto"), []
    normaliser.push(texts(LONG[:20], LONG[:22], LONG[:25]), out)
    assert text(out) == LONG[:20]
    normaliser.push(texts("no"), out)
    assert text(out) == LONG[:20] + LONG[:22] + LONG[:25] + "no"


def test_auto_releases_what_it_held_at_the_end():
    assert text(normalised([*texts(LONG, LONG + "!"), STOP], snapshots="auto")) == LONG + LONG + "!"


@given(st.lists(st.text("ab", max_size=20), max_size=20))
def test_never_takes_every_piece_as_it_is(pieces):
    assert text(normalised([*texts(*pieces), STOP])) == "".join(pieces)


# -- characters


@given(st.lists(st.text(st.characters(), max_size=4) | st.sampled_from(["\ud83d", "\ude00", "😀"]), max_size=12))
def test_surrogates_are_joined_across_deltas_and_a_lone_one_is_replaced(pieces):
    expected = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    out = normalised([*texts(*pieces), STOP])
    assert text(out) == expected
    assert all(delta.text for delta in out[:-1])
    text(out).encode()


def test_half_a_character_waits_in_its_own_channel():
    out = normalised([Delta("\ud83d"), Delta(reasoning="r"), Delta("\ude00"), STOP])
    assert (text(out), reasoning(out)) == ("😀", "r")


def test_nul_and_line_separators_pass():
    assert text(normalised([*texts("\0", "\u2028", "\r\n"), STOP])) == "\0\u2028\r\n"


# -- tool calls


def test_id_and_name_come_once_and_empty_repetitions_add_nothing():
    pieces = [("c1", "f", ""), ("", "", '{"x"'), ("c1", "f", ":1}"), ("", "", "")]
    out = normalised([*(Delta(tool_calls=[ToolCallDelta(0, *piece)]) for piece in pieces), STOP])
    assert [piece for delta in out for piece in delta.tool_calls] == [
        ToolCallDelta(0, "c1", "f"),
        ToolCallDelta(0, arguments='{"x"'),
        ToolCallDelta(0, arguments=":1}"),
    ]


def test_calls_that_a_server_numbers_alike_are_told_apart_by_their_ids():
    out = normalised([Delta(tool_calls=[ToolCallDelta(0, id, "f", "{}")]) for id in ("a", "b")] + [STOP])
    assert [(piece.index, piece.id) for delta in out for piece in delta.tool_calls] == [(0, "a"), (1, "b")]


def test_an_id_that_changes_with_every_piece_is_still_one_call():
    pieces = [ToolCallDelta(0, "a", "f", "{"), ToolCallDelta(0, "b", "", "}")]
    out = normalised([*(Delta(tool_calls=[piece]) for piece in pieces), STOP])
    assert [piece.index for delta in out for piece in delta.tool_calls] == [0, 0]


# -- <think>


def split(*pieces: str) -> tuple[str, str]:
    out = normalised([*texts(*pieces), STOP], think_tags="true")
    return reasoning(out), text(out)


@pytest.mark.parametrize(
    ("whole", "thought", "reply"),
    [
        ("<think>why</think>so", "why", "so"),
        ("\n<think>a</think>\n\nb", "a", "\n\n\nb"),
        ("a<think>b</think>c<think>d</think>e", "bd", "ace"),
        ("</think>so", "", "so"),
        (" </think>so", "", " so"),
        ("so</think>", "so", ""),
        ("why\n</think>\nso</think>", "why\n", "\nso</think>"),
        ("<think>no end", "no end", ""),
        ("<think><think>x</think>y", "<think>x", "y"),
        ("1 < 2 <thin", "", "1 < 2 <thin"),
        ("<think></think>", "", ""),
    ],
)
def test_think_tags_split_the_text_however_it_is_cut(whole, thought, reply):
    assert split(whole) == (thought, reply)
    assert split(*whole) == (thought, reply)
    for cut in range(len(whole)):
        assert split(whole[:cut], whole[cut:]) == (thought, reply)


@pytest.mark.parametrize(
    ("mode", "whole", "thought", "reply"),
    [
        ("auto", "<think>why</think>so", "why", "so"),
        ("auto", "\n<thought>why</thought>so", "why", "\nso"),
        ("auto", "</think>so", "", "so"),
        ("auto", "a <think>b</think>", "", "a <think>b</think>"),
        ("auto", "<think>a</think>use `<think>` so\n<think>b</think>c", "ab", "use `<think>` so\nc"),
        ("auto", "<thin", "", "<thin"),
        ("auto", "<thing>", "", "<thing>"),
        ("opened", "why</think>so", "why", "so"),
        ("opened", "why", "why", ""),
        (("<r>", "</r>"), "<r>why</r>so <think>", "why", "so <think>"),
        (("<r>", "</r>"), "why</r>so", "why", "so"),
    ],
)
def test_each_mode_of_think_tags_however_the_text_is_cut(mode, whole, thought, reply):
    for pieces in ([whole], list(whole), *([whole[:cut], whole[cut:]] for cut in range(1, len(whole)))):
        out = normalised([*texts(*pieces), STOP], think_tags=mode)
        assert (reasoning(out), text(out)) == (thought, reply)


def test_text_held_for_a_closing_tag_is_text_once_the_upstream_thinks_in_a_channel_of_its_own():
    out = normalised([*texts("a"), Delta(reasoning="why"), *texts("b"), STOP], think_tags="true")
    assert (reasoning(out), text(out)) == ("why", "ab")


def test_without_think_tags_they_are_text():
    assert text(normalised([*texts("<think>a</think>"), STOP])) == "<think>a</think>"


# -- any input


calls = st.builds(
    ToolCallDelta, st.integers(0, 3), st.sampled_from(["", "a", "b"]), st.sampled_from(["", "f"]), st.text()
)
reasons = st.sampled_from([None, None, None, "stop", "length"])
some = st.text(max_size=5) | st.sampled_from(["\ud83d", "\ude00", "x" * 16, "x" * 17, "<think>", "</think>"])
anything = st.builds(Delta, some, some, st.lists(calls, max_size=2), reasons)


@given(
    st.lists(anything, max_size=12),
    st.sampled_from(["never", "always", "auto"]),
    st.sampled_from([None, "auto", "true", "opened", ("<x>", "</x>")]),
    st.integers(1, 5),
)
def test_the_promises_hold_for_any_deltas_in_any_batches(deltas, snapshots, think_tags, size):
    def run(batches):
        normaliser, out = Normaliser(snapshots, think_tags), []
        try:
            for batch in batches:
                normaliser.push(batch, out)
            normaliser.end(out)
        except ProviderError as error:
            return out, type(error)
        return out, None

    out, failure = run([deltas])
    assert run(deltas[at : at + size] for at in range(0, len(deltas), size)) == (out, failure)
    ends = [delta for delta in out if delta.finish_reason]
    assert (len(ends), ends == out[-1:]) == ((0, not out) if failure else (1, True))
    for delta in out[: len(out) - len(ends)]:
        assert delta.text or delta.reasoning or any(c.id or c.name or c.arguments for c in delta.tool_calls)
    "".join(delta.text + delta.reasoning for delta in out).encode()


def seconds(deltas, **settings) -> float:
    def once():
        began = time.process_time()
        normalised([*deltas, STOP], **settings)
        return time.process_time() - began

    return min(once() for _ in range(3))


@pytest.mark.parametrize("snapshots", ["never", "auto"])
def test_the_cost_is_linear_in_the_deltas(snapshots):
    few = seconds(texts("word ") * 5_000, snapshots=snapshots)
    assert seconds(texts("word ") * 20_000, snapshots=snapshots) < 10 * few + 0.01


def test_many_tags_in_one_piece_cost_linear_time():
    few = seconds(texts("<think></think>" * 10_000), think_tags="true")
    assert seconds(texts("<think></think>" * 40_000), think_tags="true") < 10 * few + 0.01
