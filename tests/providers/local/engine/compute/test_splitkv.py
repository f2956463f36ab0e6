"""The Triton kernel in Triton's interpreter; skipped where Triton is not there (it comes with torch's CUDA builds)."""

from __future__ import annotations

import os

import pytest
import torch

os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton")

from providers.local.engine.compute.kvcache import BLOCK_TOKENS
from providers.local.engine.compute.splitkv import decode


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("kv_heads", "group", "dim"), [(2, 3, 16), (1, 7, 64), (4, 1, 32)])
def test_a_decode_step_attends_to_each_sequences_own_keys(dtype, kv_heads, group, dim):
    torch.manual_seed(1)
    lengths = torch.tensor([1, 16, 17, 300])
    tables = torch.randint(1, 40, (4, 20))
    cache = torch.randn(40, BLOCK_TOKENS, 2 * kv_heads, dim).to(dtype)
    # What lies behind a sequence's end is another's, and may be anything finite.
    q = torch.randn(4, kv_heads, group, dim).to(dtype)
    got = decode(q, cache, tables, lengths)
    for i, length in enumerate(lengths.tolist()):
        kv = cache[tables[i]].flatten(0, 1)[:length].float()
        k, v = kv[:, :kv_heads].transpose(0, 1), kv[:, kv_heads:].transpose(0, 1)
        expected = (q[i].float() @ k.transpose(-1, -2) / dim**0.5).softmax(-1) @ v
        torch.testing.assert_close(got[i].float(), expected, atol=2e-3 if dtype == torch.float16 else 1e-5, rtol=1e-3)
