"""A scripted upstream, and applications that ask it."""

from __future__ import annotations

import pytest

from gateway.app import create_app
from gateway.settings import parse
from providers.scripted import Upstream
from tests.gateway.configurations import configuration


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_asked_yet(request):
    if "upstream" in request.fixturenames:
        request.getfixturevalue("upstream").forget()


@pytest.fixture
def app_for(upstream):
    """Builds an application; `plans` are further providers, everything else is configuration."""

    def built(plans=None, **more):
        return create_app(parse(configuration(upstream, plans, **more), environ={}))

    return built


@pytest.fixture
def client(app_for):
    return app_for().test_client()
