"""The gateway beside others, in one run: `python -m benchmarks.gateway [--write]`.

An upstream and a load client in C (built here; `direct` shows that they are no bottleneck), and each target in front of
the same upstream with one worker on a core of its own. CPU is what the kernel counts for the worker. Divide figures of
one run only: the machine's noise is in all of them. Without a C compiler use `python -m benchmarks.streams`.

burst      64 streams of 200 chunks as fast as they come, twice: µs of CPU per chunk
paced      200 streams, each 50 chunks a second for 5 s: µs of CPU per chunk; ms added at the 99th percentile
question   one client, 300 replies of 3 chunks one after the other: ms of CPU each; ms to the first chunk (median)
held       streams that begin within a second, each 50 chunks a second: ms added at the 99th percentile
memory     PSS of the worker with no stream, and what 500 open streams add, per stream
overload   1,500 questions that come at once, then one after the other 200 calm ones: how many of each were answered
churn      20,000 short streams: what they add to the worker's PSS. An ended answer is kept (`server.log_age_s`), so
           this is measured with log_age_s = 1, after the answers have left

Every chunk is numbered: `wrong` counts those lost, doubled or reordered, and replies that failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from benchmarks.gateway.targets import TARGETS, on_core, sluice
from benchmarks.streams import cpu_s, free_port, wait_for

HERE = Path(__file__).parent
RESULT = HERE.parent / "results" / "gateway.md"


@dataclass
class Run:
    """streams at once, questions on each, ms in which they begin, chunks of a reply, µs between chunks (0: none)."""

    streams: int
    rounds: int
    ramp_ms: int
    chunks: int
    every_us: int


RUNS = {
    "burst": Run(64, 2, 10, 200, 0),
    "paced": Run(200, 1, 1000, 250, 20_000),
    "question": Run(1, 300, 0, 3, 0),
    "held 500": Run(500, 1, 1000, 250, 20_000),
    "held 1000": Run(1000, 1, 1000, 250, 20_000),
}


def build(folder: Path) -> None:
    """Compile the upstream and the load client."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("benchmarks.gateway: needs a C compiler; without one: python -m benchmarks.streams")
    for name in ("upstream", "client"):
        command = [compiler, "-O2", "-D_GNU_SOURCE", "-o", str(folder / name), str(HERE / f"{name}.c")]
        subprocess.run(command, check=True)


@contextlib.contextmanager
def upstream(folder: Path, chunks: int, every_us: int) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(on_core(1, [str(folder / "upstream"), str(port), str(chunks), str(every_us)]))
    try:
        wait_for(port)
        yield port
    finally:
        process.kill()
        process.wait()


def load(folder: Path, port: int, path: str, run: Run) -> subprocess.Popen[str]:
    numbers = [port, path, run.streams, run.rounds, run.ramp_ms, run.chunks]
    command = on_core(1, [str(folder / "client"), *map(str, numbers)])
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def pss_kb(pid: int) -> int:
    """The process's memory, its shared pages counted in parts."""
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def measured(folder: Path, target: str, run: Run) -> dict[str, Any]:
    """One run at one target, after a short one that warms it up."""
    started, path = TARGETS[target]
    with (
        tempfile.TemporaryDirectory() as name,
        upstream(folder, run.chunks, run.every_us) as upstream_port,
        started(upstream_port, Path(name)) as (port, pid),
    ):
        load(folder, port, path, Run(min(run.streams, 8), 1, 10, run.chunks, 0)).communicate()
        idle_kb, before = pss_kb(pid), cpu_s(pid)
        running = load(folder, port, path, run)
        time.sleep(3 if run.every_us else 0)
        open_kb = pss_kb(pid)
        found: dict[str, Any] = json.loads(running.communicate()[0])
        found["cpu_s"] = cpu_s(pid) - before
    whole = run.streams * run.rounds
    found["wrong"] += found["failed"] + whole - found["complete"]
    return found | {"idle_kb": idle_kb, "kb_per_stream": (open_kb - idle_kb) / run.streams}


OVERLOAD, CALM = Run(1500, 1, 0, 3, 0), Run(1, 200, 0, 3, 0)
WARM, CHURN = Run(64, 32, 0, 3, 0), Run(64, 313, 0, 3, 0)


def overload(folder: Path) -> str:
    """How Sluice behaves while and after more questions come than it can take."""
    started, path = TARGETS["sluice /v1"]
    with (
        tempfile.TemporaryDirectory() as name,
        upstream(folder, 3, 0) as upstream_port,
        started(upstream_port, Path(name)) as (port, _),
    ):
        load(folder, port, path, Run(8, 1, 10, 3, 0)).communicate()
        many = json.loads(load(folder, port, path, OVERLOAD).communicate()[0])
        calm = json.loads(load(folder, port, path, CALM).communicate()[0])
    return (
        f"Overload: of {OVERLOAD.streams:,} questions at once {many['complete']:,} were answered and the rest refused; "
        f"of the {CALM.rounds} calm ones after them {calm['complete']}."
    )


def churn(folder: Path) -> str:
    """What many short streams leave in the worker's memory."""
    with (
        tempfile.TemporaryDirectory() as name,
        upstream(folder, 3, 0) as upstream_port,
        sluice(upstream_port, Path(name), log_age_s=1) as (port, pid),
    ):
        load(folder, port, "v1", WARM).communicate()
        time.sleep(3)
        before = pss_kb(pid)
        count = json.loads(load(folder, port, "v1", CHURN).communicate()[0])["complete"]
        time.sleep(3)
        return f"Churn: {count:,} short streams took the worker from {before:,} to {pss_kb(pid):,} KB of PSS."


def row(folder: Path, target: str) -> list[str]:
    """The target's line of the table; `–` where a figure means nothing."""
    results = {}
    for name, run in RUNS.items():
        results[name] = measured(folder, target, run)
        print(f"{target:<18} {name:<10} {json.dumps(results[name])}", file=sys.stderr, flush=True)
    is_direct = target == "direct"

    def per(name: str, unit: float, count: int) -> str:
        return "–" if is_direct else f"{results[name]['cpu_s'] * unit / count:.2f}"

    question, held = results["question"], results["held 500"]
    return [
        target,
        per("burst", 1e6, max(1, results["burst"]["tokens"])),
        per("paced", 1e6, max(1, results["paced"]["tokens"])),
        *(f"{results[name]['late_p99'] / 1e3:.1f}" for name in ("paced", "held 500", "held 1000")),
        per("question", 1e3, RUNS["question"].rounds),
        f"{question['first_p50'] / 1e3:.2f}",
        "–" if is_direct else f"{held['idle_kb'] / 1024:.0f} + {held['kb_per_stream']:.0f}",
        str(sum(result["wrong"] for result in results.values())),
    ]


HEADER = [
    "target", "burst µs/chunk", "paced µs/chunk", "paced p99 ms", "500 held p99 ms", "1,000 held p99 ms",
    "CPU ms/question", "first chunk ms", "PSS MB + KB/stream", "wrong",
]  # fmt: skip


def _build() -> str:
    """How this Python was built, which is worth more than most changes here."""
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    named = [name for name in ("--enable-optimizations", "--with-lto") if name in options]
    return f"built with {' '.join(named)}" if named else "built without PGO and LTO"


@click.command(help=__doc__)
@click.option("--target", "targets", multiple=True, type=click.Choice(list(TARGETS)), default=list(TARGETS))
@click.option("--write", is_flag=True, help="Write benchmarks/results/gateway.md.")
@click.option("--minutes", default=10.0, help="No further target begins after so long.")
def main(targets: tuple[str, ...], write: bool, minutes: float) -> None:
    until = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder)
        rows = []
        for target in targets:
            if target == "nginx" and shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") is None:
                print("nginx is left out: it is not here", file=sys.stderr)
                continue
            # A target takes about a minute, and the two runs of Sluice alone that follow take one together.
            if time.monotonic() > until - 120:
                print(f"{target} is left out: the {minutes:g} minutes are over", file=sys.stderr)
                continue
            rows.append(row(folder, target))
        alone = [overload(folder), churn(folder)] if any(target.startswith("sluice") for target in targets) else []
    lines = [f"| {' | '.join(cells)} |" for cells in (HEADER, ["---"] * len(HEADER), *rows)]
    busy, _, _ = os.getloadavg()
    machine = (
        f"{time.strftime('%Y-%m-%d')} · `python -m benchmarks.gateway` · {platform.machine()}, {os.cpu_count()} cores, "
        f"load {busy:.1f} at the end\n\nPython {' '.join(sys.version.split())}, {_build()} · "
        f"gunicorn {version('gunicorn')}, gevent {version('gevent')}, msgspec {version('msgspec')}, "
        f"Flask {version('flask')}"
    )
    text = f"# The gateway beside others\n\n{machine}\n\n" + "\n".join([*lines, "", *alone]) + "\n"
    print(text)
    if write:
        RESULT.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
