"""Clients in a real Chromium, with keys on: cut in mid-answer they go on without gap or repeat."""

from __future__ import annotations

import hashlib

import pytest

from tests.clients.gateways import served_by
from tests.clients.service import COUNTED
from tests.gateway.live import Live
from tests.reliability.proxy import Proxy

ALL = "".join(COUNTED)
KEY = {"Authorization": "Bearer key-of-a"}


@pytest.fixture(scope="module")
def gateway(service, pages):
    auth = {"keys": [hashlib.sha256(b"key-of-a").hexdigest()], "secret": "sixteen characters"}
    server = {"cors": [pages.url], "resume_window_s": 10}
    with Live(served_by(service, auth=auth, server=server)) as running, Proxy(("127.0.0.1", running.port)) as proxy:
        yield running, proxy, f"http://127.0.0.1:{proxy.port}"


def test_an_event_source_with_a_ticket_comes_back_after_a_cut(browser, pages, gateway, service):
    live, proxy, url = gateway
    with live.call("POST", "/tickets", {"origin": pages.url}, KEY) as reply:
        ticket = reply.json()["ticket"]
    page = browser.page()
    page.open(f"{pages.url}/eventsource.html?sluice={url}&ticket={ticket}&provider=counted")
    page.js("document.querySelector('#question').value = 'cut in chromium'")
    page.click("#ask")
    page.wait("document.querySelector('#answer').textContent.length > 20")
    proxy.cut()
    page.wait("document.querySelector('#answer').dataset.ended === 'done'")
    assert page.js("document.querySelector('#answer').textContent") == ALL
    assert service.questions("cut in chromium") == 1
    page.close()


def test_the_page_asks_with_a_ticket_from_its_addresss_fragment_and_comes_back_after_a_cut(browser, gateway, service):
    live, proxy, url = gateway
    with live.call("POST", "/tickets", {}, KEY) as reply:
        ticket = reply.json()["ticket"]
    page = browser.page()
    page.call("Page.navigate", url=f"{url}/#ticket={ticket}")
    page.wait("document.querySelectorAll('#provider option').length > 1")
    assert page.js("location.href") == f"{url}/" and not page.js("document.querySelector('#gate').open")
    page.js("const box = document.querySelector('#provider'); box.value = 'counted'")
    page.js("document.querySelector('#question').focus()")
    page.type("fragment in chromium")
    page.press("Enter")
    page.wait("document.querySelector('.prose')?.textContent.length > 20")
    proxy.cut()
    page.wait(
        "document.querySelector('.by') && document.querySelector('.prose').textContent.length >= " + str(len(ALL))
    )
    assert page.text(".prose") == ALL
    assert service.questions("fragment in chromium") == 1
    page.close()
