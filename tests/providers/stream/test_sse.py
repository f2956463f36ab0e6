"""The decoder, judged by the standard's own cases and by a plain reading of its text."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.stream.sse import Decoder, Frame, encode


def decoded(*pieces: bytes, max_event_bytes: int = 1 << 20) -> list[Frame]:
    decoder = Decoder(max_event_bytes)
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def plainly(body: bytes) -> list[tuple[str, str, str]]:
    """(event, data, id) as the standard's text reads, without any regard for speed: the judge of the decoder."""
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    events, data, event, id, last_id = [], [], "", "", ""
    for line in text.split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            last_id = id
            if data:
                events.append((event, "\n".join(data), last_id))
            data, event = [], ""
        elif name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id" and "\0" not in value:
            id = value
    return events


def told(frames: list[Frame]) -> list[tuple[str, str, str]]:
    return [(frame.event, frame.data.decode("utf-8", "replace"), frame.id) for frame in frames]


# Pieces that mean something to the format, and some that mean nothing.
pieces = st.sampled_from(
    [
        "data",
        "data:",
        "data: ",
        "event:",
        "id:",
        "id: ",
        "retry: 5",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "x",
        "你",
        "\0",
    ]
)
# Not "{": a bare line of JSON is the one thing that we read and the standard does not.
lists = st.lists(pieces, max_size=40).map(lambda parts: "".join(parts).encode())
bodies = lists | st.binary(max_size=80).map(lambda body: body.replace(b"{", b""))


@given(bodies)
def test_frames_are_those_that_the_standard_says(body):
    assert told(decoded(body)) == plainly(body)


@given(bodies, st.lists(st.integers(0, 80), max_size=8))
def test_any_cut_gives_the_same_frames_as_the_whole(body, cuts):
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    assert decoded(*(body[a:b] for a, b in itertools.pairwise(places))) == decoded(body)


@given(bodies)
def test_by_the_byte_gives_the_same_frames_and_the_same_rest(body):
    whole, by_byte = Decoder(), Decoder()
    frames = whole.feed(body)
    assert [frame for n in range(len(body)) for frame in by_byte.feed(body[n : n + 1])] == frames
    assert by_byte.end() == whole.end()


@given(st.text(max_size=50).filter(lambda text: "\r" not in text), st.sampled_from(["", "delta"]))
def test_what_is_encoded_is_decoded_again(text, event):
    assert decoded(encode(text, event, "a.1")) == [Frame(text.encode(), event, "a.1")]


# Web Platform Tests, eventsource/: what a stream gives, by the test's name.
WPT = {
    "format-bom": (b"\xef\xbb\xbfdata:1\n\n\xef\xbb\xbfdata:2\n\ndata:3\n\n", ["1", "3"]),
    "format-bom-2": (b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\ndata:3\n\n", ["2", "3"]),
    "format-comments": (
        b"data:1\r:\0\n:\r\ndata:2\n:" + b"x" * 2048 + b"\rdata:3\n:data:fail\r:" + b"x" * 2048 + b"\ndata:4\n\n",
        ["1\n2\n3\n4"],
    ),
    "format-data-before-final-empty-line": (b"retry:1000\ndata:test1\n\nid:test\ndata:test2", ["test1"]),
    "format-field-data": (b"data:\n\ndata\ndata\n\ndata:test\n\n", ["", "\n", "test"]),
    "event-data": (b"data:msg\ndata: msg\n\n:\ndata:\n\ndata: end\n\n", ["msg\nmsg", "", "end"]),
    "format-field-parsing": (
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\r"
        b"data:\r\n data:32\ndata:4\n\n",
        ["\0\n 2\n1\n3\n\n4"],
    ),
    "format-field-unknown": (
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacomment\ndata:test\n\n",
        ["test\n\ntest"],
    ),
    "format-leading-space": (b"data:\ttest\rdata: \ndata:test\n\n", ["\ttest\n\ntest"]),
    "format-newlines": (b"data:test\r\ndata\ndata:test\r\n\r", ["test\n\ntest"]),
    "format-null-character": (b"data:\0\n\n\n\n", ["\0"]),
    "format-utf-8": ("data:ok…\n\n".encode(), ["ok…"]),
}


@pytest.mark.parametrize("name", WPT)
def test_web_platform_parsing_case(name):
    body, data = WPT[name]
    assert [frame.data.decode() for frame in decoded(body)] == data


def test_web_platform_case_format_field_event():
    assert told(decoded(b"event:test\ndata:x\n\ndata:x\n\n")) == [("test", "x", ""), ("", "x", "")]
    assert told(decoded(b"event: \ndata:data\n\n")) == [("", "data", "")]


def test_web_platform_cases_format_field_id():
    assert [frame.id for frame in decoded("id: …\ndata:1\n\ndata:2\n\n".encode())] == ["…", "…"]
    assert [frame.id for frame in decoded(b"id: 1\ndata:1\n\nid: 2\ndata:2\n\nid\ndata:3\n\n")] == ["1", "2", ""]
    assert [frame.id for frame in decoded(b"id: \0\ndata:hello\n\n")] == [""]


def test_an_id_without_its_blank_line_is_not_taken_over():
    decoder = Decoder()
    decoder.feed(b"id: 1\ndata: x\n\nid: 2\ndata: y")
    assert decoder.last_id == "1"
    assert decoder.end().data == b"y"


def test_web_platform_cases_format_field_retry():
    assert [frame.retry for frame in decoded(b"retry:3000\ndata:x\n\n")] == [3000]
    assert [frame.retry for frame in decoded(b"retry:2000\nretry:1000x\ndata:x\n\n")] == [2000]
    assert [frame.retry for frame in decoded(b"retry\ndata:x\n\n")] == [None]


def test_only_cr_and_lf_end_a_line():
    text = "a\u2028b\u2029c\u0085d\x0be\x0cf"
    assert decoded(f"data: {text}\n\n".encode())[0].data.decode() == text


def test_a_cr_ends_the_event_at_once_and_its_lf_is_not_another_end():
    decoder = Decoder()
    assert [frame.data for frame in decoder.feed(b"data: 1\r\n\r")] == [b"1"]
    assert decoder.feed(b"\n") == []
    assert [frame.data for frame in decoder.feed(b"data: 2\r\r")] == [b"2"]


def test_comments_of_an_event_come_with_it():
    frames = decoded(b"id:1\nevent:error\n:HTTP_STATUS/429\ndata:{}\n\ndata:{}\n\n")
    assert [frame.comments for frame in frames] == [("HTTP_STATUS/429",), ()]


def test_a_bare_line_of_json_is_a_frame_of_its_own():
    frames = decoded(b'data: {"a": 1}\n\n{"error_code": 18}\n')
    assert [json.loads(frame.data) for frame in frames] == [{"a": 1}, {"error_code": 18}]


@pytest.mark.parametrize(
    "body", [b"data: " + b"x" * 5000, b"data: " + b"x" * 5000 + b"\n\n", b"data: x\n" * 800 + b"\n"]
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_what_is_over_the_cap_fails_and_what_came_before_is_kept(body, size):
    decoder = Decoder(max_event_bytes=1000)
    stream = b"data: good\n\n" + body
    frames = [frame for at in range(0, len(stream), size) for frame in decoder.feed(stream[at : at + size])]
    assert [frame.data for frame in frames] == [b"good"]
    assert decoder.failed and decoder.failed.code == "upstream_too_large"
    assert decoder.feed(b"\n\ndata: more\n\n") == []


def test_comments_have_no_end_and_cost_no_memory():
    decoder = Decoder(max_event_bytes=1000)
    for _ in range(1000):
        assert decoder.feed(b": still here\n") == []
    assert [frame.data for frame in decoder.feed(b"data: x\n\n")] == [b"x"]


def seconds(pieces: int, size: int) -> float:
    decoder = Decoder(max_event_bytes=1 << 30)
    began = time.process_time()
    for _ in range(pieces):
        decoder.feed(b"x" * size)
    return time.process_time() - began


def test_an_endless_line_costs_linear_time():
    seconds(100, 512)
    short = min(seconds(4_000, 512) for _ in range(3))
    # Four times the bytes; re-scanning what is pending would cost sixteen times as much.
    assert min(seconds(16_000, 512) for _ in range(3)) < 10 * short + 0.01


def test_an_events_id_is_its_own_wherever_a_read_ends():
    body = b'id: a.75\ndata: {"x":1}\n\n: ping\nid: a.76\ndata: {"x":2}\n\nid: a.77\ndata: {"x":3}\n\n'
    for cut in range(len(body) + 1):
        decoder = Decoder()
        frames = decoder.feed(body[:cut]) + decoder.feed(body[cut:])
        assert [frame.id for frame in frames if frame.data] == ["a.75", "a.76", "a.77"], cut
