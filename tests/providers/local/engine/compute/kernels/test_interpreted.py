"""Each Triton kernel in Triton's interpreter, beside its twin in plain torch."""

from __future__ import annotations

import os

import pytest
import torch

from providers.local.engine.compute.kernels import plain
from providers.local.engine.compute.kernels.matrix import Matrix
from providers.local.engine.compute.kvcache import BLOCK_TOKENS
from tests.parts import require

# bfloat16 is left out where a kernel multiplies matrices: the interpreter's products of it are wrong.
DTYPES = [torch.float32, torch.float16]
EPS = 1e-6


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    atol, rtol = (1e-5, 1e-5) if got.dtype == torch.float32 else (4e-3, 4e-3)
    if got.dtype == torch.bfloat16:
        atol = rtol = 2e-2
    torch.testing.assert_close(got, expected, atol=atol, rtol=rtol)


@pytest.fixture
def fused():
    """The kernels, interpreted: Triton decides that when they are defined."""
    require("triton")
    os.environ.setdefault("TRITON_INTERPRET", "1")
    from providers.local.engine.compute.kernels import fused

    torch.manual_seed(1)
    return fused


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@pytest.mark.parametrize("size", [64, 96, 300])
@pytest.mark.parametrize("way", ["norm alone", "delta", "delta and its norm"])
def test_residual_and_norm(fused, dtype, size, way):
    x, delta = torch.randn(2, 3, size).to(dtype)
    weight, post = torch.rand(2, size).to(dtype)
    told = (None if way == "norm alone" else delta, post if way == "delta and its norm" else None, weight, EPS)
    mine, other = x.clone(), x.clone()
    close(fused.add_norm(mine, *told), plain.add_norm(other, *told))
    close(mine, other)
    assert torch.equal(mine, x) == (way == "norm alone")


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(4, 2, 16), (3, 1, 80), (2, 2, 24), (5, 1, 96)])
@pytest.mark.parametrize(("turned", "normed"), [(True, False), (True, True), (False, True), (False, False)])
def test_norms_rope_and_the_write_into_the_cache(fused, dtype, heads, kv_heads, dim, turned, normed):
    tokens, blocks = 5, 4
    qkv = torch.randn(tokens, heads + 2 * kv_heads, dim).to(dtype)
    angles = torch.rand(40, 1, dim // 2)
    cos, sin = torch.cat([angles.cos()] * 2, -1).to(dtype), torch.cat([-angles.sin(), angles.sin()], -1).to(dtype)
    positions, slots = torch.tensor([0, 7, 39, 3, 3]), torch.tensor([16, 17, 63, 40, 22])
    norm = torch.rand(heads + kv_heads, dim).to(dtype) if normed else None
    caches = [torch.zeros(blocks, BLOCK_TOKENS, 2 * kv_heads, dim, dtype=dtype) for _ in range(2)]
    queries = [
        kernels.rotate(qkv.clone(), heads, (cos, sin) if turned else None, positions, slots, cache, norm, EPS)
        for kernels, cache in zip((fused, plain), caches, strict=True)
    ]
    close(*queries)
    close(*caches)
    assert caches[0].flatten(0, 1)[slots].count_nonzero() == tokens * 2 * kv_heads * dim
    assert caches[0].count_nonzero() == tokens * 2 * kv_heads * dim


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@pytest.mark.parametrize("size", [96, 1024, 1500])
def test_silu_of_the_gate_times_up(fused, dtype, size):
    gate_up = torch.randn(3, 2 * size).to(dtype)
    close(fused.activate(gate_up), plain.activate(gate_up))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("programs", [2048, 1])
@pytest.mark.parametrize(
    ("kv_heads", "group", "dim"), [(2, 3, 16), (1, 7, 64), (4, 1, 32), (1, 2, 80), (2, 1, 96), (1, 4, 112)]
)
def test_a_decode_step_attends_to_each_rows_own_keys(monkeypatch, fused, dtype, programs, kv_heads, group, dim):
    """With as many programs as a GPU has there are 64 parts of a row, with one there is one."""
    from providers.local.engine.compute.kernels import splitkv

    monkeypatch.setattr(splitkv, "PROGRAMS", programs)
    monkeypatch.setattr(splitkv, "MOST_SPLITS", 8)
    lengths = torch.tensor([1, 16, 17, 300])
    tables = torch.randint(1, 40, (4, 20))
    kv = torch.randn(40, BLOCK_TOKENS, 2 * kv_heads, dim).to(dtype)
    # Queries are the first heads of a wider product; the null block is no row's.
    kv[0] = float("nan")
    q = torch.randn(4, kv_heads * group + 2 * kv_heads, dim).to(dtype)[:, : kv_heads * group]
    close(fused.decode(q, kv, tables, lengths), plain.decode(q, kv, tables, lengths))


def test_a_row_without_a_sequence_gives_numbers(fused):
    """Its table is the null block's, and it sees one key."""
    kv = torch.zeros(2, BLOCK_TOKENS, 2, 16)
    table, length = torch.zeros(1, 3, dtype=torch.int64), torch.ones(1, dtype=torch.int64)
    got = fused.decode(torch.randn(1, 2, 16), kv, table, length)
    assert got.tolist() == torch.zeros(1, 32).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns", "deep"), [(1, 40, 96), (17, 33, 128), (70, 64, 160)])
@pytest.mark.parametrize("biased", [True, False])
def test_products_with_8_bits(fused, dtype, rows, columns, deep, biased):
    bias = torch.randn(columns).to(dtype) if biased else None
    matrix = Matrix("dense", (torch.randn(columns, deep) / 8,), bias).quantise("int8")
    x = torch.randn(rows, deep).to(dtype)
    close(fused.product(x, matrix), plain.product(x, matrix))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "columns", "deep", "groups"), [(1, 40, 128, 1), (17, 33, 256, 2), (5, 16, 96, 3)])
@pytest.mark.parametrize("biased", [True, False])
def test_products_with_4_bits(fused, dtype, rows, columns, deep, groups, biased):
    q = torch.randint(0, 256, (columns, deep // 2), dtype=torch.uint8)
    scale, zero = torch.rand(columns, groups) / 64, torch.randint(0, 16, (columns, groups)).float()
    matrix = Matrix("int4", (q, scale, zero), torch.randn(columns).to(dtype) if biased else None)
    x = torch.randn(rows, deep).to(dtype)
    close(fused.product(x, matrix), plain.product(x, matrix))
