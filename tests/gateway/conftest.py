"""A scripted upstream, and applications that ask it."""

from __future__ import annotations

import pytest

from gateway.app import create_app
from gateway.settings import parse
from providers.scripted import Upstream

SAYS = "你好，this reply comes token by token\n\n👩‍👧 – çà et là."


@pytest.fixture(scope="module")
def upstream():
    with Upstream() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_asked_yet(request):
    if "upstream" in request.fixturenames:
        request.getfixturevalue("upstream").forget()


def provider(upstream, plan="", **more):
    """A provider's configuration; `plan` is what its requests meet."""
    model = f"m@{plan}" if plan else "m"
    return {"type": "openai", "base_url": upstream.base_url("openai"), "model": model, "retries": 0, **more}


def configuration(upstream, plans=None, **more):
    """A configuration whose default provider is `vllm`, with one more provider for each of `plans`."""
    providers = {"vllm": provider(upstream)}
    providers |= {name: provider(upstream, plan) for name, plan in (plans or {}).items()}
    return {"default": "vllm", "providers": providers | more.pop("providers", {}), **more}


@pytest.fixture
def app_for(upstream):
    """Builds an application; `plans` are further providers, everything else is configuration."""

    def built(plans=None, **more):
        return create_app(parse(configuration(upstream, plans, **more), environ={}))

    return built


@pytest.fixture
def client(app_for):
    return app_for().test_client()
