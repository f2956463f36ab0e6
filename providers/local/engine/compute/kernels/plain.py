"""The kernels' twins in plain torch: what each computes, and what they are judged by."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from providers.local.engine.compute.kernels.matrix import Matrix


def add_norm(x: Tensor, delta: Tensor | None, post: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    """x ← x + delta, in place; returns rms(x) · weight.   rms(x) = x / √(mean x² + ε), computed in float32

    x, delta   (tokens, hidden)   without delta, x stays
    post       (hidden,)          what is added is rms(delta) · post, in families that have it
    """
    if delta is not None:
        x += delta if post is None else F.rms_norm(delta, delta.shape[-1:], post, eps)
    return F.rms_norm(x, x.shape[-1:], weight, eps)


def rotate(
    qkv: Tensor,
    heads: int,
    turns: tuple[Tensor, Tensor] | None,
    positions: Tensor,
    slots: Tensor,
    kv: Tensor,
    qk_norm: Tensor | None,
    eps: float,
) -> Tensor:
    """Norm and rope of the queries, in place; of the keys, into the cache, and the values beside them.

        rope(x) = x · cos + swap_halves(x) · sin         sin is −sin in the first half

    qkv         (tokens, heads + 2 · kv_heads, head_dim)
    turns       cos and sin, (max_context, 1, head_dim); None in a layer without rope
    positions   (tokens,) int64
    slots       (tokens,) int64, where each token's keys and values go
    kv          (block, slot, 2 · kv_heads, head_dim), one layer of the cache
    qk_norm     (heads + kv_heads, head_dim); None in families without
    returns     the queries: (tokens, heads, head_dim), a view of qkv
    """
    turned = heads + kv.shape[2] // 2
    qk = qkv[:, :turned]
    if qk_norm is not None:
        qk.copy_(F.rms_norm(qk, qk.shape[-1:], None, eps) * qk_norm)
    if turns is not None:
        cos, sin = (table[positions] for table in turns)
        qk.copy_((qk * cos).addcmul_(qk.roll(qk.shape[-1] // 2, -1), sin))
    kv.flatten(0, 1).index_copy_(0, slots, qkv[:, heads:])
    return qkv[:, :heads]


def decode(q: Tensor, kv: Tensor, tables: Tensor, lengths: Tensor) -> Tensor:
    """softmax(q kᵀ / √head_dim) v for rows of one query each.

    q         (rows, heads, head_dim)
    kv        (block, slot, 2 · kv_heads, head_dim)
    tables    (rows, blocks) int64, the blocks of each row's sequence
    lengths   (rows,) int64, how many keys the row sees: at least 1
    returns   (rows, heads · head_dim)
    """
    rows, heads, dim = q.shape
    kv_heads = kv.shape[2] // 2
    read = kv[tables].flatten(1, 2).transpose(1, 2)
    hidden = lengths.new_ones(read.shape[2]).cumsum(0) > lengths.view(-1, 1, 1, 1)
    q = q.reshape(rows, kv_heads, heads // kv_heads, dim)
    scores = (q @ read[:, :kv_heads].transpose(2, 3) * dim**-0.5).masked_fill(hidden, float("-inf"))
    # 0 · NaN is NaN, and what lies behind a row's end may be anything.
    values = read[:, kv_heads:].masked_fill(hidden.transpose(2, 3), 0)
    return (scores.softmax(-1) @ values).reshape(rows, heads * dim)


def activate(gate_up: Tensor) -> Tensor:
    """silu(gate) ⊙ up: (tokens, 2 · intermediate) → (tokens, intermediate)"""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


def product(x: Tensor, matrix: Matrix) -> Tensor:
    """x Wᵀ + b, (rows, out), with a matrix of fewer bits; x (rows, in) in the order of its columns."""
    return F.linear(x, matrix.dense(x.dtype), matrix.bias)
