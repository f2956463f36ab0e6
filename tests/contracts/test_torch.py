"""Torch's private parts that the engine uses are in the installed torch and do what torch_private says.

If one of these fails after an upgrade, look at providers/local/engine/compute/torch_private.py: the plain way beside
each (F.linear, scaled_dot_product_attention) is what it has to equal.
"""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch
from torch import nn

from providers.local.engine.compute import torch_private as private


@pytest.mark.parametrize("name", private.PRIVATE_OPERATORS)
def test_torch_has_the_operator(name):
    assert callable(attrgetter(name)(torch.ops)), f"torch {torch.__version__} has no torch.ops.{name}"


def test_a_packed_product_equals_the_plain_one():
    torch.manual_seed(0)
    x, weight, bias, other = torch.randn(3, 8), torch.randn(16, 8), torch.randn(16), torch.randn(3, 16)
    plain = nn.functional.linear(x, weight, bias)
    packed = private.pack(weight)
    close = torch.testing.assert_close
    close(private.packed_linear(x, packed, bias), plain)
    close(private.packed_linear(x, packed, bias, "swish"), nn.functional.silu(plain))
    close(private.packed_linear_with(x, other, packed, bias, "mul"), plain * other)
    close(private.packed_linear_with(x, other, packed, bias, "add"), plain + other)


def test_attention_gives_the_log_sum_exp_of_its_scores():
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 2, 5, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
    out, lse = private.attention_with_lse(q, k, v)
    torch.testing.assert_close(out, nn.functional.scaled_dot_product_attention(q, k, v))
    torch.testing.assert_close(lse, (q @ k.transpose(2, 3) / 8**0.5).logsumexp(-1))
