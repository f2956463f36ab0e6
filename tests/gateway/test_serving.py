"""`sluice serve` as a person runs it: it starts, says where, reloads, keeps its metrics, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests
import yaml

from tests.gateway.conftest import configuration

ROOT = Path(__file__).resolve().parents[2]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Served:
    """A running `sluice serve`: its URL, and the lines that it has printed so far."""

    def __init__(self, file, **environ):
        command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(file)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines = []
        self.heard = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()
        self.url = self.line(r"ready on (http://\S+)").group(1)

    def _listen(self):
        for line in self.process.stdout:
            with self.heard:
                self.lines.append(line.rstrip("\n"))
                self.heard.notify_all()
        with self.heard:
            self.heard.notify_all()

    def line(self, pattern, timeout_s=30, after=0):
        """The match of the first line with `pattern`, waited for."""
        deadline = time.monotonic() + timeout_s
        with self.heard:
            while True:
                for line in self.lines[after:]:
                    if found := re.search(pattern, line):
                        return found
                left = deadline - time.monotonic()
                assert left > 0 and self.process.poll() is None, f"no line {pattern!r} in {self.lines}"
                self.heard.wait(min(left, 0.5))

    def children(self):
        told = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in told.read_text().split()]


@contextlib.contextmanager
def serving(file, **environ):
    served = Served(file, **environ)
    try:
        yield served
    finally:
        served.process.terminate()
        try:
            served.process.wait(20)
        finally:
            served.process.kill()


def write(folder, upstream, **more):
    file = folder / "sluice.yaml"
    server = {"bind": "127.0.0.1:0", "metrics_bind": None, "drain_s": 2} | more.pop("server", {})
    file.write_text(yaml.safe_dump(configuration(upstream, **more, server=server)))
    return file


def ask(url, **more):
    return requests.post(f"{url}/getAnwser", json={"question": "hello"} | more, timeout=10)


def test_it_says_where_it_is_answers_and_leaves_nothing_behind(tmp_path, upstream):
    with serving(write(tmp_path, upstream)) as served:
        assert "event: done" in ask(served.url).text
        children = served.children()
        assert children
    assert served.process.returncode == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_metrics_and_the_log_tell_every_end_with_the_same_cause(tmp_path, upstream):
    port = free_port()
    file = write(tmp_path, upstream, plans={"cut": "cut"}, server={"metrics_bind": f"127.0.0.1:{port}"})
    with serving(file, SLUICE_LOGGING=str(ROOT / "logging.yaml")) as served:
        ask(served.url)
        ask(served.url, provider="cut")
        served.line(r'"cause":"truncated"')
        told = [json.loads(line) for line in served.lines if line.startswith('{"time"')]
        assert [line["cause"] for line in told] == ["stop", "truncated"]
        page = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        figures = dict(re.findall(r"^(sluice_streams\S*) (\S+)$", page, re.MULTILINE))
        assert float(figures["sluice_streams_started_total"]) == 2
        assert float(figures['sluice_streams_ended_total{cause="stop"}']) == 1
        assert float(figures['sluice_streams_ended_total{cause="truncated"}']) == 1
        assert float(figures["sluice_streams_in_flight"]) == 0
        assert re.search(r'sluice_first_token_seconds_count\{provider="vllm"\} 1', page)
        assert "sluice_event_loop_stall_seconds_bucket" in page
        assert requests.get(f"{served.url}/metrics", timeout=5).status_code == 404


def test_reloading_takes_the_new_file_and_keeps_the_old_one_where_it_is_bad(tmp_path, upstream):
    file = write(tmp_path, upstream)
    with serving(file) as served:
        assert ask(served.url, provider="other").status_code == 400
        write(tmp_path, upstream, plans={"other": "comments"})
        before, old = len(served.lines), served.children()
        served.process.send_signal(signal.SIGHUP)
        served.line("the configuration was read again", after=before)
        deadline = time.monotonic() + 20
        while set(old) & set(served.children()):
            assert time.monotonic() < deadline, "the old workers never left"
            time.sleep(0.02)
        assert ask(served.url, provider="other").status_code == 200
        file.write_text("providers: {a: {type: nothing}}")
        before = len(served.lines)
        served.process.send_signal(signal.SIGHUP)
        served.line("the configuration is bad, the old one stays: providers.a.type", after=before)
        assert ask(served.url, provider="other").status_code == 200


def test_gunicorn_with_the_shipped_file_is_the_same_server(tmp_path, upstream):
    file = write(tmp_path, upstream)
    command = [sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py", "wsgi:app"]
    environ = os.environ | {"SLUICE_CONFIG": str(file)}
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        url = re.search(r"http://\S+", next(line for line in process.stdout if "ready on" in line)).group()
        assert "event: done" in ask(url).text
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        ("providers: {a: {type: nothing}}", [], "providers.a.type: unknown type"),
        (
            "default: a\nproviders: {a: {type: openai, model: m, base_url: 'http://x'}}",
            ["--bind", "0.0.0.0:1"],
            "auth.keys",
        ),
    ],
)
def test_a_start_that_cannot_be_is_refused_in_a_sentence(tmp_path, content, arguments, told):
    (tmp_path / "c.yaml").write_text(content)
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(tmp_path / "c.yaml"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
