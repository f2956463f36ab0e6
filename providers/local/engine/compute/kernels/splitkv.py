"""Decode attention over blocks on a GPU: one query per row, the keys split among programs (Triton).

A row's keys are cut into runs of tiles, each run read by a program of its own, because one query per row would
otherwise keep only rows · kv_heads programs busy (https://pytorch.org/blog/flash-decoding/). Every program keeps a
running maximum and sum, as flash attention does, and writes its part with its log-sum-exp; a second kernel adds the
parts with their weights:

    out = Σ_s softmax_s(lse_s) · out_s

With one part per row (large batches) the first kernel writes the result itself. A head may have any even size: 80, 96
and 112 are padded to 128 in registers. Offsets are int64, so a layer's cache may have more than 2³¹ numbers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# So many programs keep a large GPU's 132 processors busy; and at most so many parts of one row.
PROGRAMS, MOST_SPLITS = 2048, 64
# Keys that a program reads at once.
TILE = 64


@triton.jit(do_not_specialize=["table_stride"])
def split_kernel(  # type: ignore[no-untyped-def]
    q_ptr, kv_ptr, tables_ptr, lengths_ptr, out_ptr, lse_ptr, scale, table_stride, q_stride,
    KV_HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr, WIDE: tl.constexpr,
    SLOTS: tl.constexpr, TILE: tl.constexpr, SPLITS: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """q (rows, KV_HEADS, GROUP, DIM) · kv (block, SLOTS, 2 · KV_HEADS, DIM) → out, lse of one split.

    ROWS is GROUP rounded up to what tl.dot takes, WIDE is DIM rounded up to a power of 2. EXACT: products in float32.
    """
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths_ptr + row)
    tiles = tl.cdiv(length, TILE)
    per_split = tl.cdiv(tiles, SPLITS)
    first = split * per_split
    last = tl.minimum(first + per_split, tiles)
    heads, dims, keys = tl.arange(0, ROWS), tl.arange(0, WIDE), tl.arange(0, TILE)
    live = (heads < GROUP)[:, None] & (dims < DIM)[None, :]
    q_at = row.to(tl.int64) * q_stride + (head * GROUP + heads)[:, None] * DIM + dims[None, :]
    q = tl.load(q_ptr + q_at, mask=live, other=0.0)
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    out = tl.zeros((ROWS, WIDE), tl.float32)
    for i in range(first, last):
        at = i * TILE + keys
        seen = at < length
        block = tl.load(tables_ptr + row.to(tl.int64) * table_stride + at // SLOTS, mask=seen, other=0).to(tl.int64)
        k_at = ((block * SLOTS + at % SLOTS)[:, None] * (2 * KV_HEADS) + head) * DIM + dims[None, :]
        there = seen[:, None] & (dims < DIM)[None, :]
        k = tl.load(kv_ptr + k_at, mask=there, other=0.0)
        v = tl.load(kv_ptr + k_at + KV_HEADS * DIM, mask=there, other=0.0)
        if EXACT:
            scores = tl.dot(q.to(tl.float32), tl.trans(k.to(tl.float32)), input_precision="ieee") * scale
        else:
            scores = tl.dot(q, tl.trans(k)) * scale
        scores = tl.where(seen[None, :], scores, float("-inf"))
        highest = tl.maximum(top, tl.max(scores, 1))
        weights = tl.exp(scores - highest[:, None])
        shrink = tl.exp(top - highest)
        total = total * shrink + tl.sum(weights, 1)
        if EXACT:
            part = tl.dot(weights, v.to(tl.float32), input_precision="ieee")
        else:
            part = tl.dot(weights.to(v.dtype), v)
        out = out * shrink[:, None] + part
        top = highest
    # A split without keys has a total of 0: it weighs nothing, and must not divide.
    some = total > 0
    out = out / tl.where(some, total, 1.0)[:, None]
    at = ((row * KV_HEADS + head) * SPLITS + split).to(tl.int64) * GROUP + heads
    if SPLITS > 1:
        lse = tl.where(some, top + tl.log(tl.where(some, total, 1.0)), float("-inf"))
        tl.store(lse_ptr + at, lse, mask=heads < GROUP)
    tl.store(out_ptr + at[:, None] * DIM + dims[None, :], out.to(out_ptr.dtype.element_ty), mask=live)


@triton.jit
def join_kernel(  # type: ignore[no-untyped-def]
    parts_ptr, lse_ptr, out_ptr,
    GROUP: tl.constexpr, DIM: tl.constexpr, WIDE: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """parts (rows · KV_HEADS, SPLITS, GROUP, DIM), lse → out (rows · KV_HEADS, GROUP, DIM); a program per head."""
    pair, member = tl.program_id(0), tl.program_id(1)
    splits, dims = tl.arange(0, SPLITS), tl.arange(0, WIDE)
    at = (pair * SPLITS + splits).to(tl.int64) * GROUP + member
    lse = tl.load(lse_ptr + at)
    weights = tl.exp(lse - tl.max(lse, 0))
    weights = weights / tl.sum(weights, 0)
    parts = tl.load(parts_ptr + at[:, None] * DIM + dims[None, :], mask=(dims < DIM)[None, :], other=0.0)
    out = tl.sum(parts * weights[:, None], 0)
    tl.store(out_ptr + (pair * GROUP + member) * DIM + dims, out.to(out_ptr.dtype.element_ty), mask=dims < DIM)


def decode(q: Tensor, kv: Tensor, tables: Tensor, lengths: Tensor) -> Tensor:
    """See plain.decode; a row's queries are contiguous."""
    rows, heads, dim = q.shape
    kv_heads = kv.shape[2] // 2
    group, wide = heads // kv_heads, max(16, triton.next_power_of_2(dim))
    splits = min(MOST_SPLITS, triton.next_power_of_2(-(-PROGRAMS // (rows * kv_heads))))
    out = q.new_empty(rows, heads * dim)
    parts, lse = out, out
    if splits > 1:
        parts = torch.empty(rows, kv_heads, splits, group, dim, dtype=torch.float32, device=q.device)
        lse = torch.empty(rows, kv_heads, splits, group, dtype=torch.float32, device=q.device)
    split_kernel[(rows, kv_heads, splits)](
        q, kv, tables, lengths, parts, lse, dim**-0.5, tables.stride(0), q.stride(0),
        KV_HEADS=kv_heads, GROUP=group, ROWS=max(16, triton.next_power_of_2(group)), DIM=dim, WIDE=wide,
        SLOTS=kv.shape[1], TILE=TILE, SPLITS=splits, EXACT=q.dtype == torch.float32, num_warps=4,
    )  # fmt: skip
    if splits > 1:
        join_kernel[(rows * kv_heads, group)](
            parts, lse, out, GROUP=group, DIM=dim, WIDE=wide, SPLITS=splits, num_warps=1
        )
    return out
