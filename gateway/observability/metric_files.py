"""The metric files of a process that has ended. Without prometheus-client: the master imports this."""

from __future__ import annotations

import os
import time
from pathlib import Path

# How the files of ended processes are called until a scrape folds them.
ENDED = "ended-"
# Kinds whose values outlive their process.
SUMMED = ("counter", "histogram")


def retire(folder: Path, pid: int) -> None:
    """Mark the process's sums for folding, and remove its gauges. Raises OSError."""
    for file in folder.glob(f"*_{pid}.db"):
        kind = file.name.partition("_")[0]
        if kind in SUMMED:
            # Two processes may have had the same id.
            os.replace(file, folder / f"{kind}_{ENDED}{pid}-{time.monotonic_ns()}.db")
        else:
            file.unlink(missing_ok=True)
