"""Whether a slow database delays other streams: `python -m benchmarks.slow_database [--url URL]`.

A scripted upstream, Sluice as it is shipped and a client, each a process of its own. So many streams carry a time stamp
every 20 ms; after a while 200 plain chats come at once, and then 200 questions whose statement runs into its limit. How
late the stamps arrive in each phase is the figure. A database has the demo's tables, or a view `slow` that only waits.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import gevent
import yaml
from gevent import pywsgi
from gevent import socket as cooperative

ROOT = Path(__file__).resolve().parent.parent
EVERY_S = 0.02
SLOW = "SELECT COUNT(*) FROM riders a, riders b, riders c, riders d WHERE a.entries + b.exits + c.entries + d.exits = 7"


WAITING = "SELECT COUNT(*) FROM slow"


def upstream(port: int, seconds: float, sql: str) -> None:
    """An OpenAI-compatible server: model `stamps` says what time it is, any other gives a slow statement."""

    def frame(text: str | None, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish_reason}
        return b"data: " + json.dumps({"id": "x", "choices": [choice]}).encode() + b"\n\n"

    def answer(environ: dict[str, Any], start: Any) -> Iterator[bytes]:
        asked = json.load(environ["wsgi.input"])
        start("200 OK", [("Content-Type", "text/event-stream")])
        if asked["model"] == "stamps":
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                yield frame(f"{time.monotonic()} ")
                gevent.sleep(EVERY_S)
        else:
            yield frame(f"```sql\n{sql}\n```")
        yield frame(None, "stop") + b"data: [DONE]\n\n"

    pywsgi.WSGIServer(("127.0.0.1", port), answer, log=None).serve_forever()


def ask(port: int, question: dict[str, Any], read: Any) -> None:
    """Ask, and give each event's name and data to `read`."""
    body = json.dumps(question).encode()
    with cooperative.create_connection(("127.0.0.1", port)) as link:
        head = f"POST /getAnwser HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        link.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        name = ""
        for line in link.makefile("rb"):
            if line.startswith(b"event: "):
                name = line[7:].decode().strip()
            elif line.startswith(b"data: "):
                read(name, json.loads(line[6:]))
                name = ""
            elif line.startswith(b'{"error"'):
                read("failed", json.loads(line)["error"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextlib.contextmanager
def gateway(upstream_port: int, url: str, timeout_s: float) -> Iterator[int]:
    """Sluice on a free port, with one worker."""
    port = free_port()
    models = {
        name: {"type": "openai", "base_url": f"http://127.0.0.1:{upstream_port}/v1", "model": name}
        for name in ("stamps", "sql")
    }
    reason = "a benchmark on throwaway data"
    database = {"url": url, "tables": ["riders", "slow"], "timeout_s": timeout_s, "unsafe_role": reason}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sluice.yaml"
        server = {"bind": f"127.0.0.1:{port}", "metrics_bind": None}
        file.write_text(
            yaml.safe_dump({"server": server, "default": "sql", "providers": models, "databases": {"metro": database}})
        )
        environ = os.environ | {"SLUICE_CONFIG": str(file), "SLUICE_RUN_DIR": str(Path(folder) / "run")}
        command = [sys.executable, "-m", "gunicorn", "-c", "gateway/server/gunicorn_conf.py", "wsgi:app"]
        with (Path(folder) / "log").open("wb") as log:
            running = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert running.poll() is None, (Path(folder) / "log").read_text()
                time.sleep(0.05)
            yield port
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait()


def measure(port: int, streams: int, questions: int, quiet_s: float) -> tuple[dict[str, list[float]], Counter[str]]:
    """How late stamps came, in ms: in quiet, while as many plain chats came at once, while the questions ran.

    Also how the questions ended.
    """
    late: dict[str, list[float]] = {"quiet": [], "plain chats": [], "slow database": [], "rest": []}
    phase, ends = "quiet", Counter[str]()

    def stamp(name: str, data: dict[str, Any]) -> None:
        if name == "" and "text" in data:
            now = time.monotonic()
            late[phase].extend((now - float(word)) * 1000 for word in data["text"].split())

    def end(name: str, data: dict[str, Any]) -> None:
        if name in ("done", "failed"):
            ends[data.get("code", name)] += 1

    def at_once(read: Any, **fields: str) -> None:
        gevent.joinall([gevent.spawn(ask, port, {"question": f"{n}?", **fields}, read) for n in range(questions)])

    reader = {"question": "?", "provider": "stamps", "database": "none"}
    readers = [gevent.spawn(ask, port, reader, stamp) for _ in range(streams)]
    gevent.sleep(quiet_s)
    phase = "plain chats"
    at_once(lambda name, data: None, database="none")
    gevent.sleep(1)
    phase = "slow database"
    at_once(end)
    phase = "rest"
    gevent.joinall(readers)
    return late, ends


def figures(late: list[float]) -> str:
    ordered = sorted(late)
    return (
        f"p50 {ordered[len(ordered) // 2]:.1f}, p99 {ordered[int(len(ordered) * 0.99)]:.1f}, max {ordered[-1]:.1f} ms"
    )


@click.command()
@click.option("--url", "urls", multiple=True, help="A database with the demo's tables; the demo itself if left out.")
@click.option("--waits", is_flag=True, help="Ask the view `slow`, which only waits, instead of one that computes.")
@click.option("--streams", default=20, show_default=True)
@click.option("--questions", default=200, show_default=True)
@click.option("--timeout-s", default=5.0, show_default=True)
@click.option(
    "--seconds", default=18.0, show_default=True, help="How long the streams go on; a quarter of it in quiet."
)
def main(urls: tuple[str, ...], waits: bool, streams: int, questions: int, timeout_s: float, seconds: float) -> None:
    """How late tokens come while a slow database is asked."""
    for url in urls or (f"sqlite:///{ROOT / 'demo/metro/metro.db'}",):
        port = free_port()
        serving = multiprocessing.get_context("spawn").Process(
            target=upstream, args=(port, seconds, WAITING if waits else SLOW), daemon=True
        )
        serving.start()
        try:
            with gateway(port, url, timeout_s) as gateway_port:
                late, ends = measure(gateway_port, streams, questions, seconds / 4)
        finally:
            serving.terminate()
        click.echo(f"{url.partition(':')[0]}: {streams} streams, {questions} questions at once, limit {timeout_s:g} s")
        for phase in ("quiet", "plain chats", "slow database"):
            click.echo(f"  late, {phase:14} {figures(late[phase])}")
        click.echo(f"  the questions ended as {dict(ends)}")


if __name__ == "__main__":
    main()
