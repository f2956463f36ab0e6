"""Scripts for Python clients from PyPI, in an environment of their own beside the virtual environment."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "python"
ROOT = Path(__file__).resolve().parents[2]


def installed() -> Path:
    """The environment's interpreter. Where pip fails the test is skipped; with CI=true it fails."""
    wanted = (HERE / "requirements.txt").read_bytes()
    folder = ROOT / ".venv" / f"clients-{hashlib.sha256(wanted).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    lock = folder.with_suffix(".lock").open("w")
    # Several test processes may come here at once; the others wait and find it made.
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True, timeout=120)
            install = [str(python), "-m", "pip", "install", "-q", "-r", str(HERE / "requirements.txt")]
            subprocess.run(install, check=True, capture_output=True, timeout=400)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            reason = f"pip could not install the clients: {error}"
            if os.environ.get("CI", "").lower() in ("1", "true"):
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        (folder / "installed").touch()
    return python


def run(python: Path, *arguments: str, timeout_s: float = 60) -> Any:
    """What `ask.py` prints, which is JSON."""
    command = [str(python), str(HERE / "ask.py"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.strip().split("\n")[-1])
