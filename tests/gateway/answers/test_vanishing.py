"""Clients that vanish without a word, and more readers than there is room for: others do not pay for them."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys
import time

import pytest

from tests.gateway.answers.hangups import closes, connection_of
from tests.gateway.configurations import configuration
from tests.gateway.live import Live
from tests.reliability.rig import at_most

PLANS = {"stuck": "hang=between", "slow": "count=1000,pace=0.02"}
HEARTBEAT_S, WRITE_TIMEOUT_S = 0.3, 1.0
CONNECTIONS = 60


@pytest.fixture(scope="module")
def live(upstream):
    server = {"heartbeat_s": HEARTBEAT_S, "write_timeout_s": WRITE_TIMEOUT_S, "resume_window_s": 0}
    with Live(configuration(upstream, PLANS, server=server)) as running:
        yield running


def vanish(sock):
    """From now on this end takes no packet, and acknowledges none, as if its machine had lost its network."""
    filters = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(filters))
    sock.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER: "drop everything"


@pytest.mark.skipif(sys.platform != "linux", reason="a socket filter is Linux's")
@pytest.mark.parametrize("form", ["sse", "text", "json"])
def test_a_client_that_vanishes_without_a_word_is_noticed_by_the_system(live, upstream, form):
    """Heartbeats are acknowledged by nobody; where there are none, nor a text, probes are not."""
    question = f"vanishing {form}"
    sock = live.connect("POST", f"/getAnwser?format={form}", {"question": question, "provider": "stuck"})
    connection = connection_of(upstream, question)
    assert not closes(upstream, connection, 0.5)
    vanish(sock)
    # Whole seconds are what probes are sent after.
    assert closes(upstream, connection, HEARTBEAT_S + 2 * WRITE_TIMEOUT_S + at_most(1))
    sock.close()


@pytest.mark.parametrize("stray", [b"", b"G"])
def test_one_that_had_begun_a_further_request_is_noticed_too(live, upstream, stray):
    question = f"vanishing {stray!r}"
    sock = live.connect("POST", "/getAnwser", {"question": question, "provider": "slow"})
    connection = connection_of(upstream, question)
    sock.sendall(stray)
    assert not closes(upstream, connection, 0.3)
    vanish(sock)
    assert closes(upstream, connection, WRITE_TIMEOUT_S + at_most(1))
    sock.close()


def test_more_readers_than_there_is_room_for_are_told_so_and_everybody_else_is_served(upstream, monkeypatch):
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"--worker-connections {CONNECTIONS}")
    with Live(configuration(upstream, PLANS, server={"max_streams": 4})) as live, contextlib.ExitStack() as readers:
        answer = readers.enter_context(live.ask("many", provider="slow", headers={"Idempotency-Key": "many"}))
        answer_id = answer.headers["x-answer-id"]
        path = f"/answers/{answer_id}/events"
        kept = {"Connection": "keep-alive"}
        told = [readers.enter_context(live.call("GET", path, headers=kept)) for _ in range(CONNECTIONS + 10)]
        refused = [reply for reply in told if reply.status == 503]
        assert 40 < len(told) - len(refused) < CONNECTIONS
        for reply in refused:
            assert reply.json()["error"]["code"] == "overloaded"
            assert int(reply.headers["retry-after"]) >= 1
        # Who would follow by key or event, and be one reader more.
        with live.ask("many", provider="slow", headers={"Idempotency-Key": "many"}) as reply:
            assert reply.status == 503
        with live.ask("many", provider="slow", headers={"Last-Event-ID": f"{answer_id}.1"}) as reply:
            assert reply.status == 503
        began = time.monotonic()
        with live.call("GET", "/healthz") as reply:
            assert reply.status == 200
        others = [readers.enter_context(live.ask(f"other {n}", provider="slow")) for n in range(3)]
        assert [reply.status for reply in others] == [200] * 3
        with live.call("DELETE", f"/answers/{answer_id}") as reply:
            assert reply.status == 204
        assert time.monotonic() - began < at_most(1)
