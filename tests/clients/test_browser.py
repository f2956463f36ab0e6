"""Clients in a real Chromium, with keys on: cut or reloaded in mid-answer they go on without gap or repeat."""

from __future__ import annotations

import functools
import hashlib
import http.server
import subprocess
import threading
from pathlib import Path

import pytest

from tests.clients import node_modules
from tests.clients.gateways import served_by
from tests.clients.service import COUNTED
from tests.gateway.live import Live
from tests.gateway.web.chromium import chromium
from tests.parts import require
from tests.ports import free_port
from tests.reliability.proxy import Proxy

ALL = "".join(COUNTED)
KEY = {"Authorization": "Bearer key-of-a"}
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "browser"


@pytest.fixture(scope="module")
def browser():
    with chromium(require("chromium")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A web server of another origin with the example's page and the bundled one; its URL."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "eventsource.html").write_bytes((EXAMPLES / "eventsource.html").read_bytes())
    port = free_port()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{port}", folder
    server.shutdown()


@pytest.fixture(scope="module")
def gateway(service, pages):
    auth = {"keys": [hashlib.sha256(b"key-of-a").hexdigest()], "secret": "sixteen characters"}
    server = {"cors": [pages[0]], "resume_window_s": 10}
    with Live(served_by(service, auth=auth, server=server)) as running, Proxy(("127.0.0.1", running.port)) as proxy:
        yield running, proxy, f"http://127.0.0.1:{proxy.port}"


def test_an_event_source_with_a_ticket_comes_back_after_a_cut(browser, pages, gateway, service):
    live, proxy, url = gateway
    with live.call("POST", "/tickets", {"origin": pages[0]}, KEY) as reply:
        ticket = reply.json()["ticket"]
    page = browser.page()
    page.open(f"{pages[0]}/eventsource.html?sluice={url}&ticket={ticket}&provider=counted")
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


def test_the_ai_sdks_chat_in_vue_resumes_after_a_reload_and_is_stopped(browser, pages, gateway, service):
    folder = node_modules.installed()
    bundle = [require("node"), "node_modules/esbuild/bin/esbuild", "vue_page.mjs", "--bundle", "--format=esm"]
    defines = ['--define:process.env.NODE_ENV="production"', f"--outfile={pages[1] / 'chat.js'}", "--log-level=error"]
    subprocess.run([*bundle, *defines], cwd=folder, check=True, timeout=60)
    script = '<!doctype html><meta charset="utf-8"><div id="app"></div><script type="module" src="chat.js"></script>'
    (pages[1] / "chat.html").write_text(script, "utf-8")
    _, _, url = gateway
    page = browser.page()
    page.open(f"{pages[0]}/chat.html?sluice={url}&key=key-of-a")
    page.wait("document.querySelector('.assistant')?.textContent.length > 20")
    page.call("Page.reload")
    page.wait("document.querySelector('.assistant')?.textContent.length > 0")
    page.wait("document.querySelector('#chat').dataset.status === 'ready'")
    assert page.texts(".assistant") == [ALL] and page.texts(".user") == ["asked in chromium"]
    assert service.questions("asked in chromium") == 1
    page.js("localStorage.clear()")
    service.closed.clear()
    page.call("Page.reload")
    page.wait("document.querySelector('.assistant')?.textContent.length > 20")
    assert page.js("stop_answer().then(reply => reply.status)") == 204
    page.wait("document.querySelector('#chat').dataset.status === 'ready'")
    assert ALL.startswith(page.text(".assistant")) and page.text(".assistant") != ALL
    page.until(lambda: service.closed == ["counted"])
    page.close()
