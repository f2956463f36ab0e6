from __future__ import annotations

import sys

import pytest

from tests.providers.local.engine import running


@pytest.fixture(params=running.WAYS)
def way(request, monkeypatch):
    """Engines that a test makes run in each of the ways."""
    monkeypatch.setattr(running, "WAY", request.param)
    # Whatever is put there for the kernel goes with the test.
    monkeypatch.delitem(sys.modules, "providers.local.engine.compute.splitkv", raising=False)
    return request.param
