from __future__ import annotations

import socket

import pytest

from providers.local.engine.serving import server
from providers.local.engine.serving.server import Connection
from providers.local.wire import Piece, Step, from_engine


def test_a_worker_that_stops_reading_is_let_go_and_one_that_is_slow_gets_all(monkeypatch):
    monkeypatch.setattr(server, "MAX_UNSENT_BYTES", 1 << 20)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours)
        step = Step([Piece(1, "x" * 1000)])
        sent = 0
        while not connection.unsent:
            connection.send(step)
            sent += 1
        theirs.setblocking(False)
        frames, got = from_engine(), []
        while len(got) < sent:
            connection.flush()
            got += frames.feed(theirs.recv(1 << 16))
        assert got == [step] * sent
        with pytest.raises(OSError, match="does not read"):
            for _ in range(5000):
                connection.send(step)
