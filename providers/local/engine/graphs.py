"""Decode steps on a GPU as CUDA graphs: one launch instead of some fifteen per layer.

A graph replays the same kernels over the same memory, so there is one per batch size (1, 2, 4, 8, then every 8), over
input tensors that stay; a batch between two sizes is filled up with rows that write to the null block. Captured at
start, largest first, so that the smaller ones fit into its memory. Not yet measured on a GPU.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from providers.local.engine.attention import Group, Keys, Layout
from providers.local.engine.blocks import NULL_BLOCK
from providers.local.engine.kvcache import KVCache
from providers.local.engine.model import Model

log = logging.getLogger("sluice.engine")

WARM_UPS = 2


def sizes(max_batch: int) -> list[int]:
    """The batch sizes that are captured, up to the first that holds `max_batch`."""
    chosen = [1, 2, 4, *range(8, max_batch + 8, 8)]
    return [size for size in chosen if size < max_batch] + [min(size for size in chosen if size >= max_batch)]


class DecodeGraphs:
    """Captured decode steps. Its inputs, one row per sequence, are filled before each replay."""

    def __init__(self, model: Model, cache: KVCache, max_batch: int, widest: int, captured: Callable[[], None]) -> None:
        """
        widest     blocks of the longest sequence
        captured   called after each size: capturing takes seconds, and whoever watches should see it go on
        """
        self._sizes = sizes(max_batch)
        most = self._sizes[-1]
        self._numbers = torch.zeros(4, most, dtype=torch.int64, device=model.device)
        self._tables = torch.zeros(most, widest, dtype=torch.int64, device=model.device)
        self._logits: dict[int, Tensor] = {}
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._numbers[3] = 1
        pool = None
        for done, size in enumerate(reversed(self._sizes), 1):
            graph = torch.cuda.CUDAGraph()
            for _ in range(WARM_UPS):
                self._forward(model, cache, size)
            torch.cuda.synchronize(model.device)
            with torch.cuda.graph(graph, pool=pool):
                self._logits[size] = self._forward(model, cache, size)
            pool = pool or graph.pool()
            self._graphs[size] = graph
            captured()
            log.info("CUDA graph %d of %d: %d sequences", done, len(self._sizes), size)

    def _forward(self, model: Model, cache: KVCache, size: int) -> Tensor:
        tokens, positions, slots, lengths = self._numbers[:, :size]
        keys = Keys(self._tables[:size], NULL_BLOCK, 0)
        layout = Layout(slots, [Group(0, size, 1, keys, lengths=lengths)])
        return model.forward(tokens, positions, torch.arange(size, device=model.device), layout, cache)

    @torch.inference_mode()
    def run(self, tokens: list[int], positions: list[int], slots: list[int], tables: list[list[int]]) -> Tensor:
        """The logits of one decode step, a row per sequence (`max_batch` at most); valid until the next step."""
        rows = len(tokens)
        size = next(size for size in self._sizes if size >= rows)
        # Rows that are left over keep what an earlier step put there, but write to the null block.
        filled = [
            tokens,
            positions,
            slots + [NULL_BLOCK] * (size - rows),
            [at + 1 for at in positions] + [1] * (size - rows),
        ]
        for target, values in zip(self._numbers, filled, strict=True):
            target[: len(values)].copy_(torch.tensor(values), non_blocking=True)
        widest = max(map(len, tables))
        padded = torch.tensor([table + [NULL_BLOCK] * (widest - len(table)) for table in tables])
        self._tables[:rows, :widest].copy_(padded, non_blocking=True)
        self._graphs[size].replay()
        return self._logits[size][:rows]
