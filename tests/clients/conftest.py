"""A gateway in front of a small model service, for clients as people run them."""

from __future__ import annotations

import pytest

from tests.clients.gateways import served_by, stations
from tests.clients.service import Service
from tests.gateway.live import Live


@pytest.fixture(scope="session")
def service():
    with Service() as running:
        yield running


@pytest.fixture(scope="session")
def live(service, tmp_path_factory):
    url = stations(tmp_path_factory.mktemp("database") / "metro.db")
    databases = {"metro": {"url": url, "tables": ["dtzpt"]}}
    with Live(served_by(service, databases=databases, compat={"question": "你好"})) as running:
        yield running
