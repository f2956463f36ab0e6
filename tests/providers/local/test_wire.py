from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.local.wire import (
    Ask,
    BrokenFrame,
    Cancel,
    Down,
    Failed,
    Hello,
    Inquire,
    Piece,
    Step,
    frame,
    from_engine,
    to_engine,
)
from providers.sampling import Sampling

TO_ENGINE = [
    Ask(1, 2, [{"role": "user", "content": "沈塘桥"}], Sampling(temperature=0.5, stop=("\n",))),
    Cancel(2),
    Inquire(),
]
FROM_ENGINE = [
    Hello(1, "metro", 512),
    Step([Piece(1, "沈"), Piece(2, "", "stop", 3, 4, 0)]),
    Failed(1, "context_length", "too long"),
    Down("no model", 30.0),
]
ASKED = frame(Ask(1, 2, [{"role": "user", "content": "X"}]))[4:]


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


@given(cuts=st.lists(st.integers(1, 30), min_size=1))
@pytest.mark.parametrize(("messages", "reader"), [(TO_ENGINE, to_engine), (FROM_ENGINE, from_engine)])
def test_messages_arrive_whole_however_the_socket_cuts_them(messages, reader, cuts):
    wire, frames, got, at = b"".join(map(frame, messages)), reader(), [], 0
    while at < len(wire):
        for cut in cuts:
            got += frames.feed(wire[at : at + cut])
            at += cut
    assert got == messages


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff",
        b"\0\0\0\3abc",
        frame(Hello(1, "m", 2)),
        b"\0\0\0\0",
        b"\0\0\0\2\xc1\xc1",
        framed(ASKED.replace(b"\xa1X", b"\xa1\xff")),
        framed(ASKED.replace(b"\xa1X", b"\x91" * 1000 + b"\xc0")),
    ],
    ids=["http", "length", "text", "hello", "empty", "reserved", "utf-8", "depth"],
)
def test_what_is_no_message_is_told_apart(garbage):
    with pytest.raises(BrokenFrame):
        to_engine().feed(garbage)


def test_a_frame_over_the_cap_is_refused_before_it_is_read():
    with pytest.raises(BrokenFrame, match="most"):
        to_engine().feed((1 << 30).to_bytes(4, "big"))
