"""The page: `GET /`, its files under `/page/`, and `/page/state`, which says what can be asked.

The files are served as they lie here: no template, no build step. They are the same for everybody and may be fetched
without a key; what depends on the configuration is `/page/state`, which the gateway guards like any other route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any, Protocol

from flask import Blueprint, Response

import gateway
from gateway.settings import DatabaseSettings, Settings

# Model text reaches the page only as text nodes. Trusted types make the browser hold us to it: no script here can
# turn a string into markup, not even by mistake.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# The demo's own model and table. The page says what that model cannot do, and offers examples for that table.
DEMO_MODEL = "metro-sql"
DEMO_TABLE = "dtzpt"


class Described(Protocol):
    """What the page shows of a provider."""

    name: str
    model: str
    available: bool
    reason: str | None


def page(settings: Settings, described: Callable[[], Iterable[Any]]) -> Blueprint:
    """The page's routes; `described` gives the providers as they are now, each a `Described`."""
    web = Blueprint("page", __name__, static_folder="static", static_url_path="/page")

    @web.get("/")
    def index() -> Response:
        return web.send_static_file("index.html")

    @web.get("/page/state")
    def state() -> dict[str, Any]:
        return {
            "version": gateway.__version__,
            "heartbeat_s": settings.server.heartbeat_s,
            "default": settings.default,
            "providers": [_provider(provider) for provider in described()],
            "databases": [{"name": name, "demo": _is_demo(database)} for name, database in settings.databases.items()],
        }

    @web.after_request
    def guarded(response: Response) -> Response:
        response.headers.update(HEADERS)
        # Revalidated each time (an ETag goes with every file), so that a new version is never half loaded.
        response.headers["Cache-Control"] = "no-cache"
        return response

    return web


def _provider(provider: Described) -> dict[str, Any]:
    return {
        "name": provider.name,
        "model": provider.model,
        "available": provider.available,
        "reason": provider.reason or None,
        "demo": PurePath(provider.model).name == DEMO_MODEL,
    }


def _is_demo(database: DatabaseSettings) -> bool:
    return DEMO_TABLE in (database.tables or ())
