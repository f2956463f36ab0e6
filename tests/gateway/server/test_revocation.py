"""Keys of a running server: made, taken at SIGHUP, revoked under running answers, expired."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from gateway.access.auth import digest
from gateway.tools import key_entries
from tests.gateway.configurations import configuration
from tests.gateway.live import Live
from tests.waiting import eventually


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def status(live, key):
    with live.call("GET", "/v1/models", headers=bearer(key)) as reply:
        return reply.status


def reload(live):
    """Read the file again; returns when no worker is left that does not know the new keys."""
    before = set(live.workers())
    os.kill(live.process.pid, signal.SIGHUP)
    eventually(lambda: not before & set(live.workers()), 60)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_key_comes_and_goes_with_sighup_and_its_answers_end_with_it(upstream, workers):
    settings = configuration(
        upstream,
        {"stuck": "hang=between"},
        auth={"keys": [{"name": "other", "sha256": digest("other")}]},
        server={"workers": workers, "resume_window_s": 60},
    )
    with Live(settings) as live:
        key = key_entries.new(live.file, {"name": "web"})
        assert status(live, key) == 401
        reload(live)
        assert status(live, key) == 200
        running = live.ask(provider="stuck", headers=bearer(key))
        others = live.ask(provider="stuck", headers=bearer("other"))
        events, untouched = running.events(), others.events()
        next(events), next(untouched)
        key_entries.revoke(live.file, "web")
        began = time.monotonic()
        os.kill(live.process.pid, signal.SIGHUP)
        last = list(events)[-1]
        # The old worker, which has the answer, ends it.
        assert (last.name, last.data["code"]) == ("failed", "unauthorized")
        assert time.monotonic() - began < 15
        eventually(lambda: status(live, key) == 401)
        assert status(live, "other") == 200
        assert len(upstream.asked) == 2
        running.close()
        others.close()


def test_an_answer_ends_when_its_key_expires(upstream):
    entry = {"name": "brief", "sha256": digest("brief")}
    settings = configuration(upstream, {"stuck": "hang=between"}, auth={"keys": [entry]})
    with Live(settings) as live:
        written = yaml.safe_load(live.file.read_text("utf-8"))
        expires = datetime.now(UTC) + timedelta(seconds=12)
        written["auth"]["keys"][0]["expires"] = expires.isoformat()
        live.file.write_text(yaml.safe_dump(written), "utf-8")
        reload(live)
        with live.ask(provider="stuck", headers=bearer("brief")) as reply:
            if reply.status == 401:
                pytest.skip("the machine took 12 s for a reload")
            last = list(reply.events())[-1]
        assert (last.name, last.data["code"]) == ("failed", "unauthorized")
        assert datetime.now(UTC) >= expires and status(live, "brief") == 401
