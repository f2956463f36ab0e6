"""What a decode step costs, counted without a GPU: operations per layer and bytes of a 7B's, and the host's time."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.engine.shapes import SHAPES
from providers.local.engine.compute.attention import Group, Keys, Layout
from providers.local.engine.compute.config import read_config
from providers.local.engine.compute.kernels.matrix import Matrix
from providers.local.engine.compute.model import Model
from tests.providers.local.engine import running
from tests.providers.local.engine.running import a_loop, asking

# The decode kernel and the one that joins its parts.
LAUNCHES = {"decode": 2}


class Counted:
    """The kernels on tensors without numbers: what each launches is counted, what it computes is not."""

    def __init__(self) -> None:
        self.launches = 0

    def __getattr__(self, name):
        def kernel(*told):
            self.launches += LAUNCHES.get(name, 1)
            x = told[0]
            if name == "rotate":
                return x[:, : told[1]]
            if name == "decode":
                return torch.empty(len(x), x.shape[1] * x.shape[2], device="meta", dtype=x.dtype)
            if name == "activate":
                return torch.empty(len(x), x.shape[1] // 2, device="meta", dtype=x.dtype)
            return torch.empty(x.shape, device="meta", dtype=x.dtype)

        return kernel


class Operations(TorchDispatchMode):
    """Counts what is neither a view nor an allocation."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        name = func.overloadpacket.__name__
        self.count += not (func.is_view or name in ("empty", "new_empty", "_unsafe_view", "detach"))
        return out


def a_model(layers: int, counted: Counted) -> Model:
    told = {"architectures": ["Qwen2ForCausalLM"], "max_position_embeddings": 4096, "num_hidden_layers": layers}
    config = read_config(SHAPES["7B"] | told)

    def take(name, *shape):
        return torch.empty(shape, device="meta", dtype=torch.bfloat16)

    def matrix(at, rows, wide, biased):
        return Matrix("dense", (take(at, rows, wide),), take(at, rows) if biased else None)

    weights = SimpleNamespace(
        dtype=torch.bfloat16, device=torch.device("meta"), form=None, take=take, matrix=matrix,
        has=lambda name: False, finish=lambda: None,
    )  # fmt: skip
    return Model(config, weights, 4096, counted)


@pytest.mark.parametrize("rows", [1, 32, 256])
def test_a_layer_is_ten_operations(rows):
    counts = []
    for layers in (1, 3):
        counted = Counted()
        model = a_model(layers, counted)
        numbers = torch.zeros(rows, dtype=torch.int64, device="meta")
        keys = Keys(torch.zeros(rows, 40, dtype=torch.int64, device="meta"), 0, 0)
        kv = torch.empty(9, 16, 8, 128, device="meta", dtype=torch.bfloat16)
        layout = Layout(numbers, [Group(0, rows, 1, keys, lengths=numbers)])
        operations = Operations()
        with operations:
            model.forward(numbers, numbers, None, layout, SimpleNamespace(layers=[kv] * layers))
        counts.append(counted.launches + operations.count)
    assert (counts[1] - counts[0]) / 2 == 10
    # The embedding, the first norm's share of the last, and the head.
    assert counts[0] - 10 <= 3


def host_ms(folder, monkeypatch, rows: int, steps: int = 60) -> float:
    """The least milliseconds of the host's work per step that follows another: launch, reading and bookkeeping.

    The device's work is left out: the ids are always the same.
    """
    monkeypatch.setattr(running, "WAY", "followed")
    loop = a_loop(folder, max_batch=rows, kv_cache_mb=64)
    run = iter([asking("x", max_tokens=steps + 40) for _ in range(rows)])
    for number, ask in enumerate(run):
        loop.ask((0, number), ask)
    loop.preprocessing.settle()
    while len(loop.scheduler.running) < rows or any(each.waiting_tokens > 1 for each in loop.scheduler.running):
        loop.step()
    loop.step()
    graphs = loop._runner._graphs
    for made in (graphs._steps, graphs._draws, graphs._advances):
        for key in made:
            made[key] = lambda: None
    monkeypatch.setattr(loop, "_emit", lambda sampled: None)
    took = []
    for _ in range(steps):
        began = time.thread_time()
        loop.step()
        took.append(time.thread_time() - began)
    return sorted(took)[len(took) // 4] * 1e3


@pytest.mark.parametrize(("rows", "most"), [(1, 0.5), (32, 1.0), (256, 3.0)])
def test_the_hosts_time_per_step_stays_small(models, monkeypatch, rows, most):
    """The bounds leave room for a slow machine; docs/engine.md has what was measured."""
    assert host_ms(models["qwen3"][0], monkeypatch, rows) < most
