"""What a chunk costs on its way through one worker, against nginx doing the same: `python -m benchmarks.streams`.

An upstream that sends vLLM's frames and a client that reads them, each an event loop of its own process, with Sluice
or nginx (`proxy_buffering off`) between them. CPU is what the kernel counts for the worker; divide figures of one run
only, the machine's noise is in all of them.

paced   so many streams, each 50 chunks/s in writes of their own
burst   64 streams of 200 chunks as fast as they come
idle    streams that are open and say nothing: memory for each
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import yaml

ROOT = Path(__file__).resolve().parent.parent
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
QUESTION = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


def frame(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    """One of vLLM's frames, as one chunk of the body."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    about = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    data = b"data: " + json.dumps(about).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


FIRST = frame({"role": "assistant", "content": ""})
TOKEN = frame({"content": " token"})
LAST = frame({"content": ""}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@dataclass
class Stream:
    sock: socket.socket
    received: bytes = b""
    left: int = -1
    due: float = 0.0


def upstream(listener: socket.socket, chunks: int, every_s: float) -> None:
    """Serve for ever: `chunks` tokens to each client, `every_s` apart, or all with the head where that is 0."""
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    streams: dict[int, Stream] = {}
    while True:
        now = time.monotonic()
        running = [stream for stream in streams.values() if stream.left >= 0]
        wait = min((stream.due for stream in running), default=now + 1) - now
        for fd, _ in poll.poll(max(0.0, wait)):
            if fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                streams[sock.fileno()] = Stream(sock)
                poll.register(sock, select.EPOLLIN)
                continue
            if not _read(streams[fd], chunks, every_s):
                poll.unregister(fd)
                streams.pop(fd).sock.close()
        now = time.monotonic()
        for stream in streams.values():
            if stream.left >= 0 and stream.due <= now:
                with contextlib.suppress(OSError):
                    stream.sock.sendall(TOKEN if stream.left else LAST)
                stream.left -= 1
                stream.due += every_s


def _read(stream: Stream, chunks: int, every_s: float) -> bool:
    try:
        data = stream.sock.recv(65536)
    except OSError:
        return False
    stream.received += data
    head, end, body = stream.received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    if end and length and len(body) >= int(length[1]):
        stream.received = b""
        try:
            stream.sock.sendall(HEAD + FIRST)
            if every_s:
                # Spread over the period, so that writes do not come in volleys.
                stream.left, stream.due = chunks, time.monotonic() + every_s * (stream.sock.fileno() % 97) / 97
                return True
            for start in range(0, chunks, 10):
                stream.sock.sendall(TOKEN * min(10, chunks - start))
            stream.sock.sendall(LAST)
        except OSError:
            return False
    return bool(data)


@dataclass
class Seen:
    complete: int = 0
    tokens: int = 0
    first_s: list[float] = field(default_factory=list)


def client(port: int, path: str, streams: int, rounds: int, ramp_s: float) -> Seen:
    """Ask `streams` questions at once, `rounds` times over, and read every answer to its end."""
    body = json.dumps(QUESTION if path.startswith("/v1") else {"question": "hi"}).encode()
    asked = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    request = asked % (path.encode(), len(body), body)
    seen = Seen()
    poll = select.epoll()
    open_at: dict[int, tuple[socket.socket, float, bytearray, int]] = {}

    def ask(sock: socket.socket, left: int) -> None:
        open_at[sock.fileno()] = sock, time.monotonic(), bytearray(), left
        sock.sendall(request)

    for _ in range(streams):
        sock = socket.create_connection(("127.0.0.1", port))
        poll.register(sock, select.EPOLLIN)
        ask(sock, rounds - 1)
        time.sleep(ramp_s / streams)
    while open_at:
        for fd, _ in poll.poll(30):
            sock, began, got, left = open_at[fd]
            data = sock.recv(1 << 18)
            if b" token" not in got and b" token" in data:
                seen.first_s.append(time.monotonic() - began)
            got += data
            if data and not got.endswith(b"\r\n0\r\n\r\n"):
                continue
            seen.tokens += got.count(b" token")
            seen.complete += b"event: done" in got or b"[DONE]" in got
            if left and data:
                ask(sock, left - 1)
            else:
                del open_at[fd]
                sock.close()
    return seen


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process has had, all threads."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def memory_kb(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextlib.contextmanager
def sluice(upstream_port: int, folder: Path) -> Iterator[tuple[int, int]]:
    """A running Sluice: (port, pid of its worker)."""
    port = free_port()
    server = {"bind": f"127.0.0.1:{port}", "metrics_bind": None, "max_streams": 10_000, "heartbeat_s": 30}
    row = {"type": "openai", "base_url": f"http://127.0.0.1:{upstream_port}/v1", "model": "m"}
    file = folder / "sluice.yaml"
    file.write_text(yaml.safe_dump({"server": server, "default": "vllm", "providers": {"vllm": row}}))
    logging = folder / "logging.yaml"
    logging.write_text("version: 1\n")
    environ = os.environ | {"SLUICE_CONFIG": str(file), "SLUICE_RUN_DIR": str(folder / "run")}
    command = [sys.executable, "-m", "gunicorn", "-c", "gateway/server/gunicorn_conf.py", "wsgi:app"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
    try:
        wait_for(port)
        yield port, children(process.pid)[0]
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def nginx(upstream_port: int, folder: Path) -> Iterator[tuple[int, int]]:
    """A running nginx that passes everything on: (port, pid of its worker)."""
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(
        f"worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; daemon off;"
        "events { worker_connections 8192; }"
        f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;"
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;"
        f"upstream u {{ server 127.0.0.1:{upstream_port}; keepalive 512; }}"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; proxy_http_version 1.1;"
        'proxy_set_header Connection ""; proxy_buffering off; } } }'
    )
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    assert program is not None, "nginx is not here"
    process = subprocess.Popen([program, "-c", str(file), "-e", str(folder / "error.log")])
    try:
        wait_for(port)
        yield port, children(process.pid)[0]
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            time.sleep(0.3)
            return
        time.sleep(0.05)
    raise TimeoutError("the server did not start")


TARGETS = {"sluice": (sluice, "/getAnwser"), "sluice-openai": (sluice, "/v1/chat/completions"), "nginx": (nginx, "/")}


def measured(target: str, streams: int, rounds: int, chunks: int, every_s: float) -> dict[str, Any]:
    """One run; CPU is counted from the first question to the end of the last answer."""
    started, path = TARGETS[target]
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        serving = multiprocessing.Process(target=upstream, args=(listener, chunks, every_s), daemon=True)
        serving.start()
        try:
            with started(listener.getsockname()[1], Path(name)) as (port, pid):
                client(port, path, min(streams, 20), 1, 0.1)
                before, memory, began = cpu_s(pid), memory_kb(pid), time.monotonic()
                seen = client(port, path, streams, rounds, 0.5 if every_s else 0.01)
                spent, wall = cpu_s(pid) - before, time.monotonic() - began
                grown = memory_kb(pid) - memory
        finally:
            serving.terminate()
    seen.first_s.sort()
    return {
        "target": target,
        "us_per_chunk": round(spent * 1e6 / max(1, seen.tokens), 2),
        "us_per_stream": round(spent * 1e6 / (streams * rounds)),
        "complete": f"{seen.complete}/{streams * rounds}",
        "lost": streams * rounds * chunks - seen.tokens,
        "first_token_ms": round(seen.first_s[len(seen.first_s) // 2] * 1e3, 2),
        "cpu": f"{100 * spent / wall:.0f}%",
        "kb_per_stream": round(grown / streams, 1),
    }


RUNS = {
    "paced": {"streams": 200, "rounds": 1, "chunks": 400, "every_s": 0.02},
    "burst": {"streams": 64, "rounds": 10, "chunks": 200, "every_s": 0.0},
    "short": {"streams": 1, "rounds": 1000, "chunks": 3, "every_s": 0.0},
}


@click.command()
@click.option("--run", "runs", multiple=True, type=click.Choice(list(RUNS)), default=list(RUNS))
@click.option("--target", "targets", multiple=True, type=click.Choice(list(TARGETS)), default=["nginx", "sluice"])
@click.option("--streams", type=int, help="Other than the run's own.")
def main(runs: tuple[str, ...], targets: tuple[str, ...], streams: int | None) -> None:
    """Print a line for each run and target."""
    for run in runs:
        for target in targets:
            wanted: dict[str, Any] = RUNS[run] | ({"streams": streams} if streams else {})
            print(run, json.dumps(measured(target, **wanted)), flush=True)


if __name__ == "__main__":
    main()
