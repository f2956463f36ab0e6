"""Scripts for Python clients from PyPI, in environments of their own beside the virtual environment.

There are two, because the clients need different versions of OpenAI's: `newer` and `older`.
"""

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


def installed(name: str = "newer") -> Path:
    """An environment's interpreter. Where pip fails the test is skipped; with CI=true it fails."""
    wanted, versions = HERE / f"{name}.txt", HERE / f"{name}.lock"
    digest = hashlib.sha256(wanted.read_bytes() + versions.read_bytes()).hexdigest()[:12]
    folder = ROOT / ".venv" / f"clients-{digest}"
    python = folder / "bin" / "python"

    def make() -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=120)
        install = [str(python), "-m", "pip", "install", "-q", "-r", str(wanted), "-c", str(versions)]
        subprocess.run(install, check=True, capture_output=True, timeout=900)

    made_once(folder, make, "the clients of PyPI")
    return python


def run(python: Path, script: str, *arguments: str, timeout_s: float = 300) -> Any:
    """What a script of tests/clients/python/ prints, which is JSON. Some clients take half a minute to import."""
    command = [str(python), str(HERE / script), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.strip().split("\n")[-1])
