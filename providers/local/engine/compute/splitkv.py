"""Decode attention over blocks on a GPU: one query per sequence, the keys split among programs (Triton).

A sequence's keys are cut into runs of blocks, each read by a program of its own, because one query per
sequence would otherwise keep only batch · kv_heads programs busy (https://pytorch.org/blog/flash-decoding/). Every
program keeps a running maximum and sum, as flash attention does, and writes its part with its log-sum-exp; the parts
are then added with their weights:

    out = Σ_s softmax_s(lse_s) · out_s

Not yet measured on a GPU; judged against plain attention in Triton's interpreter.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# So many programs keep a large GPU's 132 processors busy; and at most so many parts of one sequence.
PROGRAMS, MOST_SPLITS = 2048, 64


@triton.jit(do_not_specialize=["table_stride"])
def _split(  # type: ignore[no-untyped-def]
    q_ptr, cache_ptr, tables_ptr, lengths_ptr, out_ptr, lse_ptr, scale, table_stride,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, SLOTS: tl.constexpr,
    SPLITS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """q (batch, KV_HEADS, GROUP, DIM) · cache (block, SLOTS, 2 · KV_HEADS, DIM) → out, lse of one split.

    ROWS is GROUP rounded up to what tl.dot takes; the rows beyond are computed and not written.
    """
    sequence, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths_ptr + sequence)
    blocks = tl.cdiv(length, SLOTS)
    per_split = tl.cdiv(blocks, SPLITS)
    first = split * per_split
    last = tl.minimum(first + per_split, blocks)
    rows, dims, slots = tl.arange(0, ROWS), tl.arange(0, DIM), tl.arange(0, SLOTS)
    live = (rows < GROUP)[:, None]
    q_at = ((sequence * KV_HEADS + head) * GROUP + rows)[:, None] * DIM + dims[None, :]
    q = tl.load(q_ptr + q_at, mask=live, other=0.0).to(tl.float32) * scale
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    out = tl.zeros((ROWS, DIM), tl.float32)
    for i in range(first, last):
        block = tl.load(tables_ptr + sequence * table_stride + i)
        row = (block * SLOTS + slots)[:, None] * (2 * KV_HEADS)
        seen = i * SLOTS + slots < length
        k_at = (row + head) * DIM + dims[None, :]
        k = tl.load(cache_ptr + k_at, mask=seen[:, None], other=0.0).to(tl.float32)
        v = tl.load(cache_ptr + k_at + KV_HEADS * DIM, mask=seen[:, None], other=0.0).to(tl.float32)
        scores = tl.where(seen[None, :], tl.dot(q, tl.trans(k), input_precision=PRECISION), float("-inf"))
        highest = tl.maximum(top, tl.max(scores, 1))
        weights = tl.exp(scores - highest[:, None])
        shrink = tl.exp(top - highest)
        total = total * shrink + tl.sum(weights, 1)
        out = out * shrink[:, None] + tl.dot(weights, v, input_precision=PRECISION)
        top = highest
    # A split without blocks has a total of 0: it weighs nothing, and must not divide.
    some = total > 0
    at = ((sequence * KV_HEADS + head) * SPLITS + split) * GROUP + rows
    tl.store(lse_ptr + at, tl.where(some, top + tl.log(tl.where(some, total, 1.0)), float("-inf")), mask=rows < GROUP)
    tl.store(out_ptr + at[:, None] * DIM + dims[None, :], out / tl.where(some, total, 1.0)[:, None], mask=live)


def decode(q: Tensor, cache: Tensor, tables: Tensor, lengths: Tensor) -> Tensor:
    """
    q         (batch, kv_heads, heads per key head, head_dim); head_dim a power of two
    cache     (block, slot, 2 · kv_heads, head_dim)
    tables    (batch, blocks)   int64
    lengths   (batch,)          int64, at least 1
    returns   as q
    """
    batch, kv_heads, group, dim = q.shape
    splits = min(MOST_SPLITS, triton.next_power_of_2(-(-PROGRAMS // (batch * kv_heads))))
    out = torch.empty(batch, kv_heads, splits, group, dim, dtype=torch.float32, device=q.device)
    lse = torch.empty(batch, kv_heads, splits, group, dtype=torch.float32, device=q.device)
    _split[(batch, kv_heads, splits)](
        q.contiguous(), cache, tables, lengths, out, lse, dim**-0.5, tables.stride(0),
        KV_HEADS=kv_heads, GROUP=group, ROWS=max(16, triton.next_power_of_2(group)), DIM=dim, SLOTS=cache.shape[1],
        SPLITS=splits, PRECISION="ieee" if cache.dtype == torch.float32 else "tf32",
    )  # fmt: skip
    return (lse.softmax(2).unsqueeze(-1) * out).sum(2).to(q.dtype)
