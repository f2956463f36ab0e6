"""Norms of queries and keys, rope and the write into the KV cache as one kernel: a program per token and head.

    a, b      the two halves of a head
    a' = a · cos₁ + b · sin₁        sin₁ = −sin θ, sin₂ = sin θ
    b' = b · cos₂ + a · sin₂

A query head is written where it was, a key or a value head into its slot of the cache. A head may have any even size:
halves are padded to a power of 2 in registers.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def rotate_kernel(  # type: ignore[no-untyped-def]
    qkv_ptr, cos_ptr, sin_ptr, positions_ptr, slots_ptr, kv_ptr, norm_ptr, eps,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, DIM: tl.constexpr, HALF: tl.constexpr,
    TURNED: tl.constexpr, NORM: tl.constexpr,
):  # fmt: skip
    """qkv (tokens, HEADS + 2 · KV_HEADS, DIM) · kv (slots, 2 · KV_HEADS, DIM) · HALF, a power of 2, at least DIM / 2"""
    token, head = tl.program_id(0), tl.program_id(1)
    i = tl.arange(0, HALF)
    live = i < DIM // 2
    at = qkv_ptr + (token * (HEADS + 2 * KV_HEADS) + head) * DIM + i
    a = tl.load(at, mask=live, other=0.0).to(tl.float32)
    b = tl.load(at + DIM // 2, mask=live, other=0.0).to(tl.float32)
    if head < HEADS + KV_HEADS:
        if NORM:
            scale = tl.rsqrt((tl.sum(a * a, 0) + tl.sum(b * b, 0)) / DIM + eps)
            a *= scale * tl.load(norm_ptr + head * DIM + i, mask=live, other=0.0).to(tl.float32)
            b *= scale * tl.load(norm_ptr + head * DIM + DIM // 2 + i, mask=live, other=0.0).to(tl.float32)
        if TURNED:
            turn = tl.load(positions_ptr + token) * DIM + i
            before = a
            a = a * tl.load(cos_ptr + turn, mask=live, other=0.0) + b * tl.load(sin_ptr + turn, mask=live, other=0.0)
            turn += DIM // 2
            b = b * tl.load(cos_ptr + turn, mask=live, other=0.0)
            b += before * tl.load(sin_ptr + turn, mask=live, other=0.0)
    if head < HEADS:
        to = at
    else:
        to = kv_ptr + (tl.load(slots_ptr + token) * (2 * KV_HEADS) + head - HEADS) * DIM + i
    tl.store(to, a.to(qkv_ptr.dtype.element_ty), mask=live)
    tl.store(to + DIM // 2, b.to(qkv_ptr.dtype.element_ty), mask=live)


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
    """See plain.rotate; qkv is contiguous."""
    tokens, every, dim = qkv.shape
    cos, sin = turns or (qkv, qkv)
    rotate_kernel[(tokens, every)](
        qkv, cos, sin, positions, slots, kv, qkv if qk_norm is None else qk_norm, eps,
        HEADS=heads, KV_HEADS=kv.shape[2] // 2, DIM=dim, HALF=triton.next_power_of_2(dim // 2),
        TURNED=turns is not None, NORM=qk_norm is not None, num_warps=1,
    )  # fmt: skip
    return qkv[:, :heads]
