"""Members of a /v1 request that we do not know, and what is said of those that a service does not take."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.gateway.configurations import configuration
from tests.gateway.live import Live

HI = [{"role": "user", "content": "hi"}]
DEEP = json.loads("[" * 20 + "]" * 20)


@pytest.fixture(scope="module")
def live(upstream):
    written = configuration(upstream, {})
    row = written["providers"]["vllm"]
    written["providers"]["strict"] = {**row, "drop": ["seed"], "extra": {"priority": 3}}
    with Live(written) as running:
        yield running


def asked(live, **members):
    return httpx.post(
        f"{live.url}/v1/chat/completions", json={"model": "strict", "messages": HI, **members}, timeout=20
    )


def test_unknown_members_pass_on_and_never_over_the_configurations_own(live, upstream):
    members = {
        "reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}, "logit_bias": {"5": -1},
        "priority": 9, "extra_body": {"guided_json": {"type": "object"}, "model": "other", "stream": False, "top_k": 3},
        "absent": None,
    }  # fmt: skip
    assert asked(live, **members).status_code == 200
    body = upstream.asked[-1].body
    assert body["reasoning_effort"] == "low" and body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (body["guided_json"], body["top_k"], body["priority"]) == ({"type": "object"}, 3, 3)
    assert body["stream"] is True and body["model"] != "other"
    assert not {"extra_body", "absent"} & body.keys()


def test_what_was_dropped_is_said_in_a_header_and_in_start(live):
    reply = asked(live, seed=5, stream=True)
    assert reply.headers["x-sluice-adjusted"] == "seed dropped: this provider's configuration says so"
    assert "x-sluice-adjusted" not in asked(live).headers
    native = httpx.post(f"{live.url}/getAnwser", json={"question": "hi", "provider": "strict", "seed": 5}, timeout=20)
    assert "seed dropped" in native.text.partition("\n\n")[0]


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"surprise": "x" * 70_000}, "64 KiB"),
        ({"surprise": DEEP}, "surprise: must be nested"),
        ({"extra_body": [1]}, "extra_body: must be an object"),
    ],
    ids=["too large", "too deep", "no object"],
)
def test_what_is_passed_on_is_bounded(live, upstream, members, named):
    before = len(upstream.asked)
    reply = asked(live, **members)
    assert reply.status_code == 400 and named in reply.json()["error"]["message"]
    assert len(upstream.asked) == before
