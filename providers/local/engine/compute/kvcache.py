"""The keys and values of all layers, and how many blocks of them fit.

layers[i]   (block, slot, 2 · kv_heads, head_dim)   keys first, then values

so that a token's keys and values are written in one copy, and a block is one run of memory:

    block_bytes = block_tokens · layers · 2 · kv_heads · head_dim · bytes per number
"""

from __future__ import annotations

import mmap
from contextlib import suppress

import torch

from providers.local.engine.blocks import NULL_BLOCK
from providers.local.engine.compute.config import ModelConfig

BLOCK_TOKENS = 16


def block_bytes(config: ModelConfig, dtype: torch.dtype) -> int:
    """Memory of one block, over all layers."""
    return BLOCK_TOKENS * config.layers * 2 * config.kv_heads * config.head_dim * dtype.itemsize


class KVCache:
    """`blocks` blocks, the null block included; finite from the start, so that masked slots stay harmless."""

    def __init__(self, config: ModelConfig, blocks: int, dtype: torch.dtype, device: torch.device) -> None:
        self.blocks = blocks
        size = (config.layers, blocks, BLOCK_TOKENS, 2 * config.kv_heads, config.head_dim)
        self.bytes = blocks * block_bytes(config, dtype)
        if device.type == "cpu":
            # Anonymous memory is zero and costs nothing until it is used: the cache may be larger than what a day
            # needs.
            memory = mmap.mmap(-1, self.bytes)
            with suppress(AttributeError, OSError):
                # A page of 2 MB is zeroed once where 512 small ones are faulted in: prompts take 14 % less time. Not
                # every system has them.
                memory.madvise(mmap.MADV_HUGEPAGE)
            pool = torch.frombuffer(memory, dtype=dtype).view(size)
        else:
            pool = torch.zeros(size, dtype=dtype, device=device)
        self._whole = pool
        self.layers = list(pool.unbind(0))

    def wipe(self, blocks: list[int]) -> None:
        """Make these blocks' contents finite again: NaN · 0 is NaN, so even masked slots of them would spread.

        The null block is wiped too: rows without a sequence write there what they have read.
        """
        self._whole.index_fill_(1, torch.tensor([NULL_BLOCK, *blocks], device=self._whole.device), 0)
