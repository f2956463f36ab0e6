"""Framing and compression of a body, whole and broken."""

from __future__ import annotations

import gzip
import itertools
import threading
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.errors import BrokenProtocol, TooLarge
from providers.transport.framing import Chunked, parse_head
from tests.providers.raw_server import answer, read, serving


@pytest.mark.parametrize(
    ("lines", "body", "expected"),
    [
        (["Content-Length: 5"], b"hello", b"hello"),
        (["Transfer-Encoding: chunked"], b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nTrailer: x\r\n\r\n", b"hello"),
        (["Connection: close"], b"hello", b"hello"),
        (["Content-Length: 5", "Content-Length: 5"], b"hello", b"hello"),
        (["Transfer-Encoding: chunked", "Content-Length: 99"], b"0\r\n\r\n", b""),
        (["Content-Encoding: identity", "Content-Length: 1"], b"x", b"x"),
    ],
)
def test_a_body_ends_where_its_framing_says(client, lines, body, expected):
    with serving(answer(*lines, body=body)) as server:
        assert read(client, server.url) == (expected, False)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 10"], b"hello"),
        (["Transfer-Encoding: chunked"], b"5\r\nhello\r\n"),
        (["Transfer-Encoding: chunked"], b"9\r\nhello"),
        (["Transfer-Encoding: chunked"], b"5\r\nhello\r\n0\r\n"),
        (["Content-Encoding: gzip", "Connection: close"], gzip.compress(b"hello", mtime=0)[:-9]),
    ],
)
def test_a_body_that_ends_too_early_is_cut(client, lines, body):
    with serving(answer(*lines, body=body)) as server:
        data, cut = read(client, server.url)
    assert cut
    assert b"hello".startswith(data)


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 1", "Content-Length: 2"], b""),
        (["Content-Length: -1"], b""),
        (["Transfer-Encoding: gzip"], b""),
        (["Transfer-Encoding: chunked"], b"xyz\r\n"),
        (["Transfer-Encoding: chunked"], b"-5\r\nhello\r\n"),
        (["Transfer-Encoding: chunked"], b"2\r\nhello\r\n"),
        (["Transfer-Encoding: chunked"], b"1" * 5000),
        (["Content-Encoding: br", "Content-Length: 1"], b"x"),
        (["Content-Encoding: gzip", "Content-Length: 5"], b"hello"),
        (["no header"], b""),
    ],
)
def test_a_head_or_a_framing_that_makes_no_sense_is_broken_protocol(client, lines, body):
    with serving(answer(*lines, body=body)) as server, pytest.raises(BrokenProtocol):
        read(client, server.url)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.lists(st.integers(0, 150), max_size=6))
def test_a_chunked_body_is_the_same_however_it_is_cut(parts, cuts):
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    framing = Chunked()
    read = b"".join(framing.feed(body[a:b]) for a, b in itertools.pairwise(places))
    assert (read, framing.complete, framing.junk) == (b"".join(parts), True, False)


@given(st.binary(max_size=60))
def test_no_bytes_crash_the_chunked_reader(body):
    whole, by_byte = Chunked(), Chunked()

    def fed(framing, pieces):
        try:
            return b"".join(framing.feed(piece) for piece in pieces)
        except BrokenProtocol:
            return None

    expected = fed(whole, [body])
    if expected is not None:
        assert fed(by_byte, [body[n : n + 1] for n in range(len(body))]) == expected


@given(st.binary(max_size=60).map(lambda rest: b"HTTP/1.1 2" + rest) | st.binary(max_size=60))
def test_no_bytes_crash_the_head(data):
    try:
        parse_head(data)
    except BrokenProtocol:
        pass


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare deflate"])
def test_a_compressed_body_is_decoded_although_none_was_asked_for(client, coding):
    made = zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "bare deflate": -15}[coding])
    body = made.compress(b"data: 1\n\n" * 1000) + made.flush()
    lines = [f"Content-Encoding: {coding.split()[-1]}", f"Content-Length: {len(body)}"]
    with serving(answer(*lines, body=body)) as server:
        assert read(client, server.url) == (b"data: 1\n\n" * 1000, False)


def test_a_compressed_stream_is_decoded_as_it_arrives(client):
    more = threading.Event()

    def script(caller):
        caller.request()
        caller.head("Content-Encoding: gzip", "Transfer-Encoding: chunked")
        made = zlib.compressobj(wbits=31)
        caller.chunk(made.compress(b"one") + made.flush(zlib.Z_SYNC_FLUSH))
        assert more.wait(5)
        caller.chunk(made.compress(b"two") + made.flush())
        caller.chunk(b"")

    with serving(script) as server, client.ask("POST", server.url, {}) as response:
        pieces = response.pieces()
        assert next(pieces) == b"one"
        more.set()
        assert b"".join(pieces) == b"two"


def test_a_compression_bomb_fails_long_before_its_end(client):
    made = zlib.compressobj(9, wbits=31)
    bomb = b"".join(made.compress(b"\0" * (1 << 20)) for _ in range(256)) + made.flush()
    with serving(answer("Content-Encoding: gzip", f"Content-Length: {len(bomb)}", body=bomb)) as server:
        response = client.ask("POST", server.url, {})
        with pytest.raises(TooLarge), response:
            for _ in response.pieces():
                pass
