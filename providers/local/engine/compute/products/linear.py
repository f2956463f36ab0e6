"""Products with a dense weight, and the choice of a matrix's product."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from providers.local.engine.compute.kernels import Kernels
from providers.local.engine.compute.kernels.matrix import Matrix
from providers.local.engine.compute.products.quantised import Quantised
from providers.local.engine.compute.torch_private import can_pack, pack, packed_linear, packed_linear_with

# Below so many numbers, oneDNN's call costs more than its product saves for a single row (15 against 6 µs at 576 ×
# 192, fp32).
SMALL_MATRIX = 1 << 20


class Linear:
    """x Wᵀ + b, and what may follow it.

    On a CPU the weight is reordered once into oneDNN's blocks: 1.5 to 3 times as fast; and what follows is computed
    while the product is still in registers: 5 % of an MLP's time with hundreds of rows.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.bias = bias
        self.packed: Tensor | None = None
        self.weight: Tensor | None = weight
        if can_pack(weight):
            self.packed = pack(weight)
            if weight.dtype != torch.float32 or weight.numel() > SMALL_MATRIX:
                self.weight = None

    def __call__(self, x: Tensor) -> Tensor:
        if (weight := self._plain(x)) is not None:
            return F.linear(x, weight, self.bias)
        return packed_linear(x, self.packed, self.bias)

    def silu(self, x: Tensor) -> Tensor:
        """silu(x Wᵀ + b)"""
        if (weight := self._plain(x)) is not None:
            return F.silu(F.linear(x, weight, self.bias), inplace=True)
        return packed_linear(x, self.packed, self.bias, "swish")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """(x Wᵀ + b) ⊙ other"""
        if (weight := self._plain(x)) is not None:
            return F.linear(x, weight, self.bias).mul_(other)
        return packed_linear_with(x, other, self.packed, self.bias, "mul")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """x Wᵀ + b + other"""
        if (weight := self._plain(x)) is not None:
            return F.linear(x, weight, self.bias).add_(other)
        return packed_linear_with(x, other, self.packed, self.bias, "add")

    def _plain(self, x: Tensor) -> Tensor | None:
        """The weight as it was, where that is to be used."""
        return self.weight if self.packed is None or x.shape[0] == 1 else None


Product = Linear | Quantised


def product_of(matrix: Matrix, kernels: Kernels | None) -> Product:
    """The products of a matrix in its form."""
    if matrix.form == "dense":
        return Linear(matrix.parts[0], matrix.bias)
    return Quantised(matrix, kernels)
