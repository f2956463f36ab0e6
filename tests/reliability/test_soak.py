"""Twenty seconds of random faults (`pytest -m slow`); `make soak` goes on for ten minutes."""

from __future__ import annotations

import pytest

from tests.reliability.soak import Soak


@pytest.mark.slow
def test_all_promises_are_kept_under_random_faults():
    soak = Soak(seed=1, seconds=20)
    assert soak.run() == []
    assert soak.ends["done"] > 20
