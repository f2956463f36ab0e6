"""A browser for all tests of the page, and for each a scripted server and a page on it."""

from __future__ import annotations

import pytest

from tests.gateway.web.chromium import chromium
from tests.gateway.web.scripted import Scripted, opened, served
from tests.parts import require


@pytest.fixture(scope="package")
def browser():
    with chromium(require("chromium")) as found:
        yield found


@pytest.fixture
def server():
    scripted = Scripted()
    with served(scripted.app) as scripted.url:
        yield scripted


@pytest.fixture(scope="package")
def tab(browser):
    return browser.page()


@pytest.fixture
def page(tab, server):
    """An English page on the scripted server; it must end without a complaint in the console.

    One tab serves them all, for a new one takes longer than most tests; each server's port is an origin of its own.
    """
    tab.size(width=1280, height=860)
    tab.media(prefers_color_scheme="light")
    tab.speaks("en-US")
    tab.call("Storage.clearDataForOrigin", origin=server.url, storageTypes="all")
    opened(tab, server)
    yield tab
    found = [line for line in tab.complaints() if "Failed to load resource" not in line]
    tab.open("about:blank")
    tab.events.clear()
    assert found == []
