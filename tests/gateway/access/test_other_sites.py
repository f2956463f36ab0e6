"""A page on another site, in a real browser, against a gateway on loopback: its database is not read, nothing is asked.

Two host names lead to this machine: the gateway's own, and one of an attacker's, as after DNS rebinding.
"""

from __future__ import annotations

import http.server
import json
import threading

import pytest

from providers.scripted import Upstream
from tests.gateway.configurations import configuration
from tests.gateway.live import Live
from tests.gateway.web.chromium import chromium
from tests.parts import require

EVIL = "evil.example"
PAGE = b"<!doctype html><title>a page</title><p>hello"


class Attacker(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *values):
        pass


@pytest.fixture(scope="module")
def attacker():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Attacker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{EVIL}:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with chromium(require("chromium"), f"--host-resolver-rules=MAP {EVIL} 127.0.0.1") as found:
        yield found


@pytest.fixture
def upstream():
    with Upstream(text="```sql\nSELECT name FROM goods\n```") as running:
        yield running


@pytest.fixture
def gateway(upstream, tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "shop.db") as made:
        made.execute("CREATE TABLE goods (name text)")
        made.execute("INSERT INTO goods VALUES ('a secret')")
    with Live(configuration(upstream, databases={"shop": {"url": f"sqlite:///{tmp_path}/shop.db"}})) as live:
        yield live


ASK = """fetch("%s/getAnwser", {
  method: "POST",
  headers: {"Content-Type": "application/json", Accept: "application/json"},
  body: JSON.stringify({question: "all goods"}),
}).then(reply => reply.text(), error => "refused: " + error)"""


def test_the_gateways_own_page_reads_its_database(browser, gateway, upstream):
    """Else the tests below could not fail."""
    page = browser.page()
    page.open(f"{gateway.url}/")
    assert "a secret" in page.js(ASK % "")
    assert len(upstream.asked) == 1


def test_a_name_that_was_made_to_point_here_reads_nothing(browser, gateway, upstream):
    page = browser.page()
    page.call("Page.navigate", url=f"http://{EVIL}:{gateway.port}/healthz")
    page.wait("document.readyState === 'complete' && location.hostname === 'evil.example'")
    for path, options in (("/getAnwser?question=all+goods", "{}"), ("/page/state", "{}"), ("/v1/models", "{}")):
        status = page.js(f"fetch('{path}', {options}).then(reply => reply.status)")
        assert status == 403, path
    found = page.js(ASK % "")
    assert json.loads(found)["error"]["code"] == "forbidden" and "a secret" not in found
    assert upstream.asked == []


OTHER_WAYS = {
    "an image": "new Promise(done => {{ const image = new Image(); image.onload = image.onerror = () => done('over');"
    " image.src = '{url}/getAnwser?question=all+goods'; }})",
    "a script": "new Promise(done => {{ const tag = document.createElement('script'); tag.onload = tag.onerror ="
    " () => done('over'); tag.src = '{url}/getAnwser?question=all+goods'; document.head.append(tag); }})",
    "an EventSource": "new Promise(done => {{ const source = new EventSource('{url}/getAnwser?question=all+goods');"
    " source.onerror = () => {{ source.close(); done('over'); }}; source.onmessage = event => done(event.data); }})",
    "a fetch without preflight": "fetch('{url}/getAnwser', {{method: 'POST', mode: 'no-cors',"
    " body: JSON.stringify({{question: 'all goods'}})}}).then(() => 'over')",
    "a beacon": "new Promise(done => {{ navigator.sendBeacon('{url}/getAnwser', new Blob(['{{\"question\": \"a\"}}'],"
    " {{type: 'text/plain'}})); setTimeout(() => done('over'), 500); }})",
    "a form": "new Promise(done => {{ const frame = document.createElement('iframe'); frame.name = 'f'; let loads = 0;"
    " frame.onload = () => {{ if (++loads > 1) done('over'); }}; document.body.append(frame);"
    " const form = document.createElement('form'); form.method = 'POST'; form.enctype = 'text/plain';"
    " form.target = 'f';"
    " form.action = '{url}/getAnwser'; document.body.append(form); form.submit();"
    " setTimeout(() => done('over'), 2000); }})",
    "a frame": "new Promise(done => {{ const frame = document.createElement('iframe');"
    " frame.onload = () => done('over'); frame.src = '{url}/getAnwser?question=all+goods';"
    " document.body.append(frame); }})",
}


@pytest.mark.parametrize("way", OTHER_WAYS)
def test_a_page_of_another_site_asks_nothing(browser, gateway, upstream, attacker, way):
    page = browser.page()
    page.open(attacker)
    assert page.js(OTHER_WAYS[way].format(url=gateway.url)) == "over"
    assert page.js(ASK % gateway.url).startswith("refused: ")
    # What was sent has been answered by now.
    with gateway.call("GET", "/healthz") as reply:
        assert reply.status == 200
    assert upstream.asked == []
