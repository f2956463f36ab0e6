"""silu(gate) · up as one kernel behind one product of both: a program per token and run of WIDE numbers."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

WIDE = 1024


@triton.jit
def activate_kernel(gate_up_ptr, out_ptr, SIZE: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """gate_up (tokens, 2 · SIZE) → out (tokens, SIZE).   silu(g) = g / (1 + e⁻ᵍ)"""
    token = tl.program_id(0)
    i = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    live = i < SIZE
    gate = tl.load(gate_up_ptr + token * 2 * SIZE + i, mask=live, other=0.0).to(tl.float32)
    up = tl.load(gate_up_ptr + token * 2 * SIZE + SIZE + i, mask=live, other=0.0).to(tl.float32)
    tl.store(out_ptr + token * SIZE + i, (gate / (1 + tl.exp(-gate)) * up).to(out_ptr.dtype.element_ty), mask=live)


def activate(gate_up: Tensor) -> Tensor:
    """See plain.activate; gate_up is contiguous."""
    tokens, size = gate_up.shape[0], gate_up.shape[1] // 2
    out = gate_up.new_empty(tokens, size)
    activate_kernel[(tokens, triton.cdiv(size, WIDE))](gate_up, out, SIZE=size, WIDE=WIDE, num_warps=4)
    return out
