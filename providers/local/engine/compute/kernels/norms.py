"""Residual + norm as one kernel: a program per token, which holds the token's numbers in registers.

    x ← x + delta                  (with `post`: x + rms(delta) · post)
    h = x / √(mean x² + ε) · w

x is rounded to its dtype before it is normalised, as transformers does it. Reads x and delta once, writes x and h.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def add_norm_kernel(  # type: ignore[no-untyped-def]
    x_ptr, delta_ptr, post_ptr, weight_ptr, out_ptr, eps,
    SIZE: tl.constexpr, WIDE: tl.constexpr, DELTA: tl.constexpr, POST: tl.constexpr,
):  # fmt: skip
    """x, delta, out (tokens, SIZE); post, weight (SIZE,). WIDE is SIZE rounded up to a power of 2."""
    i = tl.arange(0, WIDE)
    live = i < SIZE
    at = tl.program_id(0) * SIZE + i
    x = tl.load(x_ptr + at, mask=live, other=0.0).to(tl.float32)
    if DELTA:
        delta = tl.load(delta_ptr + at, mask=live, other=0.0).to(tl.float32)
        if POST:
            delta *= tl.rsqrt(tl.sum(delta * delta, 0) / SIZE + eps)
            delta *= tl.load(post_ptr + i, mask=live, other=0.0).to(tl.float32)
        rounded = (x + delta).to(x_ptr.dtype.element_ty)
        tl.store(x_ptr + at, rounded, mask=live)
        x = rounded.to(tl.float32)
    x *= tl.rsqrt(tl.sum(x * x, 0) / SIZE + eps)
    x *= tl.load(weight_ptr + i, mask=live, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, x.to(out_ptr.dtype.element_ty), mask=live)


def add_norm(x: Tensor, delta: Tensor | None, post: Tensor | None, weight: Tensor, eps: float) -> Tensor:
    """See plain.add_norm; x and delta are contiguous."""
    tokens, size = x.shape
    out = torch.empty_like(x)
    wide = triton.next_power_of_2(size)
    add_norm_kernel[(tokens,)](
        x, x if delta is None else delta, weight if post is None else post, weight, out, eps,
        SIZE=size, WIDE=wide, DELTA=delta is not None, POST=post is not None, num_warps=min(16, max(1, wide // 512)),
    )  # fmt: skip
    return out
