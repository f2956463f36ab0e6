"""With Redis any worker resumes or stops any answer; no fault of Redis or of a worker leaves a reader in silence."""

from __future__ import annotations

import itertools
import os
import signal
import time

import pytest

from tests.gateway.answers.shared.sharing import asked_about, follow, numbered, served
from tests.gateway.live import text_of
from tests.gateway.redis_server import RedisServer
from tests.reliability.rig import at_most
from tests.waiting import eventually

LEASE_S = 5.0


@pytest.fixture(scope="module")
def store():
    running = RedisServer()
    yield running
    running.close()


@pytest.fixture(scope="module")
def here(upstream, store):
    with served(upstream, store) as running:
        yield running


@pytest.fixture(scope="module")
def there(upstream, store):
    with served(upstream, store) as running:
        yield running


def test_a_finished_answer_can_be_read_elsewhere_from_every_event_on(here, there, upstream):
    with here.ask("finished", provider="numbered") as reply:
        sent = reply.body()
        answer_id = reply.headers["x-answer-id"]
    blocks = sent.replace(b": ping\n", b"").removeprefix(b"retry: 1000\n").split(b"\n\n")[:-1]
    for n in range(len(blocks)):
        with follow(there, f"{answer_id}.{n}") as reply:
            assert reply.body() == b"retry: 1000\n" + b"\n\n".join([*blocks[n:], b""])
    with follow(there, f"{answer_id}.{len(blocks)}") as reply:
        assert reply.status == 204
    with there.call("GET", f"/answers/{answer_id}") as reply:
        told = reply.json()
    assert (told["state"], told["answer"], told["events"]) == ("done", numbered("finished"), len(blocks))
    assert len(asked_about(upstream, "finished")) == 1


def test_a_running_answer_goes_on_elsewhere_without_gap_or_repeat(here, there, upstream):
    found, live = [], [here, there]
    reply = here.ask("moving", provider="numbered")
    for turn in itertools.count(1):
        found += itertools.islice(reply.events(), 7)
        reply.close()
        if found[-1].name == "done":
            break
        reply = follow(live[turn % 2], found[-1].id)
    assert [event.n for event in found] == list(range(1, len(found) + 1))
    assert text_of(found) == numbered("moving")
    assert len(asked_about(upstream, "moving")) == 1


def test_an_answer_lives_while_somebody_elsewhere_follows_it_and_no_longer(here, there, upstream):
    with here.ask("watched", provider="stuck") as reply:
        seen = list(itertools.islice(reply.events(), 2))
        elsewhere = follow(there, seen[-1].id)
        assert elsewhere.status == 200
    number = asked_about(upstream, "watched")[0].connection
    connection = next(one for one in upstream.ledger.connections if one.number == number)
    assert not upstream.wait_until(lambda: connection.closed_at is not None, 2.5)
    elsewhere.close()
    assert upstream.wait_until(lambda: connection.closed_at is not None, 3 + at_most(0.5))


def test_delete_stops_an_answer_of_another_worker(here, there):
    with here.ask("stop", provider="slow") as reply:
        events = reply.events()
        answer_id = next(events).data["id"]
        with there.call("DELETE", f"/answers/{answer_id}") as stopped:
            assert stopped.status == 204
        assert list(events)[-1].data["finish_reason"] == "cancelled"
    with there.call("DELETE", f"/answers/{answer_id}") as again:
        assert again.status == 204


def test_an_idempotency_key_holds_for_all_workers(here, there, upstream):
    asked = {"provider": "numbered", "headers": {"Idempotency-Key": "one"}}
    with here.ask("once", **asked) as first, there.ask("once", **asked) as second:
        assert first.headers["x-answer-id"] == second.headers["x-answer-id"]
        assert first.body() == second.body()
    assert len(asked_about(upstream, "once")) == 1
    with there.ask("another", **asked) as reply:
        assert reply.status == 422


def test_what_nobody_asked_is_404_everywhere(here, there):
    for live in (here, there):
        with live.call("GET", "/answers/AAAAAAAAAAAAAAAAAAAAAA/events") as reply:
            assert reply.status == 404


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_the_answers_of_a_dead_worker_end_and_say_so(upstream, store, there, how):
    dying = served(upstream, store)
    pids = dying.workers()
    try:
        reply = dying.ask(f"dying {how}", provider="stuck")
        seen = list(itertools.islice(reply.events(), 2))
        followed = follow(there, seen[-1].id)
        for pid in (dying.process.pid, *pids):
            os.kill(pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        began = time.monotonic()
        *_, last = followed.events()
        assert (last.name, last.data["code"], last.n) == ("failed", "worker_died", 3)
        assert last.data["retryable"] is True
        assert time.monotonic() - began < LEASE_S + at_most(1)
        with there.call("GET", f"/answers/{seen[0].data['id']}") as state:
            told = state.json()
        assert (told["state"], told["error"]["code"]) == ("failed", "worker_died")
        if how == "frozen":
            for pid in (dying.process.pid, *pids):
                os.kill(pid, signal.SIGCONT)
            with dying.call("DELETE", f"/answers/{seen[0].data['id']}") as stopped:
                assert stopped.status == 204
            # What it adds after it was taken for dead is nobody's.
            with follow(there, seen[-1].id) as again:
                assert [event.data.get("code") for event in again.events()] == ["worker_died"]
        reply.close()
    finally:
        for pid in (dying.process.pid, *pids):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        dying.process.wait()
        dying.stop()


def test_without_redis_answers_go_on_from_memory_and_are_shared_again_when_it_is_back(upstream):
    store = RedisServer()
    here, there = served(upstream, store), served(upstream, store)
    try:
        reply = here.ask("outage", provider="slow")
        events = reply.events()
        answer_id = next(events).data["id"]
        store.kill()
        # The running answer goes on, new ones are answered, and nobody waits longer than a round trip may take.
        assert len(list(itertools.islice(events, 60))) == 60
        began = time.monotonic()
        with here.ask("new", provider="numbered", headers={"Idempotency-Key": "k"}) as other:
            assert text_of(list(other.events())) == numbered("new")
        assert time.monotonic() - began < at_most(1)
        with there.call("GET", f"/answers/{answer_id}/events") as elsewhere:
            assert (elsewhere.status, elsewhere.json()["error"]["code"]) == (503, "overloaded")
        with here.call("GET", "/readyz") as ready:
            assert ready.status == 200
        store.start()
        eventually(lambda: store.client.exists(f"sluice:answer:{answer_id}:log"), at_most(2))
        with there.call("GET", f"/answers/{answer_id}/events") as elsewhere:
            found = list(itertools.islice(elsewhere.events(), 100))
        assert [event.n for event in found] == list(range(1, 101))
        # An event may have several chunks.
        assert numbered("outage", 1000).startswith(text_of(found))
        with there.call("DELETE", f"/answers/{answer_id}") as stopped:
            assert stopped.status == 204
        assert list(events)[-1].data["finish_reason"] == "cancelled"
        reply.close()
    finally:
        here.stop()
        there.stop()
        store.close()


def test_a_full_redis_harms_nobody(upstream):
    store = RedisServer()
    here = served(upstream, store)
    try:
        store.client.config_set("maxmemory", "1mb")
        store.client.config_set("maxmemory-policy", "noeviction")
        with here.ask("full", provider="numbered") as reply:
            assert text_of(list(reply.events())) == numbered("full")
        assert "Redis fails" in here.log.read_text()
    finally:
        here.stop()
        store.close()
