"""The programs in examples/, each run where its runtime is here."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients import node_modules, python_packages

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TEXT = "一二三四五六"


def run(live, *command, **environ):
    told = os.environ | {"SLUICE_URL": live.url, "DATABASE": "none", "PYTHONIOENCODING": "utf-8"} | environ
    ended = subprocess.run(command, env=told, capture_output=True, timeout=60, check=False)
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


@pytest.mark.parametrize("script", ["fastapi_app.py", "gradio_app.py"])
def test_an_example_for_a_framework_is_python(script):
    ast.parse((EXAMPLES / "python" / script).read_text("utf-8"))


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
