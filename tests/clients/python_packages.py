"""Scripts for Python clients from PyPI, in an environment of their own beside the virtual environment."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.clients.made_once import made_once

HERE = Path(__file__).parent / "python"
ROOT = Path(__file__).resolve().parents[2]


def installed() -> Path:
    """The environment's interpreter. Where pip fails the test is skipped; with CI=true it fails."""
    wanted = (HERE / "requirements.txt").read_bytes()
    folder = ROOT / ".venv" / f"clients-{hashlib.sha256(wanted).hexdigest()[:12]}"
    python = folder / "bin" / "python"

    def make() -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=120)
        install = [str(python), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt")]
        subprocess.run(install, check=True, capture_output=True, timeout=400)

    made_once(folder, make, "the clients of PyPI")
    return python


def run(python: Path, *arguments: str, timeout_s: float = 60) -> Any:
    """What `ask.py` prints, which is JSON."""
    command = [str(python), str(HERE / "ask.py"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.strip().split("\n")[-1])
