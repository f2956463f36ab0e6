"""On a machine with only torch, transformers and triton the benchmarks still run the engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
PROBE = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

GATEWAY = {"msgspec", "pydantic", "yaml", "flask", "jinja2", "gevent", "llguidance"}
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name in GATEWAY else find(name, *rest)

from benchmarks.engine.targets import Ours
from benchmarks.engine.workload import Workload

ours = Ours(Path(sys.argv[1]), "cpu", "float32", 1)
times = ours.run(Workload([[5, 6, 7], [8, 9]], 4, 0.0))
loaded = {name for name in GATEWAY & {*sys.modules} if getattr(sys.modules[name], "__file__", None)}
print([len(mine) for mine in times.tokens], loaded)
"""


GPU_PROBE = """
import sys
from importlib.machinery import PathFinder

GATEWAY = {"msgspec", "pydantic", "yaml", "flask", "jinja2", "gevent", "llguidance"}
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name in GATEWAY else find(name, *rest)

from benchmarks.gpu.__main__ import main

sys.argv[1:] = ["--device", "cpu", "--shape", "tiny", "--dtype", "float32", "--clients", "1,3", "--prompt", "20",
                "--new", "24", "--parts", "kernel,speed", "--out", sys.argv[1]]
assert main() == 0
assert not [name for name in GATEWAY & {*sys.modules} if getattr(sys.modules[name], "__file__", None)]
"""


def test_the_benchmark_of_a_gpu_runs_without_the_gateways_libraries(tmp_path):
    out = tmp_path / "results.json"
    command = [sys.executable, "-c", GPU_PROBE, str(out)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert printed.returncode == 0, printed.stderr + printed.stdout
    found = json.loads(out.read_text())["speed"]
    assert found["decode 1"]["tokens_s"] > 0 and found["decode 3"]["tokens_s"] > 0
    assert found["graphs"] is False and found["sampled over greedy"] > 0
    assert "gaps" in found["admission"] and "cold" in found["cached"]


def test_the_engine_runs_without_the_gateways_libraries(models, tmp_path):
    folder = shutil.copytree(models["qwen3"][0], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    command = [sys.executable, "-c", PROBE, str(folder)]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert printed.stdout == "[4, 4] set()\n", printed.stderr
