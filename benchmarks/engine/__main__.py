"""The engine and the usual ways, side by side: `python -m benchmarks.engine --shape 50M --clients 1,4,16,64`.

Every target is given the same prompts: `--prefix` tokens that all share and `--own` of each, `--new` tokens to write.
The shared beginning was seen before, once, by a warm-up request; `--cold` forgets it. Read ratios of one run, not
figures of two. Needs torch and transformers (and tokenizers, safetensors with them). `--targets …,vllm` makes an
environment of its own for vLLM's CPU build, once; or give one with --vllm-python.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.engine import targets
from benchmarks.engine.machine import bandwidth, machine_cpu_s, versions
from benchmarks.engine.shapes import SHAPES, make
from benchmarks.engine.vllm_target import CACHE, VLLM
from benchmarks.engine.workload import Figures, figures, workload

TARGETS = targets.TARGETS | {"vllm": VLLM}

Row = tuple[str, int, Figures]


def measure(name: str, folder: Path, arguments: argparse.Namespace) -> list[Row]:
    """One target over all numbers of clients."""
    target = TARGETS[name](folder, arguments.device, arguments.dtype, arguments.threads)
    rows: list[Row] = []
    try:
        target.run(workload(1, arguments.prefix, arguments.own, 8, arguments.temperature, seed=999))
        for clients in arguments.clients:
            fastest: Figures | None = None
            for repeat in range(arguments.repeat):
                if arguments.cold and hasattr(target, "reset"):
                    target.reset()
                asked = workload(
                    clients,
                    arguments.prefix,
                    arguments.own,
                    arguments.new,
                    arguments.temperature,
                    seed=clients * 100 + repeat,
                )
                used, worked, began = target.cpu_s(), machine_cpu_s(), time.perf_counter()
                got = figures(target.run(asked))
                cpu_s, worked, took = target.cpu_s() - used, machine_cpu_s() - worked, time.perf_counter() - began
                got.cpu = cpu_s / (clients * arguments.new)
                got.others = max(0.0, worked - cpu_s) / (took * (os.cpu_count() or 1))
                fastest = got if fastest is None or got.tokens_per_second > fastest.tokens_per_second else fastest
            assert fastest is not None
            rows.append((name, clients, fastest))
            print(
                f"{name:>12} {clients:>4} clients {fastest.tokens_per_second:>9.1f} tokens/s",
                file=sys.stderr,
                flush=True,
            )
    finally:
        target.close()
        gc.collect()
    return rows


def best(rows: list[Row]) -> list[Row]:
    """Of each target and number of clients the fastest round: what disturbs a round only makes it slower."""
    fastest: dict[tuple[str, int], Row] = {}
    for row in rows:
        if row[:2] not in fastest or row[2].tokens_per_second > fastest[row[:2]][2].tokens_per_second:
            fastest[row[:2]] = row
    return list(fastest.values())


def table(rows: list[Row], reads: float) -> str:
    """Markdown; × is the ratio to the seed way with as many clients, reads the share of the ceiling at one client.

    reads   tokens/s at which weights alone would use all of the bandwidth, at batch 1

    others: the share of the machine that other processes and the host took meanwhile.
    """
    seed = {clients: got.tokens_per_second for name, clients, got in rows if name == "seed"}
    titles = (
        "clients",
        "target",
        "tokens/s",
        "× seed",
        "first p50 / p99 ms",
        "between p50 / p99 ms",
        "CPU ms per token",
        "of bandwidth",
        "others",
    )
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for name, clients, got in sorted(rows, key=lambda row: (row[1], list(TARGETS).index(row[0]))):
        ratio = f"{got.tokens_per_second / seed[clients]:.1f}" if clients in seed else "–"
        share = f"{got.tokens_per_second / reads:.0%}" if clients == 1 else "–"
        first = f"{got.first_p50 * 1e3:.0f} / {got.first_p99 * 1e3:.0f}"
        between = f"{got.between_p50 * 1e3:.1f} / {got.between_p99 * 1e3:.1f}"
        cells = [clients, name, f"{got.tokens_per_second:.1f}", ratio, first, between, f"{got.cpu * 1e3:.2f}", share]
        cells.append(f"{got.others:.0%}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.engine", description=__doc__)
    parser.add_argument("--shape", default="50M", choices=SHAPES)
    parser.add_argument("--clients", default="1,4,16,64", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--targets", default="seed,static,transformers,ours", type=lambda text: text.split(","))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--threads", default=1, type=int)
    parser.add_argument("--prefix", default=512, type=int)
    parser.add_argument("--own", default=64, type=int)
    parser.add_argument("--new", default=64, type=int)
    parser.add_argument("--temperature", default=0.0, type=float)
    parser.add_argument("--repeat", default=1, type=int, help="the best of so many counts")
    parser.add_argument("--rounds", default=1, type=int, help="each way is loaded and measured so often, in turns")
    parser.add_argument("--cold", action="store_true", help="our prefix cache is emptied before each workload")
    parser.add_argument("--vllm-python", default="", help="the interpreter of an environment that has vllm")
    parser.add_argument("--models", default=CACHE, type=Path)
    parser.add_argument("--out", type=Path, help="where to write the results, as JSON, Markdown and SVG")
    arguments = parser.parse_args()
    VLLM.python = arguments.vllm_python
    folder = make(arguments.models, arguments.shape, arguments.dtype)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    read = bandwidth(arguments.device, arguments.threads)
    command = "python -m benchmarks.engine " + " ".join(sys.argv[1:])
    measured = f"read bandwidth {read / 1e9:.1f} GB/s, weights {weights / 1e9:.2f} GB"
    head = f"`{command}`\n\n{json.dumps(versions())}; {measured}\n\n"
    about = {"command": command, "versions": versions(), "bandwidth": read}
    rows: list[Row] = []
    for name in arguments.targets * arguments.rounds:
        try:
            rows = best(rows + measure(name, folder, arguments))
        except Exception as error:  # noqa: BLE001 - the other targets' figures stand
            # The others' figures stand without it.
            print(f"{name:>12} is left out: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        if arguments.out:
            write(arguments.out, head, rows, read / weights, about)
    print(head + table(rows, read / weights))


def write(out: Path, head: str, rows: list[Row], reads: float, about: dict[str, Any]) -> None:
    """The results, for machines and for people."""
    from benchmarks.engine.plot import plot

    out.parent.mkdir(parents=True, exist_ok=True)
    results = [{"target": name, "clients": clients} | asdict(got) for name, clients, got in rows]
    out.with_suffix(".json").write_text(json.dumps(about | {"results": results}, indent=1) + "\n")
    out.with_suffix(".md").write_text(head + table(rows, reads) + "\n")
    out.with_suffix(".svg").write_text(plot({(name, clients): got.tokens_per_second for name, clients, got in rows}))


if __name__ == "__main__":
    targets.as_an_engine("benchmarks.engine")
    main()
