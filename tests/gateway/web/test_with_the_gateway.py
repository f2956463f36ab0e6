"""The page in front of the whole gateway: gunicorn, the metro database, and a scripted upstream."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo.metro.build import build
from providers.scripted import Upstream
from tests.gateway.web.scripted import OVER, ask
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[3]
SQL = "SELECT name, line, opened FROM dtzpt WHERE name = '沈塘桥' ORDER BY line"
REPLY = f"查询沈塘桥站：\n\n```sql\n{SQL}\n```\n"
CONFIGURATION = """
server: {{bind: "{bind}", metrics_bind: null, resume_window_s: 0.5}}
default: vllm
providers:
  vllm: {{type: openai, base_url: "{upstream}", model: any}}
  other: {{type: openai, base_url: "{upstream}", model: another}}
  qwen: {{type: dashscope, model: qwen-max, api_key: "${{SLUICE_TEST_NO_SUCH_KEY}}"}}
databases:
  metro: {{url: "sqlite:///metro.db", tables: [dtzpt, lines, riders]}}
  short: {{url: "sqlite:///metro.db", tables: [dtzpt], row_limit: 5}}
  shorter: {{url: "sqlite:///metro.db", tables: [dtzpt], row_limit: 5, export_rows: 7}}
  narrow: {{url: "sqlite:///metro.db", tables: [dtzpt], row_limit: 5, export_bytes: 300000}}
"""


@pytest.fixture(scope="module")
def model_service():
    with Upstream(pace_s=0.03, text=REPLY) as found:
        yield found


@pytest.fixture(scope="module")
def url(model_service, tmp_path_factory):
    """A gateway of its own, as `sluice serve` starts it."""
    folder = tmp_path_factory.mktemp("gateway")
    build(folder / "metro.db")
    bind = f"127.0.0.1:{free_port()}"
    file = folder / "sluice.yaml"
    file.write_text(CONFIGURATION.format(bind=bind, upstream=model_service.base_url("openai")), "utf-8")
    command = [sys.executable, "-m", "gateway.cli", "serve", "--config", str(file)]
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"SLUICE_RUN_DIR": str(folder / "run")}
    )
    try:
        assert server.stdout.readline() == f"sluice: ready on http://{bind}\n"
        yield f"http://{bind}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


@pytest.fixture
def page(browser, url):
    page = browser.page()
    page.speaks("zh-CN")
    page.open(url + "/")
    page.wait("document.querySelectorAll('#provider option').length === 3")
    yield page
    found = page.complaints()
    page.close()
    assert found == []


def test_a_question_streams_its_answer_its_sql_and_its_rows(page, model_service):
    asked = len(model_service.asked)
    page.js("""
      window.lengths = new Set();
      new MutationObserver(() => lengths.add(document.querySelector('.prose')?.textContent.length))
        .observe(document.querySelector('#turns'), {subtree: true, childList: true, characterData: true})
    """)
    ask(page, "沈塘桥地铁站的信息")
    page.wait(OVER)
    assert page.js("lengths.size") > 3  # over time, not in one block
    assert page.text(".by") == "vllm\nany"
    assert page.text(".kind").endswith("dtzpt") and page.text(".verdict") == "已校验"
    assert page.texts("th") == ["name", "line", "opened"]
    assert page.texts("td")[:2] == ["沈塘桥", "19号线"]
    assert len(model_service.asked) == asked + 1


def test_stopping_closes_the_upstream_and_keeps_the_text(page, model_service):
    model_service.plan_next("hang=between")
    ask(page, "沈塘桥地铁站的信息")
    page.wait("document.querySelector('.prose')?.textContent.length > 0")
    assert model_service.open_connections()
    page.press("Escape")
    page.wait(OVER)
    assert model_service.wait_until(lambda: not model_service.open_connections(), 10)
    assert page.text(".prose") and page.text(".answer > .aside") == "已停止"


def test_a_native_event_source_asks_once(page, model_service):
    asked = len(model_service.asked)
    names = page.js("""new Promise((resolve) => {
      const got = [], source = new EventSource("/getAnwser?database=metro&key=k1&question=%E6%B2%88%E5%A1%98%E6%A1%A5");
      for (const name of ["start", "sql", "rows", "done"]) source.addEventListener(name, () => got.push(name));
      source.onerror = () => source.readyState === EventSource.CLOSED && resolve(got);
    })""")
    assert names == ["start", "sql", "rows", "done"]
    assert len(model_service.asked) == asked + 1


def test_the_tables_of_a_database_are_shown_with_their_comments(page):
    page.click("#tables")
    page.wait("document.querySelectorAll('.tables details').length === 3")
    assert page.texts(".tables summary strong") == ["dtzpt", "lines", "riders"]
    assert "行政区" in page.text(".tables details[open]") and "TEXT" in page.text(".tables details[open]")
    refused = page.js("fetch('/page/schema?database=secret').then(reply => reply.json())")
    assert refused["error"]["code"] == "bad_request"
    page.events.clear()  # the console reports every refusal


def test_a_statement_is_edited_and_run_by_the_guard_without_a_model(page, model_service):
    ask(page, "沈塘桥地铁站的信息")
    page.wait(OVER)
    asked = len(model_service.asked)
    for sql, shown in (("SELECT COUNT(*) AS n FROM lines", ".edited .result"), ("DELETE FROM lines", ".edited .why")):
        page.click(".code .edit")
        page.wait("document.activeElement.matches('.code textarea')")
        page.js("document.activeElement.select()")
        page.type(sql)
        page.press("Enter", control=True)
        page.wait(f"document.querySelector('{shown}')")
    assert page.js("document.querySelector('.edited .chart .big').lastChild.textContent") == "12"
    assert page.text(".edited .why span") == "这里只能运行 SELECT，不能运行 DELETE"
    assert len(model_service.asked) == asked
    page.events.clear()  # the console reports every refusal


STATIONS = "SELECT name, district FROM dtzpt ORDER BY id"
PAIRS = "SELECT a.name, b.name AS other FROM dtzpt AS a CROSS JOIN dtzpt AS b"
BROKEN = "没有存完：服务器中途断开了。请再试一次，或缩小查询范围。"


@pytest.mark.parametrize(
    ("database", "sql", "lines", "said"),
    [("short", STATIONS, 305, "已保存全部 305 行。"), ("narrow", PAIRS, None, BROKEN),
     ("shorter", STATIONS, 7, "已保存前 7 行：服务器一次最多给这么多，后面可能还有。")],
)  # fmt: skip
def test_every_row_of_a_long_result_is_saved_from_the_page(page, model_service, database, sql, lines, said):
    model_service.text = f"```sql\n{sql}\n```\n"
    try:
        page.js(f"document.querySelector('#database').value = '{database}'")
        ask(page, "所有站点")
        page.wait(OVER)
    finally:
        model_service.text = REPLY
    assert len(page.texts("tbody tr")) == 5
    page.js("URL.createObjectURL = (blob) => (window.saved = blob, 'data:,')")
    page.js("[...document.querySelectorAll('.result button')].find(b => b.textContent === '全部行（CSV）').click()")
    page.wait("document.querySelector('.saved')")
    # A database that gives its rows before the first of them is sent is refused in words instead.
    assert page.text(".saved") in (said, "结果超过 300,000 字节" if lines is None else said)
    if lines is None:
        assert page.js("window.saved === undefined")
        page.events.clear()  # the console reports the connection that broke off
        return
    saved = bytes(page.js("window.saved.arrayBuffer().then(bytes => [...new Uint8Array(bytes)])"))
    text = saved.decode("utf-8-sig")
    assert text.startswith("name,district\r\n") and text.count("\r\n") == lines + 1
