"""One caller cannot take everything: questions a minute, streams at once, and origins that may ask from a browser."""

from __future__ import annotations

import pytest

from gateway.access.rate_limit import Rate
from gateway.errors import Failure
from tests.gateway.configurations import configuration
from tests.gateway.live import Live
from tests.ports import free_port


def test_more_questions_than_allowed_are_429_with_the_time_to_wait(app_for, upstream):
    client = app_for(limits={"requests": "3/minute"}).test_client()
    statuses = [client.post("/getAnwser", json={"question": "hi"}).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    refused = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    assert (refused.status_code, refused.get_json()["error"]["code"]) == (429, "rate_limited")
    assert refused.get_json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert len(upstream.asked) == 3
    # Another caller, told apart by the proxy's word, is not concerned.
    other = client.post("/getAnwser", json={"question": "hi"}, headers={"X-Forwarded-For": "203.0.113.9"})
    assert other.status_code == 200


def test_while_redis_is_lost_a_worker_counts_for_itself_and_does_not_ask_it_each_time(monkeypatch):
    rate = Rate("2/minute", f"redis://127.0.0.1:{free_port()}/0")
    tries, hit = [], rate._shared.hit
    monkeypatch.setattr(rate._shared, "hit", lambda *told: tries.append(told) or hit(*told))
    rate.count("a")
    rate.count("a")
    with pytest.raises(Failure) as caught:
        rate.count("a")
    assert caught.value.code == "rate_limited"
    rate.count("b")
    assert len(tries) == 1
    # After a while it is tried again.
    rate._again_at = 0.0
    rate.count("b")
    assert len(tries) == 2


def test_a_bad_question_and_following_are_not_counted(app_for):
    client = app_for(limits={"requests": "1/minute"}).test_client()
    assert client.post("/getAnwser", json={"question": ""}).status_code == 400
    reply = client.post("/getAnwser", json={"question": "hi"}, headers={"Idempotency-Key": "k"})
    assert reply.status_code == 200
    answer_id = reply.headers["X-Answer-Id"]
    assert client.get(f"/answers/{answer_id}/events").status_code == 200
    again = client.post("/getAnwser", json={"question": "hi"}, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.headers["X-Answer-Id"]) == (200, answer_id)


def test_one_key_has_so_many_streams_and_another_its_own(upstream):
    keys = {"alice": "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90",
            "bob": "81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9"}  # fmt: skip
    settings = configuration(
        upstream,
        {"stuck": "hang=between"},
        auth={"keys": list(keys.values())},
        limits={"streams_per_key": 2},
        server={"resume_window_s": 0},
    )
    with Live(settings) as live:
        alice, bob = ({"Authorization": f"Bearer {name}"} for name in keys)
        running = [live.ask(provider="stuck", headers=alice) for _ in range(2)]
        assert [reply.status for reply in running] == [200, 200]
        with live.ask(provider="stuck", headers=alice) as refused:
            assert (refused.status, refused.json()["error"]["code"]) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) >= 1
        with live.ask(provider="stuck", headers=bob) as other:
            assert other.status == 200
        for reply in running:
            reply.close()


def test_browsers_of_other_origins_are_let_in_only_where_they_are_listed(app_for):
    origin = {"Origin": "https://app.example"}
    closed = app_for().test_client()
    assert (
        "Access-Control-Allow-Origin" not in closed.post("/getAnwser", json={"question": "a"}, headers=origin).headers
    )
    listed = app_for(server={"cors": ["https://app.example"]}).test_client()
    reply = listed.post("/getAnwser", json={"question": "a"}, headers=origin)
    assert reply.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "X-Answer-Id" in reply.headers["Access-Control-Expose-Headers"]
    other = listed.post("/getAnwser", json={"question": "a"}, headers={"Origin": "https://evil.example"})
    assert other.headers.get("Access-Control-Allow-Origin") != "https://evil.example"
    asks = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    preflight = listed.options("/getAnwser", headers=asks)
    assert preflight.status_code == 200
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
