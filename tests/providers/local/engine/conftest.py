from __future__ import annotations

import pytest

from tests.providers.local.engine import running


@pytest.fixture(params=running.WAYS)
def way(request, monkeypatch):
    """Engines that a test makes run in each of the ways."""
    monkeypatch.setattr(running, "WAY", request.param)
    return request.param
