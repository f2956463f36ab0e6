"""Frames that are equal but for their text: read by their template, and as each of them is read alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.delta import Delta
from providers.stream.normaliser import Normaliser
from providers.stream.reader import ReplyReader
from providers.stream.sse import Frame
from providers.stream.template import Template
from providers.wires.openai_chunks import Parser, parse_fast
from tests.cases import Case
from tests.providers.stream.recorded import STREAMS, adapter_of, expected


class Plain(Parser):
    """The judge: each chunk is parsed."""

    has_template = False


def reader(parser: Parser, max_answer_bytes: int = 1 << 20) -> ReplyReader:
    return ReplyReader(parser, Normaliser(max_answer_bytes=max_answer_bytes), label="text/event-stream")


def as_delivered(reading: ReplyReader, pieces: list[bytes]) -> list[Delta]:
    """What a consumer gets whose upstream is read in the event loop: `usual` first, `feed` where it gives None."""
    out: list[Delta] = []
    for piece in pieces:
        text = reading.usual(piece)
        out += reading.feed(piece) if text is None else [Delta(text)] if text else []
        if reading.ended or reading.failure:
            return out
    return out + reading.end()


def chunk(content: object, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return json.dumps({"id": "c", "model": "content", "choices": [choice]} | more).encode()


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_recorded_streams_are_the_same_event_by_event(case: Case):
    reading = adapter_of(case).reply_reader(case.content_type)
    events = [event + b"\n\n" for event in case.body.split(b"\n\n")]
    pieces = [*events[:-1], events[-1][:-2]]
    out = as_delivered(reading, [piece for piece in pieces if piece])
    if not case.cut:
        assert out == expected(case)


PIECES = st.one_of(
    st.text(max_size=8),
    st.sampled_from(['"', "\\", '","', "\n", "\r", "\x00", "\u2028", "content", "\x01probe\x02", "\ud83d", "\ude00"]),
)
RAW = st.sampled_from(
    [
        chunk("x", usage={"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}),
        chunk("x", id="d"),
        chunk(None),
        chunk("x").replace(b'"x"', b'"a","b"'),
        chunk("x").replace(b'"x"', b'"a'),
        chunk("x").replace(b'"x"', b'b"'),
        chunk("x").replace(b'"x"', b'"\\ud83d"'),
        chunk("x").replace(b'"x"', b'"\xff"'),
        chunk("x").replace(b'"x"', b' "x" '),
        chunk("x").replace(b'"x"', b'"x","content":"y"'),
        chunk("x")[:-1],
        b"ping",
    ]
)
FRAMES = st.lists(st.one_of(PIECES.map(chunk), RAW), max_size=12)


@settings(max_examples=150, deadline=None)
@given(FRAMES, st.integers(1, 4), st.integers(20, 60))
def test_whatever_comes_is_read_as_each_frame_alone(frames: list[bytes], at_once: int, most: int):
    events = [b"data: " + frame + b"\n\n" for frame in [*map(chunk, "first"), *frames, b"[DONE]"]]
    pieces = [b"".join(events[n : n + at_once]) for n in range(0, len(events), at_once)]
    fast, plain = reader(Parser(), most), reader(Plain(), most)
    judged: list[Delta] = []
    for piece in pieces:
        judged += plain.feed(piece)
        if plain.ended or plain.failure:
            break
    else:
        judged += plain.end()
    assert as_delivered(fast, pieces) == judged
    assert repr(fast.failure) == repr(plain.failure)
    assert (fast.events, fast.ended) == (plain.events, plain.ended)


def test_the_text_is_found_among_equal_words():
    data = chunk("content")
    template = Template.of(data, "content", parse_fast)
    assert template is not None
    assert template.before + b'"content"' + template.after == data
    assert template.leading([Frame(chunk("a")), Frame(chunk('"b"')), Frame(b"[DONE]")]) == ["a", '"b"']


def test_a_frame_whose_text_is_in_no_certain_place_has_none():
    assert Template.of(b'{"choices": [{"index": 0, "delta": {"content": 1}}]}', "1", parse_fast) is None
    assert Template.of(chunk("a", usage=None)[:-1] + b',"error":"a"}', "a", parse_fast) is None
