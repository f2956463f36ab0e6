"""Configurations of a gateway in front of the small model service, and a database with three stations."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from tests.clients.service import Service

MODELS = (
    "plain",
    "many",
    "separated",
    "long",
    "silent",
    "counted",
    "slow",
    "cut",
    "fails",
    "refused",
    "tools",
    "thinks",
    "sql",
)


def served_by(service: Service, **more: Any) -> dict[str, Any]:
    """A configuration with one provider for each of the service's models, and `text`, which has text completions."""
    providers = {
        model: {"type": "openai", "base_url": service.url, "model": model, "retries": 0, "api_key": "x"}
        for model in MODELS
    }
    providers["text"] = providers["plain"] | {"text_completions": True}
    server = {"heartbeat_s": 0.2, "commit_after_s": 0.2} | more.pop("server", {})
    return {"default": "plain", "providers": providers, "server": server, **more}


def stations(path: Path) -> str:
    """A database with three stations; its URL."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE dtzpt (id INTEGER PRIMARY KEY, name TEXT)")
        database.executemany("INSERT INTO dtzpt (name) VALUES (?)", [("西湖文化广场",), ("龙翔桥",), ("定安路",)])
    return f"sqlite:///{path}"
