"""Gateways that share a Redis, and what their tests ask of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from providers.scripted import Upstream
from tests.gateway.configurations import configuration
from tests.gateway.live import ROOT, Live
from tests.gateway.redis_server import RedisServer

PLANS = {"numbered": "count=40,pace=0.01", "slow": "count=2000,pace=0.02", "stuck": "hang=between"}


def served(upstream: Upstream, store: RedisServer, **more: Any) -> Live:
    server = {"redis_url": store.url, "heartbeat_s": 0.3, "commit_after_s": 0.3, "resume_window_s": 2} | more
    return Live(configuration(upstream, PLANS, server=server))


def numbered(question: str, count: int = 40) -> str:
    return "".join(f"<{question}:{n}>" for n in range(1, count + 1))


def asked_about(upstream: Upstream, question: str) -> list[Any]:
    return [one for one in upstream.asked if one.body["messages"][-1]["content"] == question]


def follow(live: Live, last: str, **headers: str) -> Any:
    return live.call("GET", f"/answers/{last.rpartition('.')[0]}/events", headers={"Last-Event-ID": last, **headers})


def patched(script: str, store: RedisServer) -> list[str]:
    """What the script prints, run where gevent has patched the standard library, as in a worker."""
    command = [sys.executable, "-c", f"from gevent import monkey\nmonkey.patch_all()\n{INSIDE}{script}", store.url]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


INSIDE = """
import sys
import gevent
from gateway.answers.answers import Answers
from gateway.answers.production import Answer, AnswerRequest
from gateway.answers.shared import remote
from gateway.answers.shared.store import SharedStore
from gateway.settings import Server

here, there = (SharedStore(sys.argv[1], Answers(Server())) for _ in range(2))
asked = AnswerRequest(iter(()), idempotency=("key", "digest"))
answer = Answer(asked, here.answers)

def wait_until(holds):
    with gevent.Timeout(15):
        while not holds():
            gevent.sleep(0.05)
"""


def killed(live: Live) -> None:
    for pid in (*live.workers(), live.process.pid):
        os.kill(pid, signal.SIGKILL)
    live.process.wait()
