"""An engine over random weights that are made on the device: no file of 15 GB is written or read."""

from __future__ import annotations

from typing import Any

from benchmarks.engine.shapes import SHAPES
from benchmarks.engine.targets import engine_alone


class RandomWeights:
    """Stands where a folder's Weights stand: every tensor that is asked for, with random numbers."""

    def __init__(self, device: Any, dtype: Any, form: str | None) -> None:
        self.device, self.dtype, self.form = device, dtype, form

    def matrix(self, at: str, rows: int, wide: int, biased: bool) -> Any:
        from providers.local.engine.compute.kernels.matrix import Matrix

        bias = self.take(f"{at}.bias", rows) if biased else None
        dense = Matrix("dense", (self.take(f"{at}.weight", rows, wide),), bias)
        return dense.quantise(self.form) if self.form else dense

    def has(self, name: str) -> bool:
        return False

    def take(self, name: str, *shape: int) -> Any:
        import torch

        if name.endswith("norm.weight"):
            return torch.ones(shape, device=self.device, dtype=self.dtype)
        return torch.randn(shape, device=self.device, dtype=self.dtype) * 0.02

    def finish(self) -> None:
        pass


class RandomEngine:
    """The engine's runner and scheduler over a shape of benchmarks/engine/shapes.py, as `Ours` is over a folder."""

    def __init__(self, shape: str, device: str, dtype: str, max_batch: int, graphs: bool = True) -> None:
        engine_alone()
        import torch

        from providers.local.engine.blocks import Blocks
        from providers.local.engine.compute import kernels
        from providers.local.engine.compute.budget import measure_budget
        from providers.local.engine.compute.config import read_config
        from providers.local.engine.compute.kvcache import BLOCK_TOKENS, KVCache
        from providers.local.engine.compute.model import Model
        from providers.local.engine.compute.runner import Runner
        from providers.local.engine.serving.folder import Folder
        from providers.local.engine.serving.memory import plan
        from providers.local.options import Options

        members = {"architectures": ["Qwen2ForCausalLM"], "max_position_embeddings": 4096, "rope_theta": 1e6}
        config = read_config(SHAPES[shape] | members)
        options = Options(shape, device, dtype, max_batch=max_batch, max_context=4096)
        self.planned = plan(Folder(None, shape, members, {}, {}, "", []), config, options)  # type: ignore[arg-type]
        weights: Any = RandomWeights(self.planned.device, self.planned.dtype, self.planned.form)
        torch.manual_seed(0)
        model = Model(config, weights, self.planned.max_context, kernels.available(weights.device, weights.dtype))
        cache = KVCache(config, self.planned.blocks, self.planned.dtype, self.planned.device)
        self.runner = Runner(model, cache)
        if graphs:
            self.runner.capture(max_batch, self.planned.max_context, lambda: None)
        self.blocks, self.block_tokens, self.max_batch = self.planned.blocks, BLOCK_TOKENS, max_batch
        # Reading the embedding takes a row per token, not the table: it counts only where it is the head too.
        embedding = 0 if config.tied else config.vocabulary * config.hidden
        self.read_bytes = (config.parameters - embedding) * self.planned.dtype.itemsize
        fresh = Blocks(self.blocks, BLOCK_TOKENS)
        self.budget = measure_budget(self.runner, fresh, self.planned.max_context, lambda: None)
        self.reset()

    def reset(self) -> None:
        """Forget the prefix cache."""
        from providers.local.engine.blocks import Blocks
        from providers.local.engine.scheduler import Scheduler

        self.scheduler = Scheduler(Blocks(self.blocks, self.block_tokens), self.max_batch, 10_000, self.budget)
