"""The programs in examples/, each run where its runtime is here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.clients import node_modules, python_packages
from tests.ports import free_port
from tests.reliability.rig import answers
from tests.waiting import eventually

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TEXT = "一二三四五六"


def run(live, *command, **environ):
    told = os.environ | {"SLUICE_URL": live.url, "DATABASE": "none", "PYTHONIOENCODING": "utf-8"} | environ
    ended = subprocess.run(command, env=told, capture_output=True, timeout=180, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


def program(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here")
    return found


def test_curl(live):
    shown = run(live, program("sh"), str(EXAMPLES / "curl.sh"), "你好") if program("curl") else ""
    assert "event: done" in shown and '{"text":' in shown


@pytest.mark.parametrize("script", ["with_requests.py", "with_openai.py"])
def test_python(live, script):
    assert TEXT in run(live, sys.executable, str(EXAMPLES / "python" / script), "你好", MODEL="plain")


def test_python_with_httpx_sse(live):
    python = python_packages.installed()
    assert TEXT in run(live, str(python), str(EXAMPLES / "python" / "with_httpx_sse.py"), "你好")


def test_fastapi_passes_the_events_through_as_they_come(live):
    python, port = python_packages.installed(), free_port()
    command = [str(python), "-m", "uvicorn", "fastapi_app:app", "--port", str(port), "--log-level", "error"]
    environ = os.environ | {"SLUICE_URL": live.url}
    serving = subprocess.Popen(command, cwd=EXAMPLES / "python", env=environ)
    try:
        eventually(lambda: answers(port), 60)
        url = f"http://127.0.0.1:{port}/ask"
        with requests.get(url, {"question": "through FastAPI"}, stream=True, timeout=30) as reply:
            assert reply.headers["content-type"].startswith("text/event-stream")
            lines = list(reply.iter_lines(decode_unicode=True))
        assert "event: done" in lines and sum(line.startswith('data: {"text"') for line in lines) >= 1
        ids = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
        with requests.get(
            url, {"question": "through FastAPI"}, headers={"Last-Event-ID": ids[-2]}, timeout=30
        ) as reply:
            assert f"id: {ids[-1]}" in reply.text and f"id: {ids[-2]}" not in reply.text
    finally:
        serving.terminate()
        serving.wait()


def test_gradio_shows_the_answer_and_its_history_is_taken(live, service):
    script = [str(python_packages.HERE / "gradio_client_of.py"), str(EXAMPLES / "python" / "gradio_app.py")]
    shown = run(live, str(python_packages.installed()), *script, GRADIO_ANALYTICS_ENABLED="False")
    assert json.loads(shown.strip().split("\n")[-1]) == [TEXT, TEXT]
    # The second question brings the first one and its answer.
    said = json.dumps(service.asked[-1]["messages"], ensure_ascii=False)
    assert "first" in said and "second" in said and TEXT in said


def test_node(live):
    node_modules.require("node")
    assert TEXT in run(live, program("node"), str(EXAMPLES / "node" / "ask.mjs"), "你好")


def test_java(live):
    shown = run(live, program("java"), str(EXAMPLES / "java" / "Ask.java"), "你好")
    assert "event: done" in shown and '{"text":' in shown


def test_go(live):
    assert TEXT in run(live, program("go"), "run", str(EXAMPLES / "go" / "main.go"), "你好")


def test_each_example_is_shown_in_the_docs():
    page = (EXAMPLES.parent / "docs" / "clients.md").read_text("utf-8")
    for path in EXAMPLES.rglob("*.*"):
        assert str(path.relative_to(EXAMPLES.parent)) in page, path
