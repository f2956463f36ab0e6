"""How soon the page can be used on a slow network: `python -m benchmarks.page`; writes benchmarks/results/page.md.

A real gateway and a real Chromium, whose network has 400 ms of latency and 50 kB/s. Usable: the question can be typed.
"""

from __future__ import annotations

import datetime
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from demo.metro.build import build
from tests.gateway.web.chromium import Chromium, chromium
from tests.parts import require
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "benchmarks" / "results" / "page.md"
LATENCY_MS, BYTES_PER_S, TIMES = 400, 50_000, 5
CONFIGURATION = """
server: {{bind: "{bind}", metrics_bind: null}}
default: p
providers: {{p: {{type: openai, base_url: "http://127.0.0.1:1/v1", model: any}}}}
databases: {{metro: {{url: "sqlite:///metro.db", tables: [dtzpt, lines, riders]}}}}
"""
USABLE = "document.activeElement?.id === 'question'"
CHOICES = "document.querySelectorAll('#provider option').length > 0"
SENT = "performance.getEntriesByType('resource').reduce((sum, one) => sum + one.transferSize, 0)"


def visit(browser: Chromium, url: str) -> tuple[float, float, int]:
    """Seconds until the question can be typed, until the choices are there; bytes in all."""
    page = browser.page()
    network = {"offline": False, "latency": LATENCY_MS, "downloadThroughput": BYTES_PER_S}
    page.call("Network.emulateNetworkConditions", **network, uploadThroughput=BYTES_PER_S)
    began = time.monotonic()
    page.call("Page.navigate", url=url)
    page.wait(USABLE)
    usable = time.monotonic() - began
    page.wait(CHOICES)
    choices = time.monotonic() - began
    page.js("new Promise((resolve) => setTimeout(resolve, 3000))")
    sent = page.js(SENT)
    page.close()
    return usable, choices, sent


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build(folder / "metro.db")
        bind = f"127.0.0.1:{free_port()}"
        (folder / "sluice.yaml").write_text(CONFIGURATION.format(bind=bind), "utf-8")
        command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(folder / "sluice.yaml")]
        environment = os.environ | {"SLUICE_RUN_DIR": str(folder / "run")}
        server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
        assert server.stdout is not None
        try:
            while "ready on" not in server.stdout.readline():
                pass
            with chromium(require("chromium")) as browser:
                visits = [visit(browser, f"http://{bind}/") for _ in range(TIMES)]
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    usable, choices, sent = (statistics.median(column) for column in zip(*visits, strict=True))
    FILE.write_text(
        f"# The page on a slow network\n\n{datetime.date.today()} · `python -m benchmarks.page` · {LATENCY_MS} ms, "
        f"{BYTES_PER_S // 1000} kB/s, the median of {TIMES} first visits\n\n| | |\n|---|---|\n"
        f"| the question can be typed | {usable:.2f} s |\n| providers and databases are listed | {choices:.2f} s |\n"
        f"| bytes in all, the scripts of an answer included | {sent:,.0f} |\n",
        "utf-8",
    )
    print(FILE.read_text("utf-8"))


if __name__ == "__main__":
    main()
