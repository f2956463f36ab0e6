"""The programs of `benchmarks/` can be started: what they import from the code and the tests is there."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Those of the engine and the GPU import torch and other engines, and have tests of their own.
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "benchmarks").rglob("*.py"))
    if not {"engine", "gpu", "__init__.py"} & {*path.parts}
]


@pytest.mark.parametrize("module", MODULES)
def test_a_benchmark_can_be_imported(module):
    importlib.import_module(module)
