"""Attention of a step's tokens over the paged cache.

The tokens of all chunks lie behind each other, so that everything but attention sees one matrix. Chunks with the same
number of queries are one group and one call; a decode step is one group of one query per sequence. Query heads that
share a key head are rows of one product (grouped-query attention without repeating keys and values).

Sequences whose first blocks are the same ones (one schema prompt, many questions) attend to those together: all their
queries are rows of one product, and the shared keys are read once per step instead of once per sequence. The two parts
are put together by their log-sum-exps (https://arxiv.org/abs/2402.05099 tells why that is exact):

    out = out_own + σ(lse_shared − lse_own) · (out_shared − out_own)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from providers.local.engine.kvcache import BLOCK_TOKENS

# Up to here chunks of one length are one call; a longer one is work enough by itself.
FOLDED_QUERIES = 32
TILE = 64


@dataclass(slots=True)
class Keys:
    """Where keys and values lie.

    tables    (sequences, blocks)  int64, padded with the null block; None if `run` says it
    run       the first block, where one sequence's blocks are consecutive: then nothing is copied
    length    how many keys the longest sequence has here
    """

    tables: Tensor | None
    run: int
    length: int


@dataclass(slots=True)
class Group:
    """`batch` chunks of `queries` tokens each, which are rows `first` … of the step.

    own       each sequence's keys; without those in `shared`, where there are such
    shared    keys that all of them begin with, as of one sequence
    mask      (batch, 1, rows or 1, own.length)  0 or −inf, in the cache's dtype; None where all keys are seen
    start     the first query's position, of a single long chunk; on a CPU it needs no mask
    lengths   (batch,)  how many keys each sequence has, where the GPU's decode kernel is to be used
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
    """softmax(q kᵀ / √d) v for every group; one object for all layers, so that its buffer is made once."""

    def __init__(self, heads: int, kv_heads: int, head_dim: int) -> None:
        self.heads = heads
        self.kv_heads = kv_heads
        self.head_dim = head_dim
        self._buffer = torch.empty(0)

    def __call__(self, q: Tensor, cache: Tensor, layout: Layout) -> Tensor:
        """
        q         (tokens, heads, head_dim)
        cache     (block, slot, 2 · kv_heads, head_dim)   one layer, this step's keys and values already in it
        returns   (tokens, heads · head_dim)
        """
        outputs = [self._group(q, cache, group) for group in layout.groups]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _group(self, q: Tensor, cache: Tensor, group: Group) -> Tensor:
        tokens = group.batch * group.queries
        q = q[group.first : group.first + tokens]
        if group.queries > FOLDED_QUERIES:
            return self._prompt(q, *self._read(cache, group.own), group)
        shape = (group.batch, group.queries, self.kv_heads, self.heads // self.kv_heads, self.head_dim)
        rows = q.reshape(shape).transpose(1, 2).reshape(group.batch, self.kv_heads, -1, self.head_dim)
        out = self._rows(rows, cache, group)
        out = out.view(group.batch, self.kv_heads, group.queries, -1, self.head_dim).transpose(1, 2)
        return out.reshape(tokens, -1)

    def _prompt(self, q: Tensor, k: Tensor, v: Tensor, chunk: Group) -> Tensor:
        """One long chunk: q (queries, heads, head_dim); k, v of one sequence.

        On a CPU in pieces of TILE queries, each with the keys that it sees: with scores that stay in the processor's
        cache, bfloat16 takes 0.43 ms where SDPA's kernel takes 1.01 (64 queries, 576 keys), float32 the same.
        Scores are rounded to the model's dtype, as transformers' eager attention rounds them.
        """
        group, start = self.heads // self.kv_heads, chunk.start
        if q.is_cuda:
            mask = chunk.mask
            out = F.scaled_dot_product_attention(
                q.transpose(0, 1).unsqueeze(0), k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=group > 1
            )
            return out[0].transpose(0, 1).reshape(len(q), -1)
        outputs = []
        for piece in (q * self.head_dim**-0.5).split(TILE):
            queries = len(piece)
            start += queries
            rows = piece.view(queries, self.kv_heads, group, self.head_dim).transpose(0, 1)
            rows = rows.reshape(self.kv_heads, queries * group, self.head_dim)
            scores = torch.bmm(rows, k[0, :, :start].transpose(1, 2))
            scores[:, :, start - queries :] += causal_mask([0], queries, queries, group, q.dtype, q.device)[0]
            out = torch.bmm(scores.softmax(-1), v[0, :, :start])
            outputs.append(out.view(self.kv_heads, queries, group, self.head_dim).transpose(0, 1).reshape(queries, -1))
        return torch.cat(outputs)

    def _rows(self, rows: Tensor, cache: Tensor, group: Group) -> Tensor:
        """rows, and what is returned: (batch, kv_heads, queries · heads per key head, head_dim)."""
        if group.lengths is not None:
            from providers.local.engine.splitkv import decode

            assert group.own.tables is not None
            return decode(rows, cache, group.own.tables, group.lengths)
        if group.shared is None:
            k, v = self._read(cache, group.own)
            return F.scaled_dot_product_attention(rows, k, v, attn_mask=group.mask)
        together = rows.transpose(0, 1).reshape(1, self.kv_heads, -1, self.head_dim)
        out_shared, lse_shared = _shared(together, *self._read(cache, group.shared))
        out_own, lse_own = _with_lse(rows, *self._read(cache, group.own), group.mask)
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
            # The buffer is kept: a fresh one this large would be mapped and zeroed by the system every time.
            blocks = keys.tables.numel()
            numbers = blocks * cache[0].numel()
            if (
                self._buffer.numel() < numbers
                or self._buffer.dtype != cache.dtype
                or self._buffer.device != cache.device
            ):
                self._buffer = torch.empty(numbers, dtype=cache.dtype, device=cache.device)
            out = self._buffer[:numbers].view(blocks, *cache.shape[1:])
            torch.index_select(cache, 0, keys.tables.view(-1), out=out)
            kv = out.view(len(keys.tables), -1, *cache.shape[2:])[:, : keys.length]
        kv = kv.transpose(1, 2)
        return kv[:, : self.kv_heads], kv[:, self.kv_heads :]


# So many rows' scores stay in the processor's cache; for less than half of them the kernel is as fast.
SHARED_ROWS = 256


def _shared(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """As `_with_lse`, over keys that all of many rows see.

    In bfloat16 as plain products, scores rounded to it as in `_prompt`: 0.39 ms where SDPA's kernel takes 0.55 (128
    rows of 2 heads, 512 keys), about equal at 64 rows. In float32 the kernel is faster.
    """
    rows = q.shape[2]
    if q.dtype != torch.bfloat16 or 2 * rows < SHARED_ROWS:
        return _with_lse(q, k, v, None)
    outs, sums = [], []
    for piece in (q[0] * q.shape[-1] ** -0.5).split(SHARED_ROWS, 1):
        scores = torch.bmm(piece, k[0].transpose(1, 2)).float()
        top = scores.amax(-1, keepdim=True)
        weights = scores.sub_(top).exp_()
        total = weights.sum(-1, keepdim=True)
        outs.append(torch.bmm(weights.div_(total).to(v.dtype), v[0]))
        sums.append(total.log_().add_(top).squeeze(-1))
    return torch.cat(outs, 1).unsqueeze(0), torch.cat(sums, 1).unsqueeze(0)


def _with_lse(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attention and the log-sum-exp of its scores, (batch, kv_heads, rows); the kernel behind SDPA on a CPU."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, False, attn_mask=mask)
    return out, lse
