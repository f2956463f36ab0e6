from __future__ import annotations

import pytest

from providers.stream import tool_calls


@pytest.fixture(autouse=True, scope="session")
def steady_ids():
    """Ids that are made for calls without one are the same in every run, so that runs can be compared."""
    made = tool_calls.made_id
    tool_calls.made_id = lambda index: f"call_made_{index}"
    yield
    tool_calls.made_id = made
