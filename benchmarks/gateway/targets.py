"""What is measured side by side: each target is started in front of the same upstream, with one worker."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.streams import ROOT, children, free_port, nginx, wait_for

CORES = sorted(os.sched_getaffinity(0))


def on_core(number: int, command: list[str]) -> list[str]:
    """The command on one core alone, where there are several and taskset is here."""
    if len(CORES) < 2 or shutil.which("taskset") is None:
        return command
    return ["taskset", "-c", str(CORES[number % len(CORES)]), *command]


@contextlib.contextmanager
def _gunicorn(folder: Path, port: int, arguments: list[str], environ: dict[str, str]) -> Iterator[int]:
    command = on_core(0, [sys.executable, "-m", "gunicorn", *arguments])
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environ, stdout=log, stderr=log)
    try:
        wait_for(port)
        time.sleep(1)
        yield children(process.pid)[0]
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def sluice(upstream_port: int, folder: Path, **more: Any) -> Iterator[tuple[int, int]]:
    """Sluice as it is shipped: (port, its worker's process). more: members of `server:`."""
    port = free_port()
    server = {"bind": f"127.0.0.1:{port}", "metrics_bind": None, "max_streams": 10_000, "heartbeat_s": 30} | more
    row = {"type": "openai", "base_url": f"http://127.0.0.1:{upstream_port}/v1", "model": "m"}
    file = folder / "sluice.yaml"
    file.write_text(yaml.safe_dump({"server": server, "default": "m", "providers": {"m": row}}), "utf-8")
    environ = {"SLUICE_CONFIG": str(file), "SLUICE_RUN_DIR": str(folder / "run")}
    with _gunicorn(folder, port, ["-c", "gateway/server/gunicorn_conf.py", "wsgi:app"], environ) as pid:
        yield port, pid


@contextlib.contextmanager
def relay(upstream_port: int, folder: Path) -> Iterator[tuple[int, int]]:
    """The minimal Flask relay of relay.py, under gunicorn with gevent."""
    port = free_port()
    arguments = [
        "-k",
        "gevent",
        "--worker-connections",
        "10000",
        "-b",
        f"127.0.0.1:{port}",
        "benchmarks.gateway.relay:app",
    ]
    with _gunicorn(folder, port, arguments, {"UPSTREAM": f"http://127.0.0.1:{upstream_port}/v1"}) as pid:
        yield port, pid


@contextlib.contextmanager
def probe(upstream_port: int, folder: Path) -> Iterator[tuple[int, int]]:
    """The least that Python under gevent can do: probe.py."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.gateway.probe", str(port), str(upstream_port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(on_core(0, command), cwd=ROOT, stdout=log, stderr=log)
    try:
        wait_for(port)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def direct(upstream_port: int, folder: Path) -> Iterator[tuple[int, int]]:
    """The upstream itself: what the load client and the upstream can do, and the latency that is not a gateway's."""
    yield upstream_port, os.getpid()


# name → how it is started, and what it is asked: OpenAI's route ("v1") or our own events ("sse")
TARGETS = {
    "direct": (direct, "v1"),
    "nginx": (nginx, "v1"),
    "probe": (probe, "v1"),
    "flask": (relay, "v1"),
    "sluice /v1": (sluice, "v1"),
    "sluice /getAnwser": (sluice, "sse"),
}
