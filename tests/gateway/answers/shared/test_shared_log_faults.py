"""Answers in Redis while Redis, or the way to it, fails: no reader is orphaned, misled or left without an end."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
import time

import pytest

from tests.gateway.answers.shared.sharing import follow, killed, numbered, patched, served
from tests.gateway.live import text_of
from tests.gateway.side_by_side import played, side_by_side  # noqa: F401
from tests.reliability.proxy import Fault
from tests.waiting import eventually


def over(way):
    """A server's setting: Redis is reached through this proxy."""
    return {"redis_url": f"redis://127.0.0.1:{way.port}/0"}


@side_by_side
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


@side_by_side
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


@side_by_side
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


@side_by_side
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
    # An event may have several chunks.
    assert numbered("ahead", 2000).startswith(text_of(seen))


@side_by_side
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
    """How following ends: the status and code of an error, or 200 and the terminal event's (None if it is cut)."""
    with follow(live, last) as reply:
        if reply.status != 200:
            return reply.status, reply.json()["error"]["code"] if reply.status != 204 else ""
        end = [None, *read_to_the_end(reply)][-1]
        return reply.status, end and end.data.get("code")


@side_by_side
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


@side_by_side
def test_a_copy_that_nobody_follows_is_forgotten(store):
    script = """
remote.UNREAD_S = 0.3
here.put(answer)
wait_until(lambda: there.find(answer.id, "") is not None)
print(len(there._remote._answers))
wait_until(lambda: not there._remote._answers)
print(len(there._remote._answers))
"""
    assert patched(script, store) == ["1", "0"]


FULL = [("CONFIG", "SET", "maxmemory", "1")], [("CONFIG", "SET", "maxmemory", "0")]
READ_ONLY = [("REPLICAOF", "127.0.0.1", "1")], [("REPLICAOF", "NO", "ONE")]


def tell(store, commands):
    for command in commands:
        store.client.execute_command(*command)


def read_to_the_end(reply):
    """The events that still come; fewer, where the connection is cut."""
    found = []
    with contextlib.suppress(OSError, AssertionError, ValueError):
        found.extend(reply.events())
    return found


@pytest.mark.parametrize("broken, mended", [FULL, READ_ONLY], ids=["full", "read-only"])
@side_by_side
def test_whoever_follows_elsewhere_while_redis_takes_nothing_is_cut_and_comes_back(upstream, store, broken, mended):
    with served(upstream, store) as here, served(upstream, store) as there:
        reply = here.ask("followed", provider="slow")
        events = reply.events()
        elsewhere = follow(there, next(events).id)
        tell(store, broken)
        began = time.monotonic()
        seen = read_to_the_end(elsewhere)
        assert time.monotonic() - began < 15
        assert seen[-1].name == "message"
        assert _told(there, seen[-1].id) == (503, "overloaded")
        tell(store, mended)
        eventually(lambda: _status(there, seen[0].id.rpartition(".")[0]) == 200)
        with follow(there, seen[-1].id) as again:
            seen += itertools.islice(again.events(), 40)
        # The worker that makes it has noticed nothing but this.
        assert len(list(itertools.islice(events, 100))) == 100
        reply.close()
    assert [event.n for event in seen] == list(range(2, len(seen) + 2))


@side_by_side
def test_the_end_of_a_dead_worker_is_told_when_a_full_redis_has_room_again(upstream, store):
    here = served(upstream, store)
    with served(upstream, store) as there:
        try:
            with here.ask("full and dead", provider="slow") as reply:
                last = next(reply.events()).id
                tell(store, FULL[0])
                killed(here)
            began = time.monotonic()
            while (told := _told(there, last)) != (503, "overloaded"):
                assert told[1] is None, told
                assert time.monotonic() - began < 20
            tell(store, FULL[1])
            while (told := _told(there, last)) == (503, "overloaded"):
                assert time.monotonic() - began < 30
            assert told == (200, "worker_died")
        finally:
            here.stop()


@pytest.mark.parametrize("lost", ["log", "hash", "everything"])
@side_by_side
def test_what_redis_drops_of_a_running_answer_is_written_to_it_again(upstream, store, lost):
    with served(upstream, store) as here, served(upstream, store) as there:
        reply = here.ask("dropped", provider="slow")
        events = reply.events()
        seen = list(itertools.islice(events, 20))
        answer_id = seen[0].data["id"]
        name = f"sluice:answer:{answer_id}"
        eventually(lambda: store.client.exists(f"{name}:log"))
        if lost == "everything":
            store.client.flushall()
        else:
            store.client.delete(f"{name}:log" if lost == "log" else name)
        eventually(lambda: _status(there, answer_id) == 200, 15)
        with there.call("GET", f"/answers/{answer_id}/events") as elsewhere:
            found = list(itertools.islice(elsewhere.events(), 200))
        assert [event.n for event in found] == list(range(1, 201))
        reply.close()


@side_by_side
def test_an_ended_answer_that_redis_has_dropped_is_read_to_its_end_elsewhere(upstream, store):
    with served(upstream, store) as here, served(upstream, store) as there:
        with here.ask("dropped late", provider="numbered") as reply:
            whole = list(reply.events())
        store.client.delete(f"sluice:answer:{whole[0].data['id']}:log")
        with follow(there, whole[4].id) as elsewhere:
            found = list(elsewhere.events())
    assert found == whole[5:]


@side_by_side
def test_a_dead_workers_leftovers_live_as_long_as_an_ended_answers(upstream, store):
    keyed = {"provider": "slow", "headers": {"Idempotency-Key": "left over"}}
    here = served(upstream, store, log_age_s=5)
    with served(upstream, store, log_age_s=5) as there:
        try:
            with here.ask("left over", **keyed) as reply:
                last = next(reply.events()).id
                eventually(lambda: store.client.exists(f"sluice:answer:{last.rpartition('.')[0]}:log"))
                killed(here)
            assert _told(there, last) == (200, "worker_died")
            with there.ask("left over", **keyed) as again:
                assert again.headers["x-answer-id"] == last.rpartition(".")[0]
            names = [name for kind in ("answer", "key") for name in store.client.keys(f"sluice:{kind}:*")]
            assert len(names) == 3
            assert all(0 < store.client.pttl(name) <= 5000 for name in names)
            eventually(lambda: not any(map(store.client.exists, names)))
            assert _status(there, last.rpartition(".")[0]) == 404
            with there.ask("left over", provider="numbered", headers=keyed["headers"]) as anew:
                assert text_of(list(anew.events())) == numbered("left over")
        finally:
            here.stop()


@side_by_side
def test_a_dead_workers_answers_that_nobody_looks_at_go_by_themselves(upstream, store):
    with served(upstream, store, log_age_s=5) as here, here.ask("unseen", provider="slow") as reply:
        answer_id = next(reply.events()).data["id"]
        names = [f"sluice:answer:{answer_id}", f"sluice:answer:{answer_id}:log"]
        eventually(lambda: all(map(store.client.exists, names)))
        assert all(0 < store.client.ttl(name) <= 60 for name in names)
        # While it runs, they are renewed.
        for name in names:
            store.client.pexpire(name, 20_000)
        eventually(lambda: all(store.client.ttl(name) > 20 for name in names), 15)


@side_by_side
def test_a_key_that_stands_for_nothing_may_ask_again_once_its_worker_is_dead(upstream, store):
    keyed = {"headers": {"Idempotency-Key": "nothing"}}
    here = served(upstream, store)
    with served(upstream, store) as there:
        try:
            with here.ask("nothing", provider="slow", **keyed) as reply:
                answer_id = next(reply.events()).data["id"]
                killed(here)
            store.client.delete(f"sluice:answer:{answer_id}", f"sluice:answer:{answer_id}:log")
            eventually(lambda: not store.client.keys("sluice:worker:*") or _lone_worker(store))
            with there.ask("nothing", provider="numbered", **keyed) as again:
                assert text_of(list(again.events())) == numbered("nothing")
        finally:
            here.stop()


def _lone_worker(store):
    return len(store.client.keys("sluice:worker:*")) == 1


@side_by_side
def test_the_last_event_waits_for_no_redis_when_the_server_stops(upstream, store):
    with served(upstream, store, drain_s=1.5) as here:
        replies = [here.ask(f"stopping {n}", provider="stuck") for n in range(3)]
        events = [reply.events() for reply in replies]
        for one in events:
            next(one)
        here.process.send_signal(signal.SIGTERM)
        time.sleep(1.3)
        store.process.send_signal(signal.SIGSTOP)
        try:
            ends = [list(one)[-1] for one in events]
        finally:
            store.process.send_signal(signal.SIGCONT)
    assert [end.data["code"] for end in ends] == ["shutting_down"] * 3


@side_by_side
def test_many_at_once_use_few_connections_to_redis(upstream, store):
    with served(upstream, store) as here, served(upstream, store) as there:
        with here.ask("many", provider="slow") as reply:
            answer_id = next(reply.events()).data["id"]
            threads = [threading.Thread(target=_glance, args=(there, answer_id)) for _ in range(60)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        # Two workers of eight each, and ours.
        assert store.client.info("clients")["connected_clients"] <= 17
