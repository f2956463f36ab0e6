"""A worker that is killed takes no answer out of the books: each has an end, in the metrics and in the log."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request

import pytest

from tests.gateway.answers.shared.sharing import follow
from tests.gateway.configurations import configuration
from tests.gateway.live import Live, is_worker
from tests.gateway.redis_server import RedisServer
from tests.ports import free_port
from tests.waiting import eventually

PLANS = {"numbered": "count=5,pace=0", "stuck": "hang=between"}


@pytest.fixture
def store():
    running = RedisServer()
    yield running
    running.close()


def accounts(port):
    """Streams started, ended by cause, in flight; samples that are there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as reply:
        told = reply.read().decode()
    found = re.findall(r"^sluice_streams_(started|ended|in_flight)(?:_total)?(?:{cause=\"(\w+)\"})? (\S+)$", told, re.M)
    samples = {cause or what: float(value) for what, cause, value in found}
    return samples.pop("started"), samples.pop("in_flight", 0.0), {name: n for name, n in samples.items() if n}


def ends_logged(live):
    lines = [json.loads(line) for line in live.log.read_text("utf-8").splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "answer"]


def test_what_a_killed_worker_was_producing_is_accounted_for(upstream):
    port = free_port()
    with Live(configuration(upstream, PLANS, server={"metrics_bind": f"127.0.0.1:{port}"})) as live:
        lost = []
        for turn in (1, 2):
            with live.ask(provider="numbered") as reply:
                reply.body()
            stuck = [live.ask(provider="stuck", headers={"X-Request-Id": f"lost-{turn}-{n}"}) for n in range(3)]
            lost += [(next(reply.events()).data["id"], reply.headers["x-request-id"]) for reply in stuck]
            worker = [pid for pid in live.workers() if is_worker(pid)][-1]
            os.kill(worker, signal.SIGKILL)
            for reply in stuck:
                reply.close()
            expected = {"stop": turn, "worker_died": 3 * turn}
            eventually(lambda expected=expected: accounts(port) == (4 * turn, 0, expected))  # noqa: B023
            eventually(lambda: live.call("GET", "/healthz").status == 200)
        ends = ends_logged(live)
    assert sorted(line["cause"] for line in ends) == ["stop"] * 2 + ["worker_died"] * 6
    told = [line for line in ends if line["cause"] == "worker_died"]
    assert sorted((line["id"], line["request_id"]) for line in told) == sorted(lost)
    assert {(line["route"], line["provider"], line["model"]) for line in told} == {
        ("/getAnwser", "stuck", "m@hang=between")
    }


def test_whoever_ends_it_for_its_readers_does_not_count_it_again(upstream, store):
    here_port, there_port = free_port(), free_port()
    server = {"redis_url": store.url, "heartbeat_s": 0.3}
    with (
        Live(configuration(upstream, PLANS, server=server | {"metrics_bind": f"127.0.0.1:{here_port}"})) as here,
        Live(configuration(upstream, PLANS, server=server | {"metrics_bind": f"127.0.0.1:{there_port}"})) as there,
    ):
        reply = here.ask(provider="stuck", headers={"X-Request-Id": "asked-here"})
        last = next(reply.events()).id
        with follow(there, last) as elsewhere:
            worker = [pid for pid in here.workers() if is_worker(pid)][-1]
            os.kill(worker, signal.SIGKILL)
            *_, end = elsewhere.events()
        reply.close()
        assert (end.data["code"], end.data["request_id"]) == ("worker_died", reply.headers["x-request-id"])
        eventually(lambda: accounts(here_port) == (1, 0, {"worker_died": 1}))
        assert accounts(there_port) == (0, 0, {})
        assert [(line["id"], line["cause"]) for line in ends_logged(here)] == [
            (end.id.rpartition(".")[0], "worker_died")
        ]
        assert ends_logged(there) == []
