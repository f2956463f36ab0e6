"""Instructions that reading one chunk costs on each wire, in this tree beside another commit's.

    git worktree add --detach /tmp/base 6ff70e9
    python -m benchmarks.normaliser_instructions /tmp/base > benchmarks/results/normaliser_instructions.md

Counted by valgrind's callgrind, so load on the machine does not change them. The readers and replies are those of
`benchmarks.normaliser` in each tree; a reply of 100 chunks is taken off one of 1,100, so what a reply costs once is not
counted. `burst` reads 64 KiB at a time, `paced` one chunk.
"""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WIRES = ("openai", "qianfan", "dashscope", "ernie")
FEW, MANY = 100, 1100
TIMEOUT_S = 900
CONTROL, GIT = "callgrind_control", "git"
Counts = dict[tuple[str, str], float]


def counted(tree: Path) -> Counts:
    """Instructions per chunk, by wire and way of reading."""
    with tempfile.TemporaryDirectory() as folder:
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        command = [*valgrind, sys.executable, __file__, "--read", str(tree)]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S, cwd=tree)
        totals: dict[tuple[str, str, int], int] = {}
        for dump in Path(folder).glob("out.*"):
            text = dump.read_text()
            if about := re.search(r"^desc: Trigger: dump (\w+) (\w+) (\d+)$", text, re.MULTILINE):
                totals[about[1], about[2], int(about[3])] = int(re.findall(r"^totals: (\d+)", text, re.MULTILINE)[-1])
    ways = [(wire, way) for wire in WIRES for way in ("burst", "paced")]
    return {(wire, way): (totals[wire, way, MANY] - totals[wire, way, FEW]) / (MANY - FEW) for wire, way in ways}


def read(tree: str) -> None:
    """Under callgrind: read each reply, a dump for each."""
    sys.path.insert(0, tree)
    from benchmarks import normaliser

    def control(*arguments: str) -> None:
        subprocess.run([CONTROL, *arguments, str(os.getpid())], check=True, capture_output=True)

    readings: dict[str, Callable[[], Any]] = {}
    for wire in WIRES:
        for count in (FEW, MANY):
            chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in normaliser.events(wire, count)]
            readings[f"{wire} paced {count}"] = partial(normaliser.ours_paced, wire, chunks)
            readings[f"{wire} burst {count}"] = partial(normaliser.ours, wire, b"".join(chunks))
    for reading in readings.values():
        reading()
    control("-i", "on")
    for name, reading in readings.items():
        gc.collect()
        gc.disable()
        control("-z")
        reading()
        control("-d", name)
        gc.enable()


def main(other: str) -> None:
    """Print the table."""
    before, now = counted(Path(other).resolve()), counted(ROOT)
    commit = subprocess.check_output([GIT, "-C", other, "rev-parse", "--short", "HEAD"], text=True).strip()
    print(f"# Instructions per chunk, beside {commit}\n")
    print(f"`python -m benchmarks.normaliser_instructions`, {date.today()}, Python {sys.version.split()[0]}.\n")
    print(f"| wire | reads | {commit} | now | |\n|---|---|---|---|---|")
    for (wire, way), count in now.items():
        change = count / before[wire, way] - 1
        print(f"| `{wire}` | {way} | {before[wire, way]:,.0f} | {count:,.0f} | {change:+.1%} |")


if __name__ == "__main__":
    read(sys.argv[2]) if sys.argv[1] == "--read" else main(sys.argv[1])
