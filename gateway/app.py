"""The application: `create_app(settings)` puts routes, errors, keys and request ids together."""

from __future__ import annotations

import re
import secrets
import time

from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException

from gateway import context, errors, web
from gateway.access.auth import ANYONE, Keys
from gateway.access.client_address import Proxies
from gateway.access.origin import Origins
from gateway.access.rate_limit import Rate
from gateway.access.tickets import Tickets
from gateway.answers.answers import Answers, Observer
from gateway.context import Sluice
from gateway.direct import Direct
from gateway.observability.accounting import Accounting
from gateway.routes import answers as answer_routes
from gateway.routes import compat, embeddings, feedback, health, openai, responses, sql, tickets, ui_chat, v1_models
from gateway.settings import Settings
from gateway.text2sql.configured import Configured
from gateway.web import overview
from providers import Providers

# Endpoints that need no key, and that a link on any page may open.
OPEN = {"health.healthz", "health.readyz", "page.index", "page.static", "overview.overview"}
# Probes of load balancers, which call a machine by its address: they say nothing that a stranger could use.
ANY_HOST = {"health.healthz", "health.readyz"}

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


ROUTES = (
    answer_routes,
    compat,
    embeddings,
    feedback,
    health,
    openai,
    responses,
    sql,
    tickets,
    ui_chat,
    v1_models,
)
# What a page of another origin may read of a reply, where `server.cors` lets it ask.
EXPOSED = ["X-Answer-Id", "X-Sluice-Adjusted", "X-Request-Id", "X-Rows-Limit", "X-Rows-Truncated", "X-Should-Retry"]
EXPOSED += ["Server-Timing", "Retry-After"]


def _databases(settings: Settings) -> Configured:
    """The configured databases; all that asks them is imported now, and only where there are some."""
    if not settings.databases:
        return Configured({}, settings.text2sql)
    from gateway.text2sql import asking, running  # noqa: F401 - the first question needs them
    from gateway.text2sql.database import Databases

    return Databases(settings.databases, settings.text2sql)


def create_app(
    settings: Settings,
    providers: Providers | None = None,
    databases: Configured | None = None,
    observer: Observer | None = None,
) -> Flask:
    """The gateway as a WSGI application; `app.extensions["sluice"]` is the `Sluice` that its routes share."""
    app = Flask(__name__, static_folder=None)
    # No redirect from a//b to a/b: its Location would repeat the Host header.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    sluice = app.extensions["sluice"] = _shared(settings, providers, databases, observer)
    _admit(app, sluice)
    _answer_failures(app)
    for module in ROUTES:
        app.register_blueprint(module.routes)
    app.register_blueprint(web.page(settings, sluice.providers.described, sluice.databases))
    app.register_blueprint(overview.routes)
    if settings.server.cors:
        from flask_cors import CORS

        CORS(app, origins=settings.server.cors, expose_headers=EXPOSED, max_age=600)
    app.wsgi_app = Direct(app)  # type: ignore[method-assign]
    return app


def _shared(
    settings: Settings, providers: Providers | None, databases: Configured | None, observer: Observer | None
) -> Sluice:
    """What the routes of one worker share."""
    server = settings.server
    answers = Answers(server, observer or Accounting(), settings.limits.streams_per_key)
    if server.redis_url:
        from gateway.answers.shared.store import SharedStore

        answers.shared = SharedStore(server.redis_url, answers)
    return Sluice(
        settings,
        providers or Providers(settings.providers, settings.default, settings.fallbacks),
        databases or _databases(settings),
        answers,
        Keys(settings.auth),
        Rate(settings.limits.requests, server.redis_url),
        Origins(settings),
        Proxies(server.trusted_proxies),
        Tickets(settings.auth.secret),
    )


def _admit(app: Flask, sluice: Sluice) -> None:
    """Before each request: its id, its Host and Origin, and whose it is, by a key or a ticket."""

    @app.before_request
    def begun() -> Response | None:
        asked, kept = context.asked(), context.kept()
        headers, endpoint, method = asked.headers, asked.endpoint, asked.method
        kept.received_at = time.monotonic()
        kept.owner, kept.caller, kept.rights = "", "", ANYONE
        sent_id = headers.get("X-Request-Id", "")
        kept.request_id = sent_id if _REQUEST_ID.fullmatch(sent_id) else secrets.token_hex(8)
        if endpoint not in ANY_HOST:
            sluice.origins.check_host(headers)
        if endpoint is not None and endpoint not in OPEN and method != "OPTIONS":
            sluice.origins.check_page(headers)
            if (ticket := tickets.sent()) is not None:
                tickets.admit(sluice, ticket)
            else:
                rights = kept.rights = sluice.keys.caller(headers)
                kept.owner, kept.caller = rights.owner, rights.name
        if method == "OPTIONS" and endpoint is None and asked.path.startswith("/v1"):
            # The preflight of an unknown address: a page could not read our 404 without it.
            return Response(status=204)
        return None


def _answer_failures(app: Flask) -> None:
    """After each request: its id in the reply; every exception as a failure in our form."""

    @app.after_request
    def ended(reply: Response) -> Response:
        reply.headers["X-Request-Id"] = g.get("request_id", "")
        return reply

    @app.errorhandler(HTTPException)
    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        return errors.response(errors.of(error))
