"""What the machine gives, and what others take of it."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path


def bandwidth(device: str, threads: int) -> float:
    """Bytes per second at which this device reads memory, measured now: a sum over more than any cache holds."""
    import torch

    torch.set_num_threads(threads)
    numbers = torch.ones((1 << 28) if device == "cpu" else (1 << 31), dtype=torch.bfloat16, device=device)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        numbers.view(torch.int32).amax().item()
        best = max(best, numbers.nbytes / (time.perf_counter() - began))
    return best


def machine_cpu_s() -> float:
    """CPU seconds that the whole machine has worked since it started, or was kept from working by its host."""
    user, nice, system, _, _, *others = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    return sum(map(int, (user, nice, system, *others))) / os.sysconf("SC_CLK_TCK")


def versions() -> dict[str, str]:
    """What took part."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "machine": platform.processor() or platform.machine()}
    for package in ("torch", "transformers", "triton", "tokenizers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found
