"""A gateway over the demo's database whose model gives written replies."""

from __future__ import annotations

import hashlib

import pytest

from demo.metro import build
from gateway.app import create_app
from gateway.settings import parse
from gateway.text2sql.database import Databases
from tests.gateway.text2sql.written_replies import Provider


class Providers(Provider):
    def described(self):
        return []

    def missing(self, name):
        return ""

    def engines(self):
        return {}


@pytest.fixture
def serving(tmp_path):
    """Builds a client whose model gives the replies, one after the other; and what it was asked with."""
    build.build(tmp_path / "metro.db")

    def built(*replies, keys=(), **database):
        settings = parse(
            {
                "default": "m",
                "providers": {"m": {"type": "openai", "model": "m", "base_url": "http://127.0.0.1:1"}},
                "databases": {
                    "metro": {"url": f"sqlite:///{tmp_path / 'metro.db'}", **database},
                    "other": {"url": f"sqlite:///{tmp_path / 'metro.db'}", **database},
                },
                "text2sql": {"corrections": 0},
                "auth": {"keys": [{"sha256": hashlib.sha256(key.encode()).hexdigest(), "name": key} for key in keys]},
            },
            environ={},
        )
        providers = Providers(*replies)
        databases = Databases(settings.databases, settings.text2sql)
        return create_app(settings, providers, databases).test_client(), providers

    return built
