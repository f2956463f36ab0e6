"""Attention of a step's tokens over the paged cache.

The tokens of all chunks lie behind each other, so that everything but attention sees one matrix. Chunks with the same
number of queries are one group and one call; a decode step is one group of one query per sequence. Query heads that
share a key head are rows of one product (grouped-query attention without repeating keys and values).

Sequences whose first blocks are the same ones (one schema prompt, many questions) attend to those together: all their
queries are rows of one product, and the shared keys are read once per step instead of once per sequence. The two parts
are combined by their log-sum-exps (exact; proof in https://arxiv.org/abs/2402.05099):

    out = out_own + σ(lse_shared − lse_own) · (out_shared − out_own)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from providers.local.engine.compute.kernels import Kernels
from providers.local.engine.compute.kvcache import BLOCK_TOKENS
from providers.local.engine.compute.torch_private import attention_with_lse

# Chunks of up to so many queries share one call per length. A longer chunk fills the machine alone.
FOLDED_QUERIES = 32
TILE = 64


@dataclass(slots=True)
class Keys:
    """Where the keys and values of some sequences lie in the cache.

    tables    (sequences, blocks)  int64, padded with the null block; None if `run` is used
    run       the first block of one sequence whose blocks are consecutive; its keys are read without a copy
    length    keys of the longest sequence
    """

    tables: Tensor | None
    run: int
    length: int


@dataclass(slots=True)
class Group:
    """`batch` chunks of `queries` tokens each, which are rows `first` … of the step.

    own       each sequence's keys, without those in `shared`
    shared    the prefix that all sequences of the group have in common, as keys of one sequence; else None
    mask      (batch, 1, rows or 1, own.length)  0 or −inf, in the cache's dtype; None if every query sees every key
    start     the first query's position in a single long chunk, which needs no mask
    lengths   (batch,)  keys per sequence; set exactly where the GPU's decode kernel is used
    """

    first: int
    batch: int
    queries: int
    own: Keys
    shared: Keys | None = None
    mask: Tensor | None = None
    start: int = 0
    lengths: Tensor | None = None


@dataclass(slots=True)
class Layout:
    """Where a step's tokens read and write.   slots  (tokens,)  int64, where each token's keys and values go."""

    slots: Tensor
    groups: list[Group]


def causal_mask(
    starts: list[int], queries: int, length: int, repeat: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """0 where query i of a chunk that starts at `start` sees key j (j ≤ start + i), else −inf.

    returns   (batch, 1, queries · repeat, length); each query is there `repeat` times, once per head folded in
    """
    rows = torch.arange(queries, device=device).repeat_interleave(repeat)
    last = torch.tensor(starts, device=device).view(-1, 1, 1, 1) + rows.view(1, 1, -1, 1)
    hidden = torch.arange(length, device=device).view(1, 1, 1, -1) > last
    return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, float("-inf"))


class Attention:
    """softmax(q kᵀ / √d) v for every group. One object serves all layers, so its buffer is allocated once."""

    def __init__(self, heads: int, kv_heads: int, head_dim: int, kernels: Kernels | None = None) -> None:
        self._kernels = kernels
        self.heads = heads
        self.kv_heads = kv_heads
        self.head_dim = head_dim
        self._buffer = torch.empty(0)
        self._tails: dict[int, Tensor] = {}

    def __call__(self, q: Tensor, cache: Tensor, layout: Layout) -> Tensor:
        """
        q         (tokens, heads, head_dim)
        cache     (block, slot, 2 · kv_heads, head_dim)   one layer, this step's keys and values already in it
        returns   (tokens, heads · head_dim)
        """
        if len(layout.groups) == 1 and layout.groups[0].lengths is not None:
            return self._decodes(q, cache, layout.groups[0])
        out = q.new_empty(q.shape)
        for group in layout.groups:
            part = slice(group.first, group.first + group.batch * group.queries)
            if group.lengths is not None:
                out[part] = self._decodes(q[part], cache, group).view_as(out[part])
            else:
                self._group(q[part], cache, group, out[part])
        return out.flatten(1)

    def _decodes(self, q: Tensor, cache: Tensor, group: Group) -> Tensor:
        """As __call__, for rows of one query each, by the kernel."""
        assert self._kernels and group.own.tables is not None and group.lengths is not None
        return self._kernels.decode(q, cache, group.own.tables, group.lengths)

    def _group(self, q: Tensor, cache: Tensor, group: Group, out: Tensor) -> None:
        """As __call__, for the rows of one group; into `out`, which is as q."""
        if group.queries > FOLDED_QUERIES:
            self._prompt(q, *self._read(cache, group.own), group, out)
            return
        shape = (group.batch, group.queries, self.kv_heads, self.heads // self.kv_heads, self.head_dim)
        rows = q.reshape(shape).transpose(1, 2).reshape(group.batch, self.kv_heads, -1, self.head_dim)
        answers = self._rows(rows, cache, group)
        out.view(shape).copy_(
            answers.view(group.batch, self.kv_heads, group.queries, -1, self.head_dim).transpose(1, 2)
        )

    def _prompt(self, q: Tensor, k: Tensor, v: Tensor, chunk: Group, out: Tensor) -> None:
        """One long chunk: q, out (queries, heads, head_dim); k, v of one sequence.

        On a CPU in pieces of TILE queries, each with the keys that it sees: with scores that stay in the processor's
        cache, bfloat16 takes 0.43 ms where SDPA's kernel takes 1.01 (64 queries, 576 keys), float32 the same.
        Scores are rounded to the model's dtype, as transformers' eager attention rounds them.
        """
        group, start = self.heads // self.kv_heads, chunk.start
        if q.is_cuda:
            # A bias object: flash attention takes no mask tensor. Imported here because the import is slow.
            from torch.nn.attention.bias import causal_lower_right

            mask = causal_lower_right(len(q), k.shape[2])
            q = q.transpose(0, 1).unsqueeze(0)
            out.copy_(F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=group > 1)[0].transpose(0, 1))
            return
        by_key_head = (len(q), self.kv_heads, group, self.head_dim)
        for piece, answer in zip(q.reshape(by_key_head).split(TILE), out.view(by_key_head).split(TILE), strict=True):
            queries = len(piece)
            start += queries
            # Into a new tensor, in which the queries of one key head are contiguous.
            rows = piece.new_empty(self.kv_heads, queries, group, self.head_dim)
            rows = torch.mul(piece.transpose(0, 1), self.head_dim**-0.5, out=rows).flatten(1, 2)
            scores = torch.bmm(rows, k[0, :, :start].transpose(1, 2))
            scores[:, :, start - queries :] += self._tail(piece)
            product = torch.bmm(scores.softmax(-1), v[0, :, :start])
            answer.copy_(product.view(self.kv_heads, queries, group, self.head_dim).transpose(0, 1))

    def _tail(self, piece: Tensor) -> Tensor:
        """The causal mask of consecutive queries over their own keys; cached by their number."""
        queries = len(piece)
        if queries not in self._tails:
            repeat = self.heads // self.kv_heads
            self._tails[queries] = causal_mask([0], queries, queries, repeat, piece.dtype, piece.device)[0]
        return self._tails[queries]

    def _rows(self, rows: Tensor, cache: Tensor, group: Group) -> Tensor:
        """rows, and what is returned: (batch, kv_heads, queries · heads per key head, head_dim)."""
        if group.shared is None:
            k, v = self._read(cache, group.own)
            return F.scaled_dot_product_attention(rows, k, v, attn_mask=group.mask)
        together = rows.transpose(0, 1).reshape(1, self.kv_heads, -1, self.head_dim)
        out_shared, lse_shared = attention_with_lse(together, *self._read(cache, group.shared))
        out_own, lse_own = attention_with_lse(rows, *self._read(cache, group.own), group.mask)
        out_shared = out_shared.view(self.kv_heads, group.batch, -1, self.head_dim).transpose(0, 1)
        lse_shared = lse_shared.view(self.kv_heads, group.batch, -1).transpose(0, 1)
        weight = torch.sigmoid(lse_shared - lse_own).unsqueeze(-1).to(out_own.dtype)
        return torch.lerp(out_own, out_shared, weight)

    def _read(self, cache: Tensor, keys: Keys) -> tuple[Tensor, Tensor]:
        """k, v  (sequences, kv_heads, length, head_dim): views where the blocks are consecutive, else of a copy."""
        if keys.tables is None:
            first = keys.run * BLOCK_TOKENS
            kv = cache.flatten(0, 1)[first : first + keys.length].unsqueeze(0)
        else:
            # The buffer is reused: the system would map and zero a new one of this size at every call.
            blocks = keys.tables.numel()
            numbers = blocks * cache[0].numel()
            if self._buffer.numel() < numbers:
                self._buffer = cache.new_empty(numbers)
            out = self._buffer[:numbers].view(blocks, *cache.shape[1:])
            torch.index_select(cache, 0, keys.tables.view(-1), out=out)
            kv = out.view(len(keys.tables), -1, *cache.shape[2:])[:, : keys.length]
        kv = kv.transpose(1, 2)
        return kv[:, : self.kv_heads], kv[:, self.kv_heads :]
