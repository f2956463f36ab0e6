"""The checker finds every way in which a stream can be wrong, and nothing in one that is whole."""

from __future__ import annotations

import json
import random

import pytest

from tests.reliability.forms import FORMS
from tests.reliability.numbered import Part, Recording, main, problems

COUNT = 6


def event(number: int, name: str, data: object, answer: str = "a") -> bytes:
    named = "" if name == "message" else f"event: {name}\n"
    return f"id: {answer}.{number}\n{named}data: {json.dumps(data)}\n\n".encode()


def said(*numbers: int, stream: str = "s1") -> list[tuple[str, object]]:
    return [("message", {"text": f"<{stream}:{number}>"}) for number in numbers]


START = ("start", {"id": "a"})
DONE = ("done", {"finish_reason": "stop"})
FAILED = ("failed", {"code": "truncated"})
WHOLE = [START, *said(*range(1, COUNT + 1)), DONE]


def written(steps: list[tuple[str, object]]) -> bytes:
    return b"retry: 1000\n" + b": ping\n".join(event(n, *step) for n, step in enumerate(steps, 1))


def recording(*bodies: bytes, after: tuple[str, ...] = ("",)) -> Recording:
    return Recording("s1", COUNT, [Part(a, 200, bytearray(body)) for a, body in zip(after, bodies, strict=True)])


def test_a_whole_stream_has_no_problem():
    assert problems(recording(written(WHOLE))) == []


def test_a_failed_one_is_whole_as_far_as_it_goes():
    assert problems(recording(written([START, *said(1, 2), FAILED])), ends="failed:truncated") == []


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([START, *said(1, 2, 4, 5, 6), DONE], "lost: 1 chunks, the first is 3"),
        ([START, *said(1, 2, 3), DONE], "lost: 3 chunks, the first is 4"),
        ([START, *said(1, 2, 2, 3, 4, 5, 6), DONE], "repeated: 1 chunks"),
        ([START, *said(1, 3, 2, 4, 5, 6), DONE], "reordered chunks"),
        ([START, *said(1, 2, 3, 4, 5, 6), *said(1, stream="s2"), DONE], "a foreign chunk of 's2'"),
        ([START, *said(1, 2, 3, 4, 5, 6), ("message", {"text": "x"}), DONE], "foreign bytes: 'x'"),
        ([START, *said(1, 2, 3, 4, 5, 6, 7), DONE], "chunk 7 of 6"),
        ([START, *said(1, 2, 3, 4, 5, 6)], "no terminal event"),
        ([START, *said(1, 2), FAILED], "it ended with failed:truncated instead of done"),
        ([*WHOLE, DONE], "2 terminal events"),
        ([*WHOLE, *said(6)], "1 events after the terminal one"),
        ([*said(1, 2, 3, 4, 5, 6), DONE], "it begins with message, and has 0 start events"),
    ],
)
def test_what_is_wrong_is_named(steps, problem):
    assert problem in problems(recording(written(steps)))


def test_a_number_that_is_left_out_shows_even_if_the_text_is_whole():
    body = b"".join(event(n + (n > 3), *step) for n, step in enumerate(WHOLE, 1))
    assert problems(recording(body)) == ["event 5 stands where 4 is due"]


def test_an_event_of_another_answer_shows():
    body = event(1, *START) + event(2, *said(1)[0], answer="b")
    assert any("2 answers" in problem for problem in problems(recording(body), ends=""))


def test_a_stream_cut_anywhere_and_resumed_is_whole():
    body = written(WHOLE)
    for cut in range(len(body) + 1):
        first = body[:cut]
        complete = first.count(b"id: a.") and first.rpartition(b"\n\n")[0].count(b"id: a.")
        rest = b"".join(event(n, *step) for n, step in enumerate(WHOLE, 1) if n > complete)
        after = f"a.{complete}" if complete else ""
        assert problems(recording(first, rest, after=("", after))) == [], cut


def test_a_resumption_that_skips_or_repeats_an_event_shows():
    for shift in (-1, 1):
        first = b"".join(event(n, *step) for n, step in enumerate(WHOLE, 1) if n <= 3)
        rest = b"".join(event(n, *step) for n, step in enumerate(WHOLE, 1) if n > 3 + shift)
        assert problems(recording(first, rest, after=("", "a.3")))


def test_any_changed_byte_of_the_text_shows():
    body, dice = written(WHOLE), random.Random(1)
    spots = [n for n in range(len(body)) if body[n : n + 1] == b"<"]
    for _ in range(50):
        spot = dice.choice(spots) + dice.randrange(5)
        broken = bytearray(body)
        broken[spot] = ord("x") if broken[spot] != ord("x") else ord("y")
        assert problems(recording(bytes(broken))), broken[spot - 5 : spot + 10]


def test_recordings_are_judged_offline_from_a_file(tmp_path, capsys):
    file = tmp_path / "streams.jsonl"
    file.write_text(recording(written(WHOLE)).to_json() + "\n" + recording(written(WHOLE[:4])).to_json() + "\n")
    assert main([str(file)]) == 1
    assert capsys.readouterr().out.splitlines() == ["s1: no terminal event", "2 streams, 1 with a problem"]


def completion(*texts, end=True, stream="s1"):
    """The body of a completion that says these chunks."""
    frames = [{"id": "c", "choices": [{"text": f"<{stream}:{n}>", "finish_reason": None}]} for n in texts]
    frames += [{"id": "c", "choices": [{"text": "", "finish_reason": "stop"}]}] if end else []
    lines = [json.dumps(frame) for frame in frames] + (["[DONE]"] if end else [])
    return bytearray("".join(f"data: {line}\n\n" for line in lines).encode())


@pytest.mark.parametrize(
    ("bodies", "problem"),
    [
        ([completion(1, 2, 3)], ""),
        ([completion(1, end=False), completion(1, 2, 3)], ""),
        ([completion(1, 2, end=False), completion(1, end=False), completion(1, 2, 3)], ""),
        ([completion(1, end=False), completion(2, 3)], "says something else"),
        ([completion(1, 3)], "lost"),
        ([completion(1, 2, 2, 3)], "repeated"),
        ([completion(1, 2, 3, end=False)], "no terminal event"),
        ([completion(1, 2, 3).replace(b"data: [DONE]\n\n", b"")], "no terminal event"),
        ([completion(1, 2, 3, stream="s2")], "foreign"),
    ],
)
def test_a_form_that_begins_again_is_judged_by_the_same_rules(bodies, problem):
    form = FORMS["completions"]
    parts = [Part(status=200, body=body) for body in bodies]
    found = problems(Recording("s1", 3, parts, read=form.events, restarts=form.restarts))
    assert bool(found) == bool(problem) and problem in "; ".join(found)
