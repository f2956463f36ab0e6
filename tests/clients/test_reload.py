"""A reload in Chromium in the middle of an answer, with keys on: through the shipped nginx, two workers and Redis.

Each row is a way to read an answer. After the reload it shows the whole answer, without gap or repeat, and the upstream
was asked once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest

from tests.clients.gateways import served_by, stations
from tests.clients.pages import Pages
from tests.clients.service import COUNTED
from tests.gateway.live import Live, is_worker
from tests.gateway.redis_server import RedisServer
from tests.gateway.web.chromium import Page
from tests.parts import require
from tests.reliability.rig import Nginx
from tests.waiting import eventually

ALL = "".join(COUNTED)
KEY = "key-of-a"


@pytest.fixture(scope="module")
def gateway(service, pages, tmp_path_factory):
    """Two workers that share their answers, behind nginx: the gateway, and nginx's address."""
    require("redis-server")
    folder = tmp_path_factory.mktemp("nginx")
    store = RedisServer()
    configuration = served_by(
        service,
        default="slow",
        databases={"metro": {"url": stations(folder / "metro.db"), "tables": ["dtzpt"]}},
        auth={"keys": [hashlib.sha256(KEY.encode()).hexdigest()], "secret": "sixteen characters"},
        server={"workers": 2, "redis_url": store.url, "resume_window_s": 20, "cors": [pages.url]},
    )
    with Live(configuration) as running:
        assert eventually(lambda: sum(map(is_worker, running.workers())) == 2)
        nginx = Nginx(folder, running.port)
        yield running, f"http://127.0.0.1:{nginx.port}"
        nginx.kill()
    store.close()


def ask_on_the_page(page: Page, live: Live, pages: Pages, url: str, question: str) -> None:
    page.open(url)
    page.wait("document.querySelector('#gate').open")
    page.js(f"document.querySelector('#gate-key').value = '{KEY}'")
    page.click("#gate-form button[type=submit]")
    page.wait("document.querySelectorAll('#provider option').length > 1")
    page.js("document.querySelector('#question').focus()")
    page.type(question)
    page.press("Enter")


def ask_with_an_event_source(page: Page, live: Live, pages: Pages, url: str, question: str) -> None:
    with live.call("POST", "/tickets", {"origin": pages.url}, {"Authorization": f"Bearer {KEY}"}) as reply:
        ticket = reply.json()["ticket"]
    query = urlencode({"sluice": url, "ticket": ticket, "database": "none"})
    page.open(f"{pages.url}/eventsource.html?{query}")
    page.js(f"document.querySelector('#question').value = '{question}'")
    page.click("#ask")


def ask_with_use_chat(script: str) -> Callable[..., None]:
    def ask(page: Page, live: Live, pages: Pages, url: str, question: str) -> None:
        query = urlencode({"sluice": url, "key": KEY, "chat": f"chat of {question}"})
        page.open(f"{pages.bundled(script)}?{query}")
        page.wait("!!document.querySelector('input')")
        page.js("document.querySelector('input').focus()")
        page.type(question)
        page.press("Enter")

    return ask


def ask_for_a_response(page: Page, live: Live, pages: Pages, url: str, question: str) -> None:
    query = urlencode({"sluice": url, "key": KEY, "question": question})
    page.open(f"{pages.bundled('responses_page.mjs')}?{query}")


@dataclass(frozen=True)
class Row:
    """
    ask    opens the page and asks
    text   selector of the element with the answer's text
    over   condition that holds when the page knows that the answer has ended
    """

    ask: Callable[..., None]
    text: str
    over: str


ROWS = {
    "the page": Row(ask_on_the_page, ".prose", "!!document.querySelector('.by')"),
    "EventSource with a ticket": Row(
        ask_with_an_event_source, "#answer", "document.querySelector('#answer').dataset.ended === 'done'"
    ),
    "useChat of React": Row(
        ask_with_use_chat("react_page.mjs"), "article:nth-of-type(2)", "!document.querySelector('button')"
    ),
    "Chat of Vue": Row(
        ask_with_use_chat("vue_example.mjs"), "article:nth-of-type(2)", "!document.querySelector('button')"
    ),
    "starting_after of the Responses API": Row(
        ask_for_a_response, "#app", "document.querySelector('#app').dataset.ended === 'done'"
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_reload_in_mid_answer_loses_and_repeats_nothing(browser, gateway, pages, service, name):
    row, (live, url) = ROWS[name], gateway
    question = f"reloaded {name}"
    page = browser.page()
    row.ask(page, live, pages, url, question)
    shown = f"(document.querySelector('{row.text}')?.textContent ?? '').trim()"
    page.wait(f"{shown}.length > 20")
    seen = page.js(f"(window.before = true, {shown})")
    assert ALL.startswith(seen) and seen != ALL
    page.call("Page.reload")
    page.wait(f"!window.before && {shown}.length > {len(seen)}")
    page.wait(f"{shown}.length >= {len(ALL)} && {row.over}")
    assert page.js(shown) == ALL
    assert service.questions(question) == 1
    page.close()


@pytest.mark.parametrize("script", ["react_page.mjs", "vue_example.mjs"])
def test_the_examples_stop_button_stops_the_answer_at_the_upstream(browser, gateway, pages, service, script):
    live, url = gateway
    service.closed.clear()
    page = browser.page()
    ask_with_use_chat(script)(page, live, pages, url, f"stopped {script}")
    page.wait("document.querySelector('article:nth-of-type(2)')?.textContent.trim().length > 10")
    page.click("button")
    page.wait("!document.querySelector('button')")
    text = page.js("document.querySelector('article:nth-of-type(2)').textContent.trim()")
    assert ALL.startswith(text) and text != ALL
    page.until(lambda: service.closed == ["slow"])
    page.close()
