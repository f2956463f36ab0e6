"""A gateway in front of a small model service, for clients as people run them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.clients.service import Service
from tests.gateway.live import Live

MODELS = ("plain", "separated", "long", "silent", "counted", "cut", "fails", "refused", "tools", "thinks", "sql")


def served_by(service: Service, **more: Any) -> dict[str, Any]:
    """A configuration with one provider for each of the service's models."""
    providers = {
        model: {"type": "openai", "base_url": service.url, "model": model, "retries": 0, "api_key": "x"}
        for model in MODELS
    }
    server = {"heartbeat_s": 0.2, "commit_after_s": 0.2} | more.pop("server", {})
    return {"default": "plain", "providers": providers, "server": server, **more}


def stations(path: Path) -> str:
    """A database with three stations; its URL."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE dtzpt (id INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO dtzpt (name) VALUES (?)", [("西湖文化广场",), ("龙翔桥",), ("定安路",)])
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def service():
    with Service() as running:
        yield running


@pytest.fixture(scope="session")
def live(service, tmp_path_factory):
    url = stations(tmp_path_factory.mktemp("database") / "metro.db")
    databases = {"metro": {"url": url, "tables": ["dtzpt"]}}
    with Live(served_by(service, databases=databases, compat={"question": "你好"})) as running:
        yield running
