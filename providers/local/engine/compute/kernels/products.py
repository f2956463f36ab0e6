"""Products with weights of 8 or 4 bits, read as they are: a program per tile of outputs and of rows.

    int8, fp8    y = (x · qᵀ) · s + b
    int4         y = x · ((q − z) · s)ᵀ + b      scale and zero of each group of inputs

Sums are float32. Not split along the inputs, so a row's result does not depend on how programs are scheduled.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from providers.local.engine.compute.kernels.matrix import Matrix

COLUMNS, DEEP = 32, 128


@triton.jit
def int8_kernel(  # type: ignore[no-untyped-def]
    x_ptr, q_ptr, scale_ptr, bias_ptr, out_ptr, rows, columns, deep,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEEP: tl.constexpr, BIAS: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """x (rows, deep) · q (columns, deep), int8 or float8 → out (rows, columns)"""
    n = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    m = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, deep, DEEP):
        k = first + tl.arange(0, DEEP)
        q_at = n.to(tl.int64)[:, None] * deep + k[None, :]
        q = tl.load(q_ptr + q_at, mask=(n < columns)[:, None] & (k < deep)[None, :], other=0.0)
        x = tl.load(x_ptr + m[:, None] * deep + k[None, :], mask=(m < rows)[:, None] & (k < deep)[None, :], other=0.0)
        if EXACT:
            total += tl.dot(x.to(tl.float32), tl.trans(q.to(tl.float32)), input_precision="ieee")
        else:
            total += tl.dot(x, tl.trans(q.to(x.dtype)))
    total *= tl.load(scale_ptr + n, mask=n < columns, other=0.0)[None, :]
    if BIAS:
        total += tl.load(bias_ptr + n, mask=n < columns, other=0.0).to(tl.float32)[None, :]
    at = out_ptr + m[:, None] * columns + n[None, :]
    tl.store(at, total.to(out_ptr.dtype.element_ty), mask=(m < rows)[:, None] & (n < columns)[None, :])


@triton.jit
def int4_kernel(  # type: ignore[no-untyped-def]
    x_ptr, q_ptr, scale_ptr, zero_ptr, bias_ptr, out_ptr, rows, columns, deep, groups,
    GROUP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEEP: tl.constexpr, BIAS: tl.constexpr,
    EXACT: tl.constexpr,
):  # fmt: skip
    """x (rows, deep) · q (columns, deep / 2) → out (rows, columns). DEEP divides GROUP; GROUP 0: one group for all."""
    n = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    m = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    there, live = (n < columns)[:, None], (m < rows)[:, None]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, deep, DEEP):
        group = n * groups
        if GROUP > 0:
            group += first // GROUP
        scale = tl.load(scale_ptr + group, mask=n < columns, other=0.0)[:, None]
        zero = tl.load(zero_ptr + group, mask=n < columns, other=0.0)[:, None]
        j = first // 2 + tl.arange(0, DEEP // 2)
        inside = (j < deep // 2)[None, :]
        q = tl.load(q_ptr + n.to(tl.int64)[:, None] * (deep // 2) + j[None, :], mask=there & inside, other=0)
        even = ((q & 15).to(tl.float32) - zero) * scale
        odd = ((q >> 4).to(tl.float32) - zero) * scale
        x_at = x_ptr + m[:, None] * deep + 2 * j[None, :]
        x_even = tl.load(x_at, mask=live & inside, other=0.0)
        x_odd = tl.load(x_at + 1, mask=live & inside, other=0.0)
        if EXACT:
            total += tl.dot(x_even.to(tl.float32), tl.trans(even), input_precision="ieee")
            total += tl.dot(x_odd.to(tl.float32), tl.trans(odd), input_precision="ieee")
        else:
            total += tl.dot(x_even, tl.trans(even.to(x_even.dtype)))
            total += tl.dot(x_odd, tl.trans(odd.to(x_odd.dtype)))
    if BIAS:
        total += tl.load(bias_ptr + n, mask=n < columns, other=0.0).to(tl.float32)[None, :]
    at = out_ptr + m[:, None] * columns + n[None, :]
    tl.store(at, total.to(out_ptr.dtype.element_ty), mask=live & (n < columns)[None, :])


def product(x: Tensor, matrix: Matrix) -> Tensor:
    """See plain.product; x is contiguous."""
    rows, deep = x.shape
    columns = matrix.rows
    out = x.new_empty(rows, columns)
    tile = min(64, max(16, triton.next_power_of_2(rows)))
    grid = triton.cdiv(columns, COLUMNS), triton.cdiv(rows, tile)
    bias, exact = matrix.bias, x.element_size() == 4
    constants = {"ROWS": tile, "COLUMNS": COLUMNS, "BIAS": bias is not None, "EXACT": exact, "num_warps": 4}
    bias = x if bias is None else bias
    if matrix.form == "int4":
        groups = matrix.parts[1].shape[1]
        group = deep // groups if groups > 1 else 0
        run = DEEP if group % DEEP == 0 else 64 if group % 64 == 0 else 32
        int4_kernel[grid](x, *matrix.parts, bias, out, rows, columns, deep, groups, GROUP=group, DEEP=run, **constants)
    else:
        int8_kernel[grid](x, *matrix.parts, bias, out, rows, columns, deep, DEEP=DEEP, **constants)
    return out
