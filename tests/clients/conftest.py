"""A gateway in front of a small model service, for clients as people run them; a browser, and pages for it."""

from __future__ import annotations

import pytest

from tests.clients.gateways import served_by, stations
from tests.clients.pages import Pages
from tests.clients.service import Service
from tests.gateway.live import Live
from tests.gateway.web.chromium import chromium
from tests.parts import require


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


@pytest.fixture(scope="module")
def browser():
    with chromium(require("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    serving = Pages(tmp_path_factory.mktemp("pages"))
    yield serving
    serving.close()
