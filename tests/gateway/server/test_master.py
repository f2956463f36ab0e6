"""`sluice serve` as a person runs it: it starts, says where, reloads, keeps its metrics, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import itertools
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

from gateway.server import children
from tests.gateway.configurations import configuration
from tests.ports import free_port
from tests.reliability.rig import answers
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]


class Served:
    """A running `sluice serve`: its URL, and the lines that it has printed so far."""

    def __init__(self, file, **environ):
        command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(file)]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
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

    def line(self, pattern, timeout_s=60, after=0):
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
            served.process.wait(60)
        finally:
            served.process.kill()


def write(folder, upstream, **more):
    file = folder / "sluice.yaml"
    server = {"bind": "127.0.0.1:0", "metrics_bind": None, "drain_s": 2} | more.pop("server", {})
    file.write_text(yaml.safe_dump(configuration(upstream, **more, server=server)))
    return file


def ask(url, **more):
    return requests.post(f"{url}/getAnwser", json={"question": "hello"} | more, timeout=30)


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
        served.line(r'"cause":"stop"')
        ask(served.url, provider="cut")
        served.line(r'"cause":"truncated"')
        eventually(lambda: answers(port), 30)
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
        eventually(lambda: not set(old) & set(served.children()), 60)
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
        process.wait(60)


PLAIN = "default: a\nproviders: {a: {type: openai, model: m, base_url: 'http://x'}}\n"
SLUICE = ["gateway.cli", "serve"]
GUNICORN = ["gunicorn", "-c", "deploy/gunicorn.conf.py", "wsgi:app"]


@pytest.mark.parametrize(
    ("command", "environ"),
    [
        (SLUICE, {"SLUICE_BIND": "0.0.0.0:0"}),
        (SLUICE, {"GUNICORN_CMD_ARGS": "-b 0.0.0.0:0"}),
        (GUNICORN, {"SLUICE_BIND": "0.0.0.0:0"}),
        ([*GUNICORN, "-b", "127.0.0.1:0", "-b", "[::]:0"], {}),
    ],
)
def test_an_address_that_others_reach_is_refused_without_a_key_however_it_was_told(tmp_path, command, environ):
    (tmp_path / "c.yaml").write_text(PLAIN + "server: {metrics_bind: null, bind: '127.0.0.1:0'}")
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | {"SLUICE_CONFIG": str(tmp_path / "c.yaml")} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "can be reached from other machines, so at least one key is needed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reload_that_takes_the_last_key_from_an_open_address_keeps_the_old_configuration(tmp_path, upstream):
    write(tmp_path, upstream, auth={"keys": ["0" * 64]})
    with serving(tmp_path / "sluice.yaml", GUNICORN_CMD_ARGS="-b 0.0.0.0:0") as served:
        write(tmp_path, upstream)
        served.process.send_signal(signal.SIGHUP)
        served.line("the configuration is bad, the old one stays: auth.keys: 0.0.0.0:0 can be reached")
        assert ask(served.url).status_code == 401


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGQUIT])
def test_an_interrupt_ends_every_stream_and_everything_at_once(tmp_path, upstream, sig):
    file = write(
        tmp_path,
        upstream,
        plans={"long": "count=4000,pace=0.02"},
        server={"drain_s": 60, "workers": 2, "metrics_bind": f"127.0.0.1:{free_port()}"},
    )
    with serving(file) as served, contextlib.ExitStack() as stack:
        asked = {"question": "hello", "provider": "long"}
        replies = [
            stack.enter_context(requests.post(f"{served.url}/getAnwser", json=asked, stream=True, timeout=30))
            for _ in range(6)
        ]
        children = served.children()
        began = time.monotonic()
        # As a terminal does it: to everybody.
        os.killpg(served.process.pid, sig)
        for reply in replies:
            # A body that was cut raises here.
            *_, name, data = [line for line in reply.iter_lines(decode_unicode=True) if line]
            assert (name, json.loads(data.removeprefix("data: "))["code"]) == ("event: failed", "shutting_down")
        assert served.process.wait(30) == 0
        assert time.monotonic() - began < 40
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not [line for line in served.lines if "Traceback" in line or "Error" in line], served.lines


def test_a_second_interrupt_kills(tmp_path, upstream):
    with serving(write(tmp_path, upstream, server={"drain_s": 600})) as served:
        for worker in served.children():
            os.kill(worker, signal.SIGSTOP)
        deadline = time.monotonic() + 60
        while served.process.poll() is None:
            assert time.monotonic() < deadline
            os.killpg(served.process.pid, signal.SIGINT)
            time.sleep(0.3)
        assert not [line for line in served.lines if "Traceback" in line]


def test_whoever_connected_while_the_workers_started_is_answered_though_the_server_stops(tmp_path, upstream):
    port = free_port()
    # A worker that still starts drain_s after the signal is killed, and on a busy machine a start takes seconds.
    file = write(tmp_path, upstream, server={"bind": f"127.0.0.1:{port}", "drain_s": 60})
    command = [sys.executable, "-m", *GUNICORN]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"SLUICE_CONFIG": str(file)})
    try:
        with eventually(lambda: socket.create_connection(("127.0.0.1", port), 40), 60, every_s=0.005) as sock:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            process.terminate()
            assert sock.recv(12) == b"HTTP/1.1 200"
        assert process.wait(60) == 0
    finally:
        process.kill()


def test_reloads_that_follow_closely_are_no_errors(tmp_path, upstream):
    with serving(write(tmp_path, upstream)) as served:
        for _ in range(3):
            before = len(served.lines)
            served.process.send_signal(signal.SIGHUP)
            served.line("the configuration was read again", after=before)
        # The youngest is the only one that stays.
        eventually(lambda: len(served.children()) <= 1, 60)
        assert "event: done" in ask(served.url).text
    assert not [line for line in served.lines if "ERROR" in line], served.lines


def test_the_metrics_listener_is_started_again_when_it_dies(tmp_path, upstream):
    port = free_port()
    with serving(write(tmp_path, upstream, server={"metrics_bind": f"127.0.0.1:{port}"})) as served:
        deadline = time.monotonic() + 60
        killed = 0
        while True:
            assert time.monotonic() < deadline
            time.sleep(0.05)
            with contextlib.suppress(requests.ConnectionError):
                requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).raise_for_status()
                if killed:
                    break
                (killed,) = [
                    pid
                    for pid in served.children()
                    if b"gateway.observability.metrics" in Path(f"/proc/{pid}/cmdline").read_bytes()
                ]
                os.kill(killed, signal.SIGKILL)
                served.line("the metrics listener has died")
        assert "event: done" in ask(served.url).text


def test_a_process_that_dies_over_and_over_is_started_ever_more_rarely(caplog):
    now = [0.0]
    started = []

    def start():
        started.append(now[0])
        ended = subprocess.Popen(["true"])
        ended.wait()
        return ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children.time, "monotonic", lambda: now[0])
        child = children.Child("it", "", start)
        for _ in range(2000):
            now[0] += 0.1
            child.check()
    between = [round(later - earlier) for earlier, later in itertools.pairwise(started)]
    assert between[:7] == [1, 1, 2, 4, 8, 16, 30]
    assert caplog.text.count("it has died") >= 7


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        ("providers: {a: {type: nothing}}", [], "providers.a.type: must be one of"),
        (
            PLAIN,
            ["--bind", "0.0.0.0:1"],
            "auth.keys",
        ),
    ],
)
def test_a_start_that_cannot_be_is_refused_in_a_sentence(tmp_path, content, arguments, told):
    (tmp_path / "c.yaml").write_text(content)
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(tmp_path / "c.yaml"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
