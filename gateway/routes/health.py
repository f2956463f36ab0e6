"""/healthz: this worker lives. /readyz: it can answer questions."""

from __future__ import annotations

import msgspec
from flask import Blueprint, Response

from gateway import context

routes = Blueprint("health", __name__)


@routes.get("/healthz")
def healthz() -> Response:
    return Response(b'{"status":"ok"}', content_type="application/json")


@routes.get("/readyz")
def readyz() -> Response:
    ready = context.current().ready()
    body = {
        "status": "ok" if ready.ok else "unavailable",
        "reason": ready.reason or None,
        "providers": [
            {
                "name": provider.name,
                "available": provider.available and provider.name not in ready.engines,
                "reason": provider.reason or ready.engines.get(provider.name),
                "breaker": provider.breaker,
                "streams": provider.in_flight,
            }
            for provider in ready.providers
        ],
    }
    return Response(msgspec.json.encode(body), status=200 if ready.ok else 503, content_type="application/json")
