"""/admin: the operator's overview. Anybody may fetch the page; its figures need a key with the right admin."""

from __future__ import annotations

import os
from typing import Any

from flask import Blueprint, Response, g

import gateway
from gateway import context
from gateway.errors import Failure
from gateway.observability.accounting import Accounting
from gateway.observability.figures import figures
from gateway.web import files, headers

routes = Blueprint("overview", __name__)


@routes.get("/admin")
def overview() -> Response:
    return files.send("admin.html")


@routes.get("/admin/state")
def state() -> dict[str, Any]:
    sluice = context.current()
    # Without keys the gateway serves this machine alone.
    if sluice.keys.needed and not g.rights.admin:
        raise Failure("forbidden", "key: must have the right admin to see the overview")
    ready = sluice.ready()
    measured = figures()
    observer = sluice.answers.observer
    recent = observer.recent if isinstance(observer, Accounting) else None
    shared = sluice.answers.shared
    return {
        "version": gateway.__version__,
        "process": os.getpid(),
        "workers": sluice.settings.server.workers,
        "ready": {"ok": ready.ok, "reason": ready.reason or None},
        "streams": {name: measured[name] for name in ("started", "in_flight", "ended")},
        "providers": [
            {
                "name": provider.name,
                "type": provider.type,
                "model": provider.model,
                "available": provider.available,
                "reason": provider.reason or None,
                "breaker": provider.breaker,
                "in_flight": provider.in_flight,
                **measured["providers"].get(provider.name, {}),
            }
            for provider in ready.providers
        ],
        "engines": sluice.providers.engines(),
        "databases": [{"name": database.name, "trouble": database.trouble} for database in sluice.databases],
        "redis": None if shared is None else bool(shared.up),
        "day": recent.day() if recent else [],
        "failures": recent.failures() if recent else [],
    }


@routes.after_request
def guarded(response: Response) -> Response:
    response.headers.update(headers())
    response.headers["Cache-Control"] = "no-cache"
    return response
