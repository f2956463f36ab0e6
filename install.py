"""Install Sluice into .venv: `python install.py [extras]`. What `make install` runs; standard library only.

On a machine without an NVIDIA GPU a CPU build of torch (about 200 MB) is looked for first, because the usual Linux
build brings several gigabytes of CUDA. pip finds one where its own configuration (index, find-links) or
TORCH_CPU_INDEX, the URL of PyTorch's index for CPU builds, offers it; else the usual build is taken, and that is said.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
# Newest first; "+cpu" is how PyTorch marks its CPU builds.
CPU_BUILDS = ("2.13.0", "2.12.1", "2.12.0", "2.11.0", "2.10.0", "2.9.1")


def say(text: str) -> None:
    print(f"install: {text}", flush=True)


def pip(*arguments: str, quiet: bool = False) -> bool:
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "-qq", *arguments]
    return subprocess.run(command, stderr=subprocess.DEVNULL if quiet else None, check=False).returncode == 0


def has(module: str) -> bool:
    found = subprocess.run([str(PYTHON), "-c", f"import {module}"], capture_output=True, check=False)
    return found.returncode == 0


def install_torch() -> None:
    """A torch that fits this machine, unless there is one already."""
    if has("torch"):
        return
    if platform.system() != "Linux" or shutil.which("nvidia-smi"):
        say("torch: the usual build for this machine")
        return
    index = os.environ.get("TORCH_CPU_INDEX")
    more = ["--extra-index-url", index] if index else []
    say("torch: no NVIDIA GPU here, looking for a CPU build")
    for version in CPU_BUILDS:
        if pip(f"torch=={version}+cpu", *more, quiet=True):
            say(f"torch: {version}+cpu installed")
            return
    say("torch: pip's sources have no CPU build, so the usual one is installed: it brings CUDA, several gigabytes.")
    say("torch: to avoid that, stop here and set TORCH_CPU_INDEX to the URL of PyTorch's index for CPU builds.")


def main() -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 (this file runs before anything has checked it)
        say(f"Python 3.11 or newer is needed, this is {platform.python_version()}; try `make PYTHON=python3.12 …`")
        return 2
    extras = sys.argv[1] if len(sys.argv) > 1 else "local"
    if not PYTHON.exists():
        say("making .venv")
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    if "local" in extras.split(","):
        install_torch()
    say(f"Sluice with {extras}, and what it needs")
    if not pip("-e", f"{ROOT}[{extras}]"):
        say("pip could not install it; its message is above")
        return 1
    say("building the demo database")
    return subprocess.run(
        [str(PYTHON), "-m", "demo.metro.build", "demo/metro/metro.db"], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
