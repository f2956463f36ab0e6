"""Answers in Redis while Redis, or the way to it, fails: no reader is orphaned, misled or left without an end."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.gateway.live import ROOT, text_of
from tests.gateway.test_shared_log import RedisServer, eventually, follow, numbered, served
from tests.reliability.proxy import Fault, Proxy


@pytest.fixture
def store():
    running = RedisServer()
    yield running
    running.close()


@pytest.fixture
def way(store):
    """The way to that Redis, on which faults can be set."""
    with Proxy(to=("127.0.0.1", store.port)) as proxy:
        yield proxy


def over(way):
    """A server's setting: Redis is reached through this proxy."""
    return {"redis_url": f"redis://127.0.0.1:{way.port}/0"}


def test_readers_that_come_to_another_worker_at_the_same_moment_all_get_the_rest(upstream, store, way):
    with served(upstream, store) as here, served(upstream, store, **over(way)) as there:
        way.set(Fault(latency_s=0.05))
        with here.ask("together", provider="numbered") as reply:
            answer_id = next(reply.events()).data["id"]
            followers = [there.connect("GET", f"/answers/{answer_id}/events") for _ in range(4)]
            told = []

            def read(sock):
                received = b""
                with contextlib.suppress(TimeoutError):
                    while data := sock.recv(65536):
                        received += data
                told.append(received)

            threads = [threading.Thread(target=read, args=(sock,)) for sock in followers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert [b"event: done" in received for received in told] == [True] * 4


def test_a_redis_that_starts_again_takes_no_living_worker_for_dead(upstream, store):
    with served(upstream, store) as here, served(upstream, store) as there:
        reply = here.ask("restarted", provider="slow")
        last = next(reply.events()).id
        elsewhere = follow(there, last)
        events = elsewhere.events()
        seen = []
        for _ in range(3):
            seen += itertools.islice(events, 10)
            store.kill()
            store.start()
            # Both workers have been at it again, more than once.
            seen += itertools.islice(events, 150)
        with here.call("DELETE", f"/answers/{seen[0].id.rpartition('.')[0]}"):
            seen += events
        reply.close()
    assert (seen[-1].name, seen[-1].data.get("finish_reason")) == ("done", "cancelled")
    assert [event.n for event in seen] == list(range(2, len(seen) + 2))


def test_news_go_on_coming_when_the_connection_for_them_is_cut_while_readers_come_and_leave(upstream, store, way):
    with served(upstream, store) as here, served(upstream, store, **over(way)) as there:
        with here.ask("busy", provider="slow") as reply:
            answer_id = next(reply.events()).data["id"]
            threads = []
            for _ in range(15):
                threads += [threading.Thread(target=_glance, args=(there, answer_id)) for _ in range(3)]
                for thread in threads[-3:]:
                    thread.start()
                way.cut()
                time.sleep(0.1)
            for thread in threads:
                thread.join()
            eventually(lambda: _status(there, answer_id) == 200)
            with there.call("GET", f"/answers/{answer_id}/events") as elsewhere:
                found = list(itertools.islice(elsewhere.events(), 400))
        assert [event.n for event in found] == list(range(1, 401))
        assert "Traceback" not in there.log.read_text("utf-8")


def _glance(live, answer_id):
    with contextlib.suppress(OSError, AssertionError), live.call("GET", f"/answers/{answer_id}/events") as reply:
        list(itertools.islice(reply.events(), 3))


def _status(live, answer_id):
    with live.call("GET", f"/answers/{answer_id}") as reply:
        return reply.status


def test_a_reader_that_is_ahead_of_redis_waits_elsewhere_until_redis_has_it_too(upstream, store, way):
    with served(upstream, store, **over(way)) as here, served(upstream, store) as there:
        reply = here.ask("ahead", provider="slow")
        events = reply.events()
        seen = [next(events)]
        way.set(Fault(refuse=True))
        way.cut()
        seen += itertools.islice(events, 40)
        threading.Timer(0.5, way.set, (None,)).start()
        with follow(there, seen[-1].id) as elsewhere:
            assert elsewhere.status == 200
            seen += itertools.islice(elsewhere.events(), 40)
        reply.close()
    assert [event.n for event in seen] == list(range(1, 82))
    assert text_of(seen) == numbered("ahead", 80)


def test_a_reader_that_was_ahead_of_redis_is_told_when_the_worker_is_dead(upstream, store, way):
    here = served(upstream, store, **over(way))
    with served(upstream, store) as there:
        try:
            reply = here.ask("lost", provider="slow")
            events = reply.events()
            seen = [next(events)]
            eventually(lambda: store.client.exists(f"sluice:answer:{seen[0].data['id']}:log"))
            way.set(Fault(refuse=True))
            way.cut()
            seen += itertools.islice(events, 20)
            for pid in (*here.workers(), here.process.pid):
                os.kill(pid, signal.SIGKILL)
            reply.close()
            # What Redis lacks is lost; the reader hears so, and soon.
            began = time.monotonic()
            while (told := _told(there, seen[-1].id)) == (503, "overloaded"):
                assert time.monotonic() - began < 15
            assert told == (503, "worker_died")
            # Also the one whose last event has by chance the number of the end.
            with there.call("GET", f"/answers/{seen[0].data['id']}") as state:
                last = state.json()["events"]
            assert _told(there, f"{seen[0].data['id']}.{last}") == (503, "worker_died")
        finally:
            here.process.wait()
            here.stop()


def _told(live, last):
    """How following ends: the status and code of an error, or 200 and the terminal event's."""
    with follow(live, last) as reply:
        if reply.status != 200:
            return reply.status, reply.json()["error"]["code"] if reply.status != 204 else ""
        *_, end = reply.events()
        return reply.status, end.data.get("code")


def patched(script, store):
    """What the script prints, run where gevent has patched the standard library, as in a worker."""
    command = [sys.executable, "-c", f"from gevent import monkey\nmonkey.patch_all()\n{INSIDE}{script}", store.url]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


INSIDE = """
import sys
import gevent
from gateway.answers import Answer, Answers, Asked
from gateway.log import copies
from gateway.log.redis import Mirror
from gateway.settings import Server

here, there = (Mirror(sys.argv[1], Answers(Server())) for _ in range(2))
asked = Asked(iter(()), idempotency=("key", "digest"))
answer = Answer(asked, here.answers)

def wait_until(holds):
    with gevent.Timeout(15):
        while not holds():
            gevent.sleep(0.05)
"""


def test_a_key_whose_worker_died_before_its_answer_began_is_told_so(store):
    script = """
assert here.claim(answer) is None
gevent.killall(here._greenlets)
answer_id, digest = there.claim(Answer(asked, there.answers))
assert (answer_id, digest) == (answer.id, "digest")
copy = there.find(answer_id, "")
wait_until(lambda: copy.ended)
print(copy.failure.code)
"""
    assert patched(script, store) == ["worker_died"]


def test_a_copy_that_nobody_follows_is_forgotten(store):
    script = """
copies.UNREAD_S = 0.3
here.put(answer)
wait_until(lambda: there.find(answer.id, "") is not None)
print(len(there._copies._copies))
wait_until(lambda: not there._copies._copies)
print(len(there._copies._copies))
"""
    assert patched(script, store) == ["1", "0"]
