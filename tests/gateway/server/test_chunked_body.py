"""Chunked bodies: the same bytes as gunicorn's own reader, however they are cut, and never the whole loop."""

from __future__ import annotations

import itertools
import time

import gevent
import pytest
from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import NoMoreData, ParseException
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.chunked_body import FairChunkedReader


class Unreader:
    """gunicorn's unreader over pieces of bytes."""

    def __init__(self, pieces):
        self.pieces = list(pieces)

    def read(self, size=None, read_ahead=0):
        return self.pieces.pop(0) if self.pieces else b""

    def unread(self, data):
        self.pieces.insert(0, data)


class Request:
    limit_request_field_size, max_buffer_headers = 8190, 65536

    def parse_headers(self, data, from_trailer=False):
        return []


def outcome(kind, pieces, step=1024):
    unreader = Unreader(pieces)
    reader, got = kind(Request(), unreader), b""
    try:
        while data := reader.read(step):
            got += data
    except (ParseException, NoMoreData) as error:
        return "refused" if isinstance(error, ParseException) else "cut"
    return got, b"".join(unreader.pieces)


def cut(body, places):
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[a:b] for a, b in itertools.pairwise(edges)]


chunk = st.binary(max_size=40).filter(bool)
extension = st.sampled_from([b"", b";a=b", b" ;x", b';q="1"'])


@st.composite
def bodies(draw):
    parts = [b"%x%b\r\n%b\r\n" % (len(data), draw(extension), data) for data in draw(st.lists(chunk, max_size=8))]
    trailers = draw(st.sampled_from([b"\r\n", b"X: y\r\n\r\n"]))
    return b"".join(parts) + b"0\r\n" + trailers + draw(st.sampled_from([b"", b"GET / HTTP/1.1\r\n"]))


@given(bodies(), st.lists(st.integers(0, 500), max_size=12), st.integers(1, 60))
def test_a_good_body_is_what_gunicorns_reader_makes_of_it(body, places, step):
    expected = outcome(ChunkedReader, [body])
    assert outcome(FairChunkedReader, cut(body, places), step) == expected


@given(bodies(), st.lists(st.integers(0, 500), max_size=8), st.data())
def test_a_damaged_body_is_never_a_longer_one(body, places, data):
    """What gunicorn's reader refuses is refused, or cut, here too."""
    at = data.draw(st.integers(0, len(body) - 1))
    damaged = body[:at] + data.draw(st.binary(min_size=1, max_size=3)) + body[at + 1 :]
    theirs = outcome(ChunkedReader, [damaged])
    ours = outcome(FairChunkedReader, cut(damaged, places))
    if isinstance(theirs, tuple) and isinstance(ours, tuple):
        assert ours == theirs
    if not isinstance(theirs, tuple):
        assert not isinstance(ours, tuple)


NO_CHUNKS = [
    *(b"x\r\n", b"-1\r\n", b"+1\r\na\r\n0\r\n\r\n", b"0x1\r\na\r\n", b"\r\n", b"1\r\naXX0\r\n\r\n", b"1 \r\na\r\n"),
    *(b"f" * 17 + b"\r\n", b"1" * 9000, b"1;\x00\r\na\r\n", b"1;a\rb\r\na\r\n"),
]


@pytest.mark.parametrize("body", NO_CHUNKS)
def test_what_is_no_chunk_is_refused(body):
    assert outcome(FairChunkedReader, [body]) == "refused"


def test_a_million_chunks_of_one_byte_leave_the_loop_to_others():
    data = b"1\r\n \r\n" * 1_000_000 + b"0\r\n\r\n"
    pieces = [data[at : at + 8192] for at in range(0, len(data), 8192)]
    late = []

    def tick():
        while True:
            before = time.perf_counter()
            gevent.sleep(0.002)
            late.append(time.perf_counter() - before)

    ticking = gevent.spawn(tick)
    gevent.sleep(0)
    began = time.process_time()
    got = outcome(FairChunkedReader, pieces, step=65536)
    took_s = time.process_time() - began
    ticking.kill()
    assert got == (b" " * 1_000_000, b"")
    assert took_s < 5
    late.sort()
    assert len(late) > 20 and late[len(late) // 2] < 0.02
