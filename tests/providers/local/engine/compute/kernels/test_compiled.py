"""Each Triton kernel compiles for the usual GPUs; no GPU is needed for that."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.parts import require

require("triton")

ROOT = Path(__file__).resolve().parents[6]
ARCHITECTURES = ["80", "89", "90"]
# What one program may have of a processor's shared memory, sm_89 has the least.
MOST_SHARED = 99 << 10


def test_every_kernel_compiles_for_the_usual_gpus():
    command = [sys.executable, "-m", "tests.providers.local.engine.compute.kernels.compiling", *ARCHITECTURES]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr[-3000:]
    lines = printed.stdout.splitlines()
    for architecture in ARCHITECTURES:
        assert sum(f"sm_{architecture}:" in line for line in lines) >= 8, printed.stdout
    assert all(int(re.search(r"(\d+) shared", line)[1]) <= MOST_SHARED for line in lines)
