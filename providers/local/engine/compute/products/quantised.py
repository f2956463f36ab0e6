"""Products with weights of 8 or 4 bits: x Wᵀ + b with the numbers that Matrix.dense gives, in x's dtype.

With few rows reading the weights is what costs: on a GPU a kernel reads them as they are. Otherwise a tile of rows at
a time is made dense and multiplied, so that no more than a tile lies in memory twice. On a CPU that is also the way of
few rows in float32; in bfloat16 torch's int8 product takes them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from providers.local.engine.compute.kernels import Kernels
from providers.local.engine.compute.kernels.matrix import Matrix
from providers.local.engine.compute.torch_private import int8_linear

# Above, a kernel would read the weights from the device's memory more often than a dense tile is written and read.
KERNEL_ROWS = 256
# Rows of x that torch's int8 product reads the weights for once: 664 µs for 1 row and 1,301 for 4, 24,886 for 16
# (AVX2, 4864 × 896), where the dense product of float32 takes 984, 1,940 and 3,149.
INT8_ROWS = 4
# Numbers of a dense tile: on a CPU what its cache holds.
TILE = {"cpu": 1 << 19, "cuda": 1 << 25}


class Quantised:
    """As Linear, for a matrix that is not dense."""

    def __init__(self, matrix: Matrix, kernels: Kernels | None) -> None:
        self._matrix, self._kernels = matrix, kernels
        self._scale = matrix.parts[1]
        wide = matrix.parts[0].shape[1] * (2 if matrix.form == "int4" else 1)
        tile = max(1, TILE.get(matrix.parts[0].device.type, 1 << 19) // wide)
        self._tiles = [slice(at, min(at + tile, matrix.rows)) for at in range(0, matrix.rows, tile)]

    def __call__(self, x: Tensor) -> Tensor:
        matrix = self._matrix
        if matrix.order is not None:
            x = x.index_select(1, matrix.order)
        if self._kernels and len(x) <= KERNEL_ROWS:
            return self._kernels.product(x, matrix)
        if matrix.form == "int8" and x.dtype == torch.bfloat16 and not x.is_cuda and len(x) <= INT8_ROWS:
            out = int8_linear(x, matrix.parts[0], self._scale.to(x.dtype))
            return out if matrix.bias is None else out.add_(matrix.bias)
        out = x.new_empty(len(x), matrix.rows)
        for tile in self._tiles:
            bias = None if matrix.bias is None else matrix.bias[tile]
            out[:, tile] = F.linear(x, matrix.dense(x.dtype, tile), bias)
        return out

    def silu(self, x: Tensor) -> Tensor:
        """silu(x Wᵀ + b)"""
        return F.silu(self(x), inplace=True)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """(x Wᵀ + b) ⊙ other"""
        return self(x).mul_(other)

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """x Wᵀ + b + other"""
        return self(x).add_(other)
