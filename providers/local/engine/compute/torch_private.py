"""Every private part of torch that the engine uses, and nothing else.

tests/contracts/test_torch.py asserts that the installed torch has each of them with these results. After an upgrade of
torch look here first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

PRIVATE_OPERATORS = (
    "mkldnn._reorder_linear_weight",
    "mkldnn._linear_pointwise",
    "mkldnn._linear_pointwise.binary",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "mkldnn._is_mkldnn_bf16_supported",
    "aten._weight_int8pack_mm",
)
"""Names under torch.ops, as this module calls them."""


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN can reorder this weight and multiply with it."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and packs_bfloat16())


def packs_bfloat16() -> bool:
    """Whether this CPU has what oneDNN needs for bfloat16: AVX-512. Without it packing raises."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack(weight: Tensor) -> Tensor:
    """`weight` (out, in) in oneDNN's blocked layout, once, for packed_linear."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return packed


def packed_linear(x: Tensor, packed: Any, bias: Tensor | None, activation: str = "none") -> Tensor:
    """activation(x Wᵀ + b); activation is "none" or "swish" (silu)."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], "")
    return result


def packed_linear_with(x: Tensor, other: Tensor, packed: Any, bias: Tensor | None, operation: str) -> Tensor:
    """(x Wᵀ + b) · other for "mul", + other for "add"."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, packed, bias, operation)
    return result


def attention_with_lse(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention and the log-sum-exp of its scores, (batch, heads, rows): the kernel behind SDPA on a CPU."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, False, attn_mask=mask)
    return out, lse


def int8_linear(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """x (weight · scale)ᵀ on a CPU: weight (out, in) int8, scale (out,) in x's dtype."""
    result: Tensor = torch.ops.aten._weight_int8pack_mm(x, weight, scale)
    return result
