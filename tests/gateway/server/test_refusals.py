"""What is refused before the application sees it: as JSON, nothing of the request repeated, the worker goes on."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from tests.gateway.configurations import configuration
from tests.gateway.live import ROOT, Live
from tests.ports import free_port
from tests.waiting import eventually

SECRET = "sk-canary-0123456789"


@pytest.fixture(scope="module")
def live(upstream):
    with Live(configuration(upstream)) as running:
        yield running


def send(live, data):
    """The status, the headers and the body of what comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", live.port), 20) as sock:
        sock.settimeout(20)
        sock.sendall(data)
        got = b""
        while piece := sock.recv(65536):
            got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body


HEAD = b"POST /getAnwser HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
UNREADABLE = {
    "no request": (f"{SECRET}\r\n\r\n".encode(), 400, "bad_request"),
    "a malformed method": (b"G@T / HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "HTTP/3": (b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n", 505, "bad_request"),
    "a line too long": (b"GET /?" + b"q" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "too_large"),
    "a field too long": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431, "too_large"),
    "too many fields": (
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(150)) + b"\r\n",
        431,
        "too_large",
    ),
    "a malformed field": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX y: z\r\n\r\n", 400, "bad_request"),
    "an unknown transfer coding": (HEAD + b"Transfer-Encoding: foo\r\n\r\n", 501, "bad_request"),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400, "bad_request"),
    "a malformed chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400, "bad_request"),
    "a chunk longer than its size": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n", 400, "bad_request",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_refused_as_json_and_repeated_nowhere(live, what, upstream):
    data, status, code = UNREADABLE[what]
    got, headers, body = send(live, data)
    error = json.loads(body)["error"]
    assert (got, error["code"], headers["content-type"]) == (status, code, "application/json")
    # The address may be unknown, so OpenAI's own members are there as well, unless it was read.
    assert set(error) - {"type", "param"} == {"code", "message", "retryable", "retry_after", "request_id"}
    assert SECRET not in body.decode() + live.log.read_text("utf-8")
    assert "Traceback" not in live.log.read_text("utf-8")
    assert upstream.asked == []
    assert "location" not in headers


ELSEWHERE = ["//evil.example/", "//v1/models", "/v1//models", "/page", "/conversation", "/healthz/"]


@pytest.mark.parametrize("path", ELSEWHERE)
def test_no_address_leads_elsewhere(live, path):
    status, headers, _ = send(live, b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
    assert status in (200, 404, 405) and "location" not in headers


def test_a_million_chunks_of_one_byte_delay_nobody(live):
    """gunicorn's own reader held the worker for 14 s."""
    late, ended = [], threading.Event()

    def probe():
        while not ended.is_set():
            began = time.monotonic()
            with live.call("GET", "/healthz") as reply:
                assert reply.status == 200
            late.append(time.monotonic() - began)
            time.sleep(0.02)

    watching = threading.Thread(target=probe)
    watching.start()
    try:
        chunks = b"1\r\n \r\n" * 900_000 + b"0\r\n\r\n"
        status, _, body = send(live, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    finally:
        ended.set()
        watching.join()
    assert (status, json.loads(body)["error"]["code"]) == (400, "bad_request")
    assert len(late) > 10
    # The probe's own connection, and a machine that runs other tests, included.
    assert sorted(late)[len(late) * 9 // 10] < 0.5


BOMB = ["a: &a [x,x,x,x,x,x,x,x]"]
BOMB += [f"{b}: &{b} [{','.join([f'*{a}'] * 8)}]" for a, b in itertools.pairwise("abcdefghi")]
BAD_FILES = {
    "a date that does not exist": "text2sql: {language: 2026-02-30}",
    "an anchor in itself": "limits: &s {requests: [*s]}",
    "a bomb of aliases": "\n".join(BOMB),
    "nesting without end": "limits: " + "[" * 3000,
    "a number without end": f"limits: {{streams_per_key: {'9' * 10_000}}}",
    "no text": "\x00",
    "a tag": "limits: !!python/object/apply:os.system [exit]",
    "nothing": "- 1",
}


def test_a_reload_of_a_broken_file_keeps_the_old_one(upstream):
    with Live(configuration(upstream)) as live:
        good = live.file.read_text("utf-8")
        for n, (what, text) in enumerate(BAD_FILES.items(), 1):
            live.file.write_text(text if what in ("no text", "nothing") else f"{good}\n{text}\n")
            os.kill(live.process.pid, signal.SIGHUP)
            eventually(lambda n=n: live.log.read_text("utf-8").count("the old one stays") >= n, 20)
            assert live.process.poll() is None, what
            with live.ask() as reply:
                assert reply.status == 200 and b"event: done" in reply.body(), what
        assert "Traceback" not in live.log.read_text("utf-8")


def test_a_unix_socket_is_its_owners_and_its_groups(upstream, tmp_path):
    import yaml

    file, path = tmp_path / "sluice.yaml", tmp_path / "sluice.sock"
    server = {"bind": f"unix:{path}", "metrics_bind": None}
    file.write_text(yaml.safe_dump(configuration(upstream, server=server)))
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == f"sluice: ready on unix:{path}\n"
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
        finally:
            process.terminate()


FEW = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (110, 110))
sys.argv = ["sluice", "serve", "--config", sys.argv[1]]
runpy.run_module("gateway.cli", run_name="__main__")
"""


def test_out_of_descriptors_is_overloaded_and_no_fault_of_the_upstream(upstream, tmp_path):
    import yaml

    port = free_port()
    file = tmp_path / "sluice.yaml"
    server = {"bind": f"127.0.0.1:{port}", "metrics_bind": None}
    file.write_text(yaml.safe_dump(configuration(upstream, {"stuck": "hang=between"}, server=server)))
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", FEW, str(file)], cwd=ROOT, stdout=log, stderr=log)
    try:
        said = tmp_path / "log"
        eventually(lambda: "ready on" in said.read_text("utf-8"), 60)
        assert "2000 streams need about 4128 open files, and this process may have 110" in said.read_text()
        codes, held = [], []
        body = b'{"question": "hi", "provider": "stuck", "database": "none"}'
        for _ in range(140):
            sock = socket.create_connection(("127.0.0.1", port), 20)
            sock.settimeout(20)
            sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            held.append(sock)
        for sock in held:
            head = sock.recv(200)
            codes.append(head[9:12].decode())
        assert set(codes) == {"200", "503"}
        for sock in held:
            sock.close()
        assert "Traceback" not in said.read_text()
        # The upstream was never at fault: the next question is answered.
        eventually(lambda: asked(port) == 200, 20)
    finally:
        process.terminate()
        process.wait(30)


def asked(port):
    import requests

    return requests.post(f"http://127.0.0.1:{port}/getAnwser", json={"question": "hi"}, timeout=20).status_code
