"""The body of a response: what it is read as, where it ends, and what a failure leaves behind."""

from __future__ import annotations

import gc
import json
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.configuration import ProviderConfiguration
from providers.delta import Delta
from providers.wires.openai import Adapter

SSE = "text/event-stream; charset=utf-8"


def chunk(text: str = "", reason: str | None = None) -> bytes:
    told = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}
    return json.dumps(told, ensure_ascii=False).encode()


def event(*args) -> bytes:
    return b"data: " + chunk(*args) + b"\n\n"


DONE = b"data: [DONE]\n\n"
HELLO = event("He") + event("llo")


def read(body: bytes, *, label: str = SSE, cut: bool = False, size: int = 1 << 20, **settings):
    """(text, finish_reason, failure's code) of a body that comes in pieces of `size` bytes."""
    configuration = ProviderConfiguration(type="openai", model="m", base_url="http://x", **settings)
    reading, out = Adapter(configuration).reply_reader(label), []
    for at in range(0, len(body), size):
        out += reading.feed(body[at : at + size])
        if reading.ended or reading.failure:
            break
    else:
        out += reading.end(cut=cut)
    ends = [delta.finish_reason for delta in out if delta.finish_reason]
    text = "".join(delta.text for delta in out)
    return text, ends[0] if ends else None, reading.failure.code if reading.failure else None


COMPLETE = ("Hello", "stop", None)
CUT_OFF = ("Hello", None, "truncated")
BROKEN = ("Hello", None, "upstream_protocol")


# -- what counts as an end


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "after", [b"", DONE, b": x\n\n", b"data: {not json\n\n", b"data: {broken", b'data: {"error": "x"}\n\n']
)
def test_after_a_finish_reason_the_reply_is_complete_whatever_follows(after, cut):
    assert read(HELLO + event("", "stop") + after, cut=cut) == COMPLETE


def test_the_end_marker_after_some_text_is_a_stop():
    assert read(HELLO + DONE) == COMPLETE
    assert read(HELLO + b"data:[DONE] \n\n") == COMPLETE


@pytest.mark.parametrize("cut", [False, True])
def test_an_end_with_neither_is_truncated_and_the_prefix_stays(cut):
    assert read(HELLO, cut=cut) == CUT_OFF
    assert read(b"", cut=cut) == ("", None, "truncated")
    assert read(b": comment\n\n", cut=cut) == ("", None, "truncated")


def test_the_end_marker_with_nothing_before_it_is_truncated():
    assert read(event("") + DONE) == ("", None, "truncated")


def test_nothing_after_the_end_marker_is_read():
    assert read(HELLO + DONE + event(" again")) == COMPLETE


@pytest.mark.parametrize(
    "last", [event("llo", "stop")[:-1], event("llo", "stop")[:-2], b"data: " + chunk("llo", "stop") + b"\r"]
)
def test_a_last_event_without_its_blank_line_counts_if_it_is_whole(last):
    assert read(event("He") + last) == COMPLETE
    assert read(HELLO + b"data: [DONE]") == COMPLETE
    assert read(HELLO + DONE[:-3]) == CUT_OFF
    assert read(event("He") + last, cut=True) == ("He", None, "truncated")


# -- what a body is read as


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("label", ["", "text/plain", "application/json", "text/html", SSE])
def test_a_body_that_begins_like_an_event_stream_is_one_whatever_its_label(label, size):
    for begin in (
        b"",
        b": hi\n\n",
        b"event: message\n",
        b"id: 1\n",
        b"id:1\n",
        b"retry: 5\n",
        b"\xef\xbb\xbf",
        b"\n\n",
    ):
        assert read(begin + HELLO + DONE, label=label, size=size) == COMPLETE


WHOLE = json.dumps({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}).encode()


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("label", ["application/json", SSE, "text/html"])
def test_json_is_a_whole_reply_or_an_error(label, size):
    assert read(WHOLE, label=label, size=size) == COMPLETE
    assert read(b"\n \n" + WHOLE + b"\n", label=label, size=size) == COMPLETE
    assert read(b"\xef\xbb\xbf" + WHOLE, label=label, size=size) == COMPLETE
    assert read(b'{"error": {"code": 429, "message": "x"}}', label=label, size=size)[2] == "upstream_rate_limited"
    assert read(b'{"error": "x"}\n\nand more', label=label, size=size)[2] == "upstream_error"


def test_half_json_is_broken_and_truncated_where_it_was_cut():
    assert read(WHOLE[:-5]) == ("", None, "upstream_protocol")
    assert read(WHOLE[:-5], cut=True) == ("", None, "truncated")


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("label", ["text/html", SSE, "application/json", ""])
@pytest.mark.parametrize(
    "body", [b"<!DOCTYPE html><html>data: x\n\n", b"\n<html>", b"<?xml?>", b"Not Found", b"x" * 100_000]
)
def test_a_page_or_garbage_is_broken_protocol(label, body, size):
    assert read(body, label=label, size=size) == ("", None, "upstream_protocol")


def test_what_is_not_understood_costs_itself():
    nothing = [{"delta": {"content": content}} for content in (True, {"a": 1}, [[]], [{"type": "image_url"}])]
    for choices in ([1], 5, [None], {}, {"0": None}, [{"delta": 7}], *([choice] for choice in nothing)):
        odd = json.dumps({"choices": choices}).encode()
        assert read(HELLO + b"data: " + odd + b"\n\n" + DONE) == COMPLETE, odd
        assert read(odd) == ("", None, "upstream_protocol"), odd


@pytest.mark.parametrize(
    "choices",
    [
        [{"delta": {"content": 42}}],
        [{"delta": {"content": ["4", 2]}}],
        [{"delta": {"content": {"text": "42"}}}],
        [{"delta": {"content": {"parts": [{"text": "4"}, {"text": "2"}]}}}],
        [{"delta": {"content": [{"type": "text", "text": {"value": "42", "annotations": []}}]}}],
        [{"delta": {"text": "42"}}],
        [{"delta": "42"}],
        [{"text": "42"}],
        {"delta": {"content": "42"}},
        {"0": {"delta": {"content": "42"}}},
        {"0": {"delta": {"content": "42"}}, "1": {"delta": {"content": "other"}}},
    ],
)
def test_text_is_read_in_each_shape_that_it_has(choices):
    odd = json.dumps({"choices": choices}).encode()
    assert read(b"data: " + odd + b"\n\n" + DONE) == ("42", "stop", None), odd


def test_deep_nesting_does_not_crash():
    assert read(HELLO + b'data: {"a":' + b"[" * 100_000 + b"\n\n") == BROKEN
    assert read(b'{"a":' + b"[" * 100_000)[2] == "upstream_protocol"


# -- events that are not quite right


def test_single_newlines_between_events_are_forgiven():
    body = b"".join(b"data: " + chunk(text) + b"\n" for text in ("He", "llo")) + b"data: [DONE]\n"
    assert read(body + b"\n") == COMPLETE
    assert read(body) == COMPLETE


def test_json_over_several_data_lines_is_one_chunk():
    assert read(HELLO + b"data: {\ndata: " + chunk("", "stop")[1:] + b"\n\n") == COMPLETE


@pytest.mark.parametrize("ping", [b"data: ping\n\n", b"data:\n\n", b"event: ping\ndata: \n\n", b"data: 1\n\n"])
def test_pings_are_skipped_but_not_for_ever(ping):
    assert read(ping * 19 + HELLO + ping * 19 + DONE) == COMPLETE
    assert read(HELLO + ping * 20 + DONE) == BROKEN


def test_nulls_keep_a_connection_awake_in_any_number():
    assert read(b"data: null\n\n" * 50 + HELLO + b"data: null\n\n" * 50 + DONE) == COMPLETE


def test_half_good_json_in_an_event_is_broken_protocol():
    assert read(HELLO + event("x")[:20] + b"\n\n" + DONE) == BROKEN


def test_invalid_utf_8_is_replaced_and_lone_halves_are_joined():
    half = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
    assert read(half % b"a\xffb" + DONE)[0] == "a\ufffdb"
    assert read(half % rb"\ud83d" + half % rb"\ude00" + DONE)[0] == "😀"
    assert read(half % rb"\ud83d" + DONE)[0] == "\ufffd"


def test_numbers_that_are_no_json_are_read():
    assert read(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"score":NaN}\n\n' + DONE)[0] == "x"


# -- caps


@pytest.mark.parametrize("size", [1 << 10, 1 << 20])
def test_caps_fail_cleanly_with_what_came_before(size):
    long = b"data: " + b"x" * 5000
    assert read(HELLO + long, size=size, max_event_bytes=2000) == ("Hello", None, "upstream_too_large")
    assert read(HELLO + event("x" * 1500), size=size, max_answer_bytes=1024)[1:] == (None, "upstream_too_large")
    assert (
        read(b"{" + b" " * 100_000, size=size, max_event_bytes=2000, max_answer_bytes=2000)[2] == "upstream_too_large"
    )


# -- failures


def test_what_was_held_back_comes_before_the_failure():
    half = b'data: {"choices":[{"index":0,"delta":{"content":"x\\ud83d"}}]}\n\n'
    assert read(HELLO + half) == ("Hellox\ufffd", None, "truncated")


def test_text_in_the_same_read_as_a_failure_is_not_lost():
    assert read(HELLO + b'data: {"error": {"message": "x", "code": 500}}\n\n' + DONE) == (
        "Hello",
        None,
        "upstream_error",
    )


# -- any bytes


pieces = st.sampled_from(
    [
        b"data: ",
        b"\n",
        b"\r",
        b"\n\n",
        chunk("a"),
        chunk("b", "stop"),
        b"[DONE]",
        b"{",
        b"<",
        b"\xff",
        b"x",
        b'{"error":1}',
        b": c",
    ]
)


@given(st.lists(pieces, max_size=12).map(b"".join) | st.binary(max_size=40), st.integers(1, 9), st.booleans())
def test_any_bytes_end_in_exactly_one_way_however_they_are_cut(body, size, cut):
    whole = read(body, cut=cut)
    assert (whole[1] is None) == (whole[2] is not None)
    assert read(body, cut=cut, size=size) == whole


def test_batches_are_what_one_read_brought():
    reading = Adapter(ProviderConfiguration(type="openai", model="m", base_url="http://x")).reply_reader(SSE)
    assert reading.feed(HELLO + event("!")[:10]) == [Delta("He"), Delta("llo")]
    assert reading.feed(event("!")[10:] + DONE) == [Delta("!"), Delta(finish_reason="stop")]


def test_what_a_reply_held_is_let_go_with_it_and_not_by_the_garbage_collector():
    reading = Adapter(ProviderConfiguration(type="openai", model="m", base_url="http://x")).reply_reader(SSE)
    reading.feed(HELLO)
    held = weakref.ref(reading)
    gc.disable()
    try:
        del reading
        assert held() is None
    finally:
        gc.enable()
