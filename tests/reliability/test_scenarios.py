"""What whole parts do to streams when they are ended, stopped or started again; three rigs at a time."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.reliability.scenarios import Scenario, scenarios


@pytest.fixture(scope="module")
def playing(request):
    """The scenarios that were selected, begun: most of their time is waiting."""
    chosen = [item.callspec.params["scenario"] for item in request.session.items if item.path == request.path]
    with ThreadPoolExecutor(3) as pool:
        yield {scenario: pool.submit(scenario.run) for scenario in chosen}


@pytest.mark.parametrize("scenario", [scenario for scenario in scenarios() if not scenario.full], ids=str)
def test_streams_survive_or_end_clearly(scenario: Scenario, playing: dict[Scenario, Future]):
    playing[scenario].result()
