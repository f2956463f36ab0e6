"""SIGTERM while Redis hangs: it accepts and answers nothing, and the server ends on time all the same."""

from __future__ import annotations

import itertools
import os
import signal
import time

import pytest

from tests.gateway.answers.shared.sharing import served
from tests.gateway.redis_server import RedisServer
from tests.reliability.proxy import Fault, Proxy
from tests.reliability.rig import at_most, descriptors, sockets_to
from tests.waiting import eventually

DRAIN_S = 0.5


@pytest.fixture(scope="module")
def store():
    running = RedisServer()
    yield running
    running.close()


def hanging(upstream, store, way):
    return served(upstream, store, redis_url=f"redis://127.0.0.1:{way.port}/0", workers=2, drain_s=DRAIN_S)


@pytest.mark.parametrize("known", [False, True], ids=["just now", "for a while"])
def test_the_server_ends_on_time_while_redis_hangs(upstream, store, known):
    with Proxy(to=("127.0.0.1", store.port)) as way, hanging(upstream, store, way) as here:
        replies = [here.ask(f"{plan} {n}", provider=plan) for n in range(4) for plan in ("slow", "stuck")]
        events = [reply.events() for reply in replies]
        begun = [list(itertools.islice(one, 2)) for one in events]
        way.set(Fault(black_hole_after=0))
        if known:
            eventually(lambda: "Redis fails" in here.log.read_text("utf-8"))
        # They wait for Redis, and for their turn to ask it.
        waiting = [here.connect("GET", f"/answers/{n:022d}/events") for n in range(40)]
        waiting += [
            here.connect("POST", "/getAnwser", {"question": "keyed"}, {"Idempotency-Key": str(n)}) for n in range(4)
        ]
        signalled_at = time.monotonic()
        here.process.send_signal(signal.SIGTERM)
        ends = [[*first, *one][-1] for first, one in zip(begun, events, strict=True)]
        assert here.process.wait(40) == 0
        took_s = time.monotonic() - signalled_at
        for sock in waiting:
            sock.close()
        said = here.log.read_text("utf-8")
    assert [end.data["code"] for end in ends] == ["shutting_down"] * len(ends)
    assert took_s <= DRAIN_S + at_most(1)
    assert "Traceback" not in said and "SIGKILL" not in said


def test_a_worker_that_hangs_does_not_keep_the_server_from_ending(upstream, store):
    with served(upstream, store, workers=2, drain_s=DRAIN_S) as here:
        replies = [here.ask(f"hanging {n}", provider="stuck") for n in range(8)]
        for reply in replies:
            next(reply.events())
        # One that answers: a worker that still starts is killed at once.
        connection = sockets_to(here.port, replies[0].sock.getsockname()[1])
        frozen = next(pid for pid in here.workers() if connection & descriptors(pid).keys())
        os.kill(frozen, signal.SIGSTOP)
        signalled_at = time.monotonic()
        here.process.send_signal(signal.SIGTERM)
        assert here.process.wait(40) == 0
        took_s = time.monotonic() - signalled_at
        said = here.log.read_text("utf-8")
    assert took_s <= DRAIN_S + at_most(1)
    # gunicorn itself would kill it after 5 s, in silence.
    assert f"worker {frozen}: hangs" in said
