"""The page: `GET /`, its files under `/page/`, and the JSON that they ask for: `/page/state` and `/page/schema`.

The files are served as they lie here: no template, no build step. They are the same for everybody and may be fetched
without a key; what depends on the configuration is JSON, which the gateway guards like any other route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol

from flask import Blueprint, Response, current_app, g, request

import gateway
from gateway.access import choices
from gateway.errors import Failure
from gateway.settings import Settings
from gateway.text2sql.configured import Configured
from gateway.web import files
from gateway.web.first_words import first_words, is_demo

if TYPE_CHECKING:
    from gateway.text2sql.database import Database

# A model's text reaches the page only as text nodes. Trusted Types make the browser enforce it: no script here can turn
# a string into markup, not even by mistake.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


def headers(frame_ancestors: Iterable[str] = ()) -> dict[str, str]:
    """The headers of a page that pages of these origins may show in a frame; no page may where there are none."""
    framed = " ".join(frame_ancestors) or "'none'"
    return {"Content-Security-Policy": f"{POLICY}; frame-ancestors {framed}", **_HEADERS}


_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# The model that comes with Sluice. The page says what it cannot do.
DEMO_MODEL = "metro-sql"


class Described(Protocol):
    """What the page shows of a provider."""

    name: str
    model: str
    available: bool
    reason: str | None


def page(settings: Settings, described: Callable[[], Iterable[Any]], databases: Configured) -> Blueprint:
    """The page's routes; `described` gives the providers as they are now, each a `Described`."""
    web = Blueprint("page", __name__)
    shown_with = headers(settings.server.frame_ancestors)

    @web.get("/")
    def index() -> Response:
        return files.send("index.html")

    @web.get("/page/<path:name>")
    def static(name: str) -> Response:
        return files.send(name)

    @web.get("/page/state")
    def state() -> dict[str, Any]:
        return {
            "version": gateway.__version__,
            "heartbeat_s": settings.server.heartbeat_s,
            "log_age_s": settings.server.log_age_s,
            "default": choices.provider(g.rights, None, settings.providers, settings.default),
            "providers": [_provider(provider) for provider in described() if g.rights.may_ask(provider.name)],
            "databases": [_database(database) for database in databases if g.rights.may_read(database.name)],
            # Whether a statement that a person edited can be run; a ticket does not open that route.
            "sql": "ticket" not in g and any(rule.rule == "/sql" for rule in current_app.url_map.iter_rules()),
        }

    @web.get("/page/schema")
    def schema() -> dict[str, Any]:
        names = [database.name for database in databases]
        database = databases.get(choices.database(g.rights, request.args.get("database") or None, names))
        if database is None:
            raise Failure("bad_request", "database: must be a configured one, got none", param="database")
        return {"tables": [_table(table) for table in database.schema().tables]}

    @web.after_request
    def guarded(response: Response) -> Response:
        response.headers.update(shown_with)
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


def _database(database: Database) -> dict[str, Any]:
    return {
        "name": database.name,
        "demo": is_demo(database.settings),
        "execute": database.settings.execute,
        "export_rows": database.settings.export_rows,
        "timezone": database.settings.timezone or None,
        "remembers": database.examples.remembers,
        "examples": first_words(database.settings, database.schema_if_read),
    }


def _table(table: Any) -> dict[str, Any]:
    columns = [
        {"name": column.name, "type": column.type, "comment": column.comment or None} for column in table.columns
    ]
    return {"name": table.name, "comment": table.comment or None, "is_view": table.is_view, "columns": columns}
