"""An answer is made once: readers leave, return, follow and stop it, and each gets exactly what it missed."""

from __future__ import annotations

import itertools
import threading

import pytest

from tests.gateway.configurations import configuration
from tests.gateway.live import Live, text_of
from tests.reliability.rig import at_most

PLANS = {
    "numbered": "count=40,pace=0.005",
    "slow": "count=400,pace=0.02",
    "silent": "hang=first",
    "stuck": "hang=between",
    "cut": "cut",
    "refused": "fail=auth",
}
KEYS = {
    # printf alice | sha256sum
    "alice": "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90",
    "bob": "81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9",
}


@pytest.fixture(scope="module")
def live(upstream):
    server = {"heartbeat_s": 0.2, "commit_after_s": 0.2, "resume_window_s": 2}
    with Live(configuration(upstream, PLANS, server=server)) as running:
        yield running


def numbered(question, count):
    return "".join(f"<{question}:{n}>" for n in range(1, count + 1))


def follow(live, last, **headers):
    answer_id = last.rpartition(".")[0]
    return live.call("GET", f"/answers/{answer_id}/events", headers={"Last-Event-ID": last, **headers})


def asked_about(upstream, question):
    return [one for one in upstream.asked if one.body["messages"][-1]["content"] == question]


def finished(live, provider="numbered", **fields):
    """A finished answer's id and its bytes as they were first sent."""
    with live.ask(provider=provider, **fields) as reply:
        return reply.headers["x-answer-id"], reply.body()


def test_a_return_at_every_event_gets_exactly_what_was_missed_and_asks_once(live, upstream):
    answer_id, sent = finished(live, question="edges")
    blocks = sent.replace(b": ping\n", b"").removeprefix(b"retry: 1000\n").split(b"\n\n")[:-1]
    # At most 42; fewer where chunks came together.
    assert len(blocks) > 5
    for n in range(len(blocks)):
        with follow(live, f"{answer_id}.{n}") as reply:
            assert reply.status == 200
            assert reply.body() == b"retry: 1000\n" + b"\n\n".join([*blocks[n:], b""])
            assert reply.headers["x-answer-id"] == answer_id
    assert len(asked_about(upstream, "edges")) == 1


def test_a_return_while_the_answer_runs_misses_nothing_and_repeats_nothing(live, upstream):
    found = []
    reply = live.ask(question="broken line", provider="numbered")
    while True:
        events = reply.events()
        took = list(itertools.islice(events, 3))
        reply.close()
        found += took
        if found[-1].name == "done":
            break
        reply = follow(live, found[-1].id)
    assert [event.n for event in found] == list(range(1, len(found) + 1))
    assert text_of(found) == numbered("broken line", 40)
    assert len(asked_about(upstream, "broken line")) == 1


def test_any_number_of_readers_get_the_same_bytes(live):
    with live.ask(question="shared", provider="numbered") as first:
        answer_id = first.headers["x-answer-id"]
        replies = [live.call("GET", f"/answers/{answer_id}/events") for _ in range(5)]
        bodies = [reply.body() for reply in [first, *replies]]
    assert len(set(bodies)) == 1


def test_a_reader_that_has_all_of_a_finished_answer_gets_204(live):
    answer_id, sent = finished(live)
    last = sent.count(b"\nid: ")
    with follow(live, f"{answer_id}.{last}") as reply:
        assert (reply.status, reply.body()) == (204, b"")
    with live.call("GET", "/getAnwser?question=x", headers={"Last-Event-ID": f"{answer_id}.{last}"}) as reply:
        assert reply.status == 204


def test_an_event_source_that_returns_follows_and_never_asks_again(live, upstream):
    with live.call("GET", "/getAnwser?question=source&provider=slow") as reply:
        first = list(itertools.islice(reply.events(), 4))
    with live.call("GET", "/getAnwser?question=source&provider=slow", headers={"Last-Event-ID": first[-1].id}) as reply:
        assert next(reply.events()).n == 5
    with live.call("GET", "/getAnwser?question=source", headers={"Last-Event-ID": "unknown-answer.3"}) as reply:
        assert (reply.status, reply.json()["error"]["code"]) == (404, "not_found")
    assert len(asked_about(upstream, "source")) == 1


def test_a_client_that_sends_its_post_again_after_a_cut_follows_and_never_asks_again(live, upstream):
    body = {"question": "posted", "provider": "slow"}
    with live.call("POST", "/getAnwser", body) as reply:
        first = list(itertools.islice(reply.events(), 4))
    back = {"Last-Event-ID": first[-1].id}
    with live.call("POST", "/getAnswer", body, back) as reply:
        assert reply.headers["x-answer-id"] == first[0].data["id"]
        rest = list(reply.events())
        assert [event.n for event in rest] == list(range(5, rest[-1].n + 1))
        assert rest[-1].name == "done"
    with live.call("POST", "/getAnwser", body, {"Last-Event-ID": rest[-1].id}) as reply:
        assert (reply.status, reply.body()) == (200, b"")
    with live.call("POST", "/getAnwser", body, {"Last-Event-ID": "unknown-answer.3"}) as reply:
        assert (reply.status, reply.json()["error"]["code"]) == (404, "not_found")
    with live.call("POST", "/getAnwser", body, {"Last-Event-ID": "none"}) as reply:
        assert (reply.status, reply.json()["error"]["code"]) == (400, "bad_request")
    assert len(asked_about(upstream, "posted")) == 1


@pytest.mark.parametrize("last", ["", "x", "x.y", ".3", "x.", "x.-1", "x.01", "x.1.2", "a b.1", "x.99999999999"])
def test_a_last_event_id_that_is_none_is_400(live, upstream, last):
    for path in ("/getAnwser?question=malformed", "/answers/x/events"):
        with live.call("GET", path, headers={"Last-Event-ID": last}) as reply:
            assert (reply.status, reply.json()["error"]["code"]) == (400, "bad_request")
    assert not asked_about(upstream, "malformed")


def test_an_event_of_another_answer_or_beyond_the_end_is_400(live):
    answer_id, sent = finished(live)
    with follow(live, f"{answer_id}.{sent.count(b'id: ') + 1}") as reply:
        assert reply.status == 400
    with live.call("GET", f"/answers/{answer_id}/events", headers={"Last-Event-ID": "other.1"}) as reply:
        assert reply.status == 400


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_answer_is_404(live, method):
    with live.call(method, "/answers/AAAAAAAAAAAAAAAAAAAAAA") as reply:
        assert (reply.status, reply.json()["error"]["code"]) == (404, "not_found")


def test_the_state_of_an_answer_is_its_json_form_so_far(live):
    with live.ask(question="state", provider="slow") as reply:
        events = reply.events()
        seen = [next(events) for _ in range(4)]
        with live.call("GET", f"/answers/{seen[0].data['id']}") as state:
            told = state.json()
    assert (told["state"], told["finish_reason"], told["provider"]) == ("running", None, "slow")
    assert told["events"] >= 4
    assert told["answer"].startswith(text_of(seen))
    answer_id, _ = finished(live, question="over")
    with live.call("GET", f"/answers/{answer_id}") as state:
        told = state.json()
    assert (told["state"], told["finish_reason"], told["answer"]) == ("done", "stop", numbered("over", 40))
    answer_id, _ = finished(live, provider="cut")
    with live.call("GET", f"/answers/{answer_id}") as state:
        told = state.json()
    assert (told["state"], told["error"]["code"]) == ("failed", "truncated")


def test_delete_stops_the_answer_for_everybody_and_keeps_its_text(live, upstream):
    with live.ask(question="stop me", provider="slow") as reply:
        events = reply.events()
        first = [next(events) for _ in range(5)]
        answer_id = first[0].data["id"]
        connection = upstream.asked[-1].connection
        with live.call("DELETE", f"/answers/{answer_id}") as stopped:
            assert (stopped.status, stopped.body()) == (204, b"")
        rest = list(events)
    assert (rest[-1].name, rest[-1].data["finish_reason"], rest[-1].data["usage"]) == ("done", "cancelled", None)
    assert closed(upstream, connection, at_most(0.2))
    with live.call("DELETE", f"/answers/{answer_id}") as again:
        assert again.status == 204
    with live.call("GET", f"/answers/{answer_id}") as state:
        assert state.json()["answer"] == text_of(first + rest)


def closed(upstream, number, timeout_s):
    one = next(connection for connection in upstream.ledger.connections if connection.number == number)
    return upstream.wait_until(lambda: one.closed_at is not None, timeout_s)


def test_a_failed_answer_can_be_followed_too(live):
    with live.ask(provider="refused") as reply:
        assert reply.status == 502
        answer_id = reply.headers["x-answer-id"]
    with live.call("GET", f"/answers/{answer_id}/events") as reply:
        found = list(reply.events())
    assert [(event.n, event.name) for event in found] == [(1, "start"), (2, "failed")]
    assert found[1].data["code"] == "upstream_auth"


def test_the_same_idempotency_key_follows_the_same_answer(live, upstream):
    asked = {"question": "once", "provider": "numbered", "headers": {"Idempotency-Key": "k-1"}}
    with live.ask(**asked) as first, live.ask(**asked) as second:
        assert first.headers["x-answer-id"] == second.headers["x-answer-id"]
        assert first.body() == second.body()
    with live.ask(**asked | {"headers": {"Idempotency-Key": "k-1", "Accept": "text/plain"}}) as third:
        assert third.body().decode() == numbered("once", 40)
    assert len(asked_about(upstream, "once")) == 1
    with live.ask(**asked | {"question": "twice"}) as reply:
        assert (reply.status, reply.json()["error"]["code"]) == (422, "bad_request")
    assert not asked_about(upstream, "twice")


def test_get_takes_the_idempotency_key_in_its_query(live, upstream):
    path = "/getAnwser?question=again&provider=numbered&key=k-2"
    bodies = set()
    for _ in range(2):
        with live.call("GET", path) as reply:
            bodies.add(reply.body())
    assert len(bodies) == len(asked_about(upstream, "again")) == 1


def test_a_hundred_questions_with_one_key_at_once_are_one_answer(live, upstream):
    ids = []

    def ask():
        with live.ask(question="crowd", provider="numbered", headers={"Idempotency-Key": "k-3"}) as reply:
            ids.append((reply.headers["x-answer-id"], reply.body()))

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 100
    assert len(set(ids)) == len(asked_about(upstream, "crowd")) == 1


def test_every_form_can_be_followed(live):
    answer_id, _ = finished(live, question="forms")
    said = numbered("forms", 40)
    with live.call("GET", f"/answers/{answer_id}/events", headers={"Accept": "text/plain"}) as reply:
        assert reply.body().decode() == said
    with live.call("GET", f"/answers/{answer_id}/events?format=json") as reply:
        assert reply.json()["answer"] == said


def test_an_answer_belongs_to_the_key_that_asked(upstream):
    auth = {"keys": [{"sha256": digest, "name": name} for name, digest in KEYS.items()]}
    with Live(configuration(upstream, {"numbered": PLANS["numbered"]}, auth=auth)) as live:
        alice, bob = ({"Authorization": f"Bearer {name}"} for name in KEYS)
        for headers in ({}, {"Authorization": "Bearer nobody"}, {"Authorization": "Basic alice"}):
            with live.ask(headers=headers) as reply:
                assert (reply.status, reply.json()["error"]["code"]) == (401, "unauthorized")
                assert reply.headers["www-authenticate"] == "Bearer"
        assert upstream.asked == []
        with live.ask(provider="numbered", headers=alice | {"Idempotency-Key": "k"}) as reply:
            answer_id = reply.headers["x-answer-id"]
            sent = reply.body()
        with live.call("GET", f"/answers/{answer_id}", headers=alice) as reply:
            assert reply.status == 200
        for method, path in (
            ("GET", f"/answers/{answer_id}"),
            ("GET", f"/answers/{answer_id}/events"),
            ("DELETE", f"/answers/{answer_id}"),
        ):
            with live.call(method, path, headers=bob) as reply:
                assert reply.status == 404
        with live.call("GET", "/getAnwser?question=x", headers=bob | {"Last-Event-ID": f"{answer_id}.1"}) as reply:
            assert reply.status == 404
        # A key of another caller's is another key.
        with live.ask(question="other", provider="numbered", headers=bob | {"Idempotency-Key": "k"}) as reply:
            assert reply.headers["x-answer-id"] != answer_id
            assert reply.body() != sent
        for path in ("/", "/healthz", "/readyz"):
            with live.call("GET", path) as reply:
                assert reply.status == 200
        with live.call("GET", "/v1/models") as reply:
            assert (reply.status, reply.json()["error"]["type"]) == (401, "authentication_error")
