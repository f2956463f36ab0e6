"""Who comes back gets exactly what was missed, wherever the cut was; the upstream is asked once."""

from __future__ import annotations

import random

import pytest

from tests.reliability.numbered import problems
from tests.reliability.reader import Reader, fetch

WAYS = ["direct", "nginx"]


def address(chain, way):
    return chain.gateway.address if way == "direct" else chain.nginx.address


@pytest.mark.parametrize("way", WAYS)
def test_cut_after_any_event_the_rest_is_what_was_missing(resuming, stream, way):
    whole = Reader(address(resuming, way), stream, 40, "quick").ask().read()
    assert problems(whole.recording) == []
    count = len(whole.events)
    for cut in range(1, count):
        reader = Reader(address(resuming, way), stream, 40, "quick")
        reader.events, reader.recording.parts = whole.events[:cut], []
        reader.follow().read()
        assert reader.events == whole.events, cut
    assert (
        fetch(
            address(resuming, way), "GET", f"/answers/{whole.answer_id}/events", Last_Event_ID=whole.events[-1].id
        ).status
        == 204
    )
    assert len(resuming.asked(stream)) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_response_cut_after_any_event_goes_on_with_what_was_missing(resuming, stream, way):
    whole = Reader(address(resuming, way), stream, 40, "quick", "responses").ask().read()
    assert problems(whole.recording) == []
    # The last event is the end: nothing is left for who has it.
    for cut in range(1, len(whole.events)):
        reader = Reader(address(resuming, way), stream, 40, "quick", "responses")
        reader.answer_id, reader.events = whole.answer_id, whole.events[:cut]
        reader.follow().read()
        assert reader.events == whole.events, cut
    assert len(resuming.asked(stream)) == 1


@pytest.mark.parametrize("form", ["chat", "openai", "completions"])
@pytest.mark.parametrize("way", WAYS)
def test_a_form_that_begins_again_is_the_same_each_time(resuming, stream, way, form):
    dice = random.Random(f"again {way} {form}")
    reader = Reader(address(resuming, way), stream, 40, "slow", form).ask()
    for _ in range(5):
        reader.read_bytes(dice.randint(1, 3000))
        reader.leave(reset=dice.random() < 0.5)
        reader.follow()
    assert problems(reader.read().recording) == []
    assert len(resuming.asked(stream)) == 1


# The last event of a response has its whole text: a piece must have room for that.
@pytest.mark.parametrize(("form", "most_bytes"), [("answers", 1500), ("responses", 8000)])
@pytest.mark.parametrize("way", WAYS)
def test_cut_at_random_bytes_while_it_runs_the_whole_is_the_same(resuming, stream, way, form, most_bytes):
    dice = random.Random(f"cuts {way}")
    cuts = 0
    for number in range(4):
        reader = Reader(address(resuming, way), f"{stream}-{number}", 40, "steady", form).ask()
        cuts += reader.read_in_pieces(dice, most_bytes)
        assert problems(reader.recording) == []
        assert len(resuming.asked(f"{stream}-{number}")) == 1
    assert cuts > 10


def test_many_readers_of_one_answer_all_have_it_whole(resuming, stream):
    first = Reader(resuming.nginx.address, stream, 40, "steady").ask().read_events(3)
    others = [Reader(address(resuming, way), stream, 40, "steady") for way in WAYS * 10]
    for reader in others:
        reader.answer_id = first.answer_id
        reader.follow()
    for reader in [first, *others]:
        assert problems(reader.read().recording) == []
    assert len(resuming.asked(stream)) == 1
