"""Play the whole matrix and every scenario, and write the table of docs/reliability.md: `python -m tests.reliability`.

Exit code 1 if a row fails. The promised times are asked as they are, so run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from docs.languages import chinese_table
from tests.reliability import matrix
from tests.reliability.broken import BROKEN
from tests.reliability.rig import ROOT, Chain, folder
from tests.reliability.scenarios import scenarios
from tests.waiting import eventually

PAGE = ROOT / "docs" / "reliability.md"
CHINESE_PAGE = ROOT / "docs" / "zh" / "reliability.md"
BEGIN, END = "<!-- rows: written by python -m tests.reliability -->", "<!-- end of rows -->"


@dataclass(frozen=True)
class Result:
    at: str
    fault: str
    when: str
    must: str
    problems: list[str]
    took_s: float

    def line(self) -> str:
        last = "pass" if not self.problems else "**FAIL** " + "; ".join(self.problems)
        cells = (self.at, self.fault, self.when, self.must, last)
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def tried(play: Callable[[], object]) -> tuple[list[str], float]:
    """What is wrong, and how long it took; a scenario says it by raising."""
    begun_at = time.monotonic()
    try:
        found = play()
        problems = list(found) if isinstance(found, list) else []
    except Exception as error:  # noqa: BLE001 - a scenario's exception is its result
        where = traceback.extract_tb(error.__traceback__)[-1]
        problems = [f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {error}"[:300]]
    return problems, time.monotonic() - begun_at


def matrix_results(wanted: str) -> Iterator[Result]:
    """The rows of matrix.yaml on two chains, and what their gateways say of it all at the end."""
    rows = [row for row in matrix.rows() if wanted in str(row)]
    if not rows:
        return
    with folder() as where, contextlib.ExitStack() as stack:
        resuming = Chain(where / "resuming", stack, server={"resume_window_s": 2})
        at_once = Chain(where / "at-once", stack, server={"resume_window_s": 0, "heartbeat_s": 10})
        for row in rows:
            chain = resuming if row.resuming else at_once
            problems, took_s = tried(partial(matrix.play, row, chain))
            fault = f"`{row.fault}`" if row.at == "upstream" else row.fault
            yield Result(row.at, fault, row.when + row.how, row.must, problems, took_s)
        problems, took_s = tried(lambda: [p for chain in (resuming, at_once) for p in accounts(chain)])
        yield Result("all of these", "–", "afterwards", "started = Σ ended, one log line for each", problems, took_s)


def accounts(chain: Chain) -> list[str]:
    """What does not add up in a chain's metrics and log, once nothing is in flight."""
    started, ended, _ = eventually(chain.gateway.settled_accounts)
    lines = [line["cause"] for line in chain.gateway.answers_logged()]
    found = []
    if started != sum(ended.values()):
        found.append(f"{started:g} started, {sum(ended.values()):g} ended")
    if {cause: lines.count(cause) for cause in lines} != {cause: count for cause, count in ended.items() if count}:
        found.append("the log has other causes than the metrics")
    return found


def results(wanted: str) -> Iterator[Result]:
    """Everything whose name has `wanted` in it, in the order of the table."""
    yield from matrix_results(wanted)
    for scenario in scenarios():
        if wanted in str(scenario):
            yield Result(scenario.at, scenario.fault, scenario.when, scenario.must, *tried(scenario.run))
    for broken in BROKEN:
        if wanted in str(broken):
            yield Result("harness", f"“{broken.mutation}”", "on purpose", broken.must, *tried(broken.run))


def versions() -> str:
    """What the rows were played with."""
    from importlib.metadata import version

    def said(*command: str) -> str:
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return f"no {command[0]}"
        return (ended.stdout + ended.stderr).strip().splitlines()[0]

    commit = said("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    nginx = said("nginx", "-v").rpartition("/")[2]
    redis = said("redis-server", "--version").split("v=")[-1].split()[0]
    ours = ", ".join(f"{name} {version(name)}" for name in ("gunicorn", "gevent", "Flask"))
    return f"commit {commit}, Python {platform.python_version()}, {ours}, nginx {nginx}, Redis {redis}"


def write(found: list[Result]) -> None:
    """Put the table into the page, between its marks, and into the Chinese page."""
    passed = sum(not result.problems for result in found)
    lines = [
        f"Last run: {time.strftime('%Y-%m-%d')}, {versions()}. **{passed} of {len(found)} rows pass.**",
        "",
        "| where | what breaks | when | what must come out | last run |",
        "|---|---|---|---|---|",
        *(result.line() for result in found),
    ]
    put(PAGE, "\n".join(lines))
    put(CHINESE_PAGE, in_chinese("\n".join(lines)))


def put(page: Path, text: str) -> None:
    """Put `text` between the page's marks."""
    head, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    page.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", "utf-8")


def in_chinese(text: str) -> str:
    """The rows with what docs/zh/words.json has in Chinese."""
    run = re.sub(
        r"^Last run: (.+)\. \*\*(\d+) of (\d+) rows pass\.\*\*", r"上次运行：\1。**\3 行中 \2 行通过。**", text
    )
    return chinese_table(run)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="rows with TEXT in their name; the page stays as it is"
    )
    arguments = parser.parse_args()
    os.environ.setdefault("SLUICE_SLACK", "1")
    found = []
    for result in results(arguments.only):
        found.append(result)
        mark = "pass" if not result.problems else "FAIL"
        print(f"{mark}  {result.at}, {result.fault}, {result.when}  ({result.took_s:.1f} s)", flush=True)
        for problem in result.problems:
            print(f"      {problem}", flush=True)
    if not arguments.only:
        write(found)
    failed = sum(bool(result.problems) for result in found)
    print(f"{len(found)} rows, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
