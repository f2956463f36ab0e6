"""The operator's overview in front of the whole gateway, and who may see it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from demo.metro.build import build
from providers.scripted import Upstream
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
REPLY = "```sql\nSELECT name FROM dtzpt LIMIT 3\n```\n"
KEYS = {"operator-key": True, "team-key": False}
CONFIGURATION = """
server: {{bind: "{bind}", metrics_bind: null}}
default: vllm
providers:
  vllm: {{type: openai, base_url: "{upstream}", model: any}}
  down: {{type: openai, base_url: "http://127.0.0.1:1/v1", model: none}}
databases:
  metro: {{url: "sqlite:///metro.db", tables: [dtzpt, lines, riders]}}
auth: {{keys: {keys}}}
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    build(folder / "metro.db")
    bind = f"127.0.0.1:{free_port()}"
    keys = [
        {"sha256": hashlib.sha256(key.encode()).hexdigest(), "name": key.removesuffix("-key"), "admin": admin}
        for key, admin in KEYS.items()
    ]
    with Upstream(text=REPLY) as upstream:
        file = folder / "sluice.yaml"
        file.write_text(CONFIGURATION.format(bind=bind, upstream=upstream.base_url("openai"), keys=json.dumps(keys)))
        server = subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", "serve", "--config", str(file)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"SLUICE_RUN_DIR": str(folder / "run")},
        )  # fmt: skip
        try:
            assert server.stdout is not None and server.stdout.readline() == f"sluice: ready on http://{bind}\n"
            yield f"http://{bind}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)


def call(url: str, key: str, body: dict | None = None) -> tuple[int, dict]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "Accept": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30) as reply:  # noqa: S310
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_only_a_key_with_the_right_admin_sees_the_figures(url):
    assert call(f"{url}/admin/state", "team-key")[1]["error"]["code"] == "forbidden"
    assert call(f"{url}/admin/state", "wrong")[0] == 401
    status, state = call(f"{url}/admin/state", "operator-key")
    assert status == 200 and [provider["name"] for provider in state["providers"]] == ["vllm", "down"]
    assert not any(key in json.dumps(state) for key in KEYS)


def test_the_page_shows_answers_failures_and_their_request_ids(url, browser):
    assert call(f"{url}/getAnwser", "team-key", {"question": "沈塘桥地铁站的信息"})[0] == 200
    assert call(f"{url}/getAnwser", "team-key", {"question": "q", "provider": "down"})[0] == 502
    page = browser.page()
    page.speaks("en-US")
    page.open(f"{url}/admin")
    page.wait("document.querySelector('#gate').open")
    page.js("document.querySelector('#gate-key').focus()")
    page.type("operator-key")
    page.press("Enter")
    page.wait("document.querySelectorAll('#overview section').length >= 4")
    texts = page.text("#overview")
    assert "vllm · any" in texts and "metro" in texts and "upstream_connect" in texts and "team" in texts
    request_id = page.js(
        "[...document.querySelectorAll('#overview section:last-child tbody td:last-child')][0].textContent"
    )
    assert len(request_id) == 16
    page.click("#language")
    assert "模型服务" in page.text("#overview") and page.text("h1") == "运行概况"
    found = [line for line in page.complaints() if "Failed to load resource" not in line]
    page.close()
    assert found == []


def test_a_ticket_in_the_tab_does_not_hide_the_key_of_the_device(url, browser):
    page = browser.page()
    page.open(f"{url}/healthz")
    page.js("localStorage.setItem('sluice-key', 'operator-key'); sessionStorage.setItem('sluice-ticket', 'x.y')")
    page.open(f"{url}/admin")
    page.wait("document.querySelectorAll('#overview section').length >= 4")
    assert not page.js("document.querySelector('#gate').open")
    page.close()
