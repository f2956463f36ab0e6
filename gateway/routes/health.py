"""/healthz: this worker lives. /readyz: it can answer questions; the details are for the operator."""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from gateway import context
from gateway.access.auth import Caller
from gateway.context import Ready, Sluice
from gateway.errors import Failure

routes = Blueprint("health", __name__)


@routes.get("/healthz")
def healthz() -> Response:
    return Response(b'{"status":"ok"}', content_type="application/json")


@routes.get("/readyz")
def readyz() -> Response:
    sluice = context.current()
    ready = sluice.ready()
    # A probe needs to know only whether it may send questions here.
    body: dict[str, Any] = {"status": "ok" if ready.ok else "unavailable"}
    if _is_operator(sluice):
        body = _details(ready)
    return Response(msgspec.json.encode(body), status=200 if ready.ok else 503, content_type="application/json")


def _is_operator(sluice: Sluice) -> bool:
    """Whether the caller may see details: a key with `admin`; without keys, a program on this machine.

    A stranger's request comes through a proxy, which adds X-Forwarded-For, or from a browser, which sends Origin or
    Sec-Fetch-Site.
    """
    try:
        sluice.origins.check_host(request.headers)
        sluice.origins.check_page(request.headers)
        caller: Caller = sluice.keys.caller(request.headers)
        if sluice.keys.needed:
            return caller.admin
        direct = not {"X-Forwarded-For", "Forwarded", "Via"} & {*request.headers.keys()}
        return direct and ipaddress.ip_address(request.remote_addr or "").is_loopback
    except (Failure, ValueError):
        return False


def _details(ready: Ready) -> dict[str, Any]:
    return {
        "status": ready.status,
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
        "databases": [
            {"name": name, "available": reason is None, "reason": reason} for name, reason in ready.databases.items()
        ],
        "redis": {"available": ready.redis is None, "reason": ready.redis},
    }
