"""What several test processes need and one of them makes: the others wait at a lock, and find it made."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(folder: Path, make: Callable[[], None], what: str) -> None:
    """Fill `folder` by `make`, once. Where that fails the test is skipped; with CI=true it fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "installed").exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        try:
            make()
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            said = (error.stderr or b"").decode("utf-8", "replace").strip()
            reason = f"{what} could not be installed: {error} {said[-500:]}"
            if os.environ.get("CI", "").lower() in ("1", "true"):
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)
        (folder / "installed").touch()
