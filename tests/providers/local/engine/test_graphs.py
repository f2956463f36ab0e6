from __future__ import annotations

import pytest

from providers.local.engine.graphs import sizes


@pytest.mark.parametrize(
    ("max_batch", "expected"),
    [(1, [1]), (3, [1, 2, 4]), (8, [1, 2, 4, 8]), (20, [1, 2, 4, 8, 16, 24]), (32, [1, 2, 4, 8, 16, 24, 32])],
)
def test_every_batch_finds_a_captured_size(max_batch, expected):
    assert sizes(max_batch) == expected
