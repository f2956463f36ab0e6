"""GET /v1/models, and what a model's name means: a provider, or text to SQL over one of the databases.

qwen              the provider qwen
sql/metro         the database metro, with the default provider
sql/metro@qwen    the database metro, with the provider qwen
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from flask import Blueprint, Response, g

from gateway import context
from gateway.access import choices
from gateway.access.auth import Caller
from gateway.decoding import BadQuestion
from gateway.errors import Failure, shown
from gateway.routes import replies

routes = Blueprint("v1_models", __name__)

SQL = "sql/"


@dataclass(frozen=True, slots=True)
class Target:
    """
    provider   its name; None: the default one
    database   its name; None: a plain chat
    """

    provider: str | None = None
    database: str | None = None


def target(model: str | None, database: str | None = None) -> Target:
    """Who is asked for `model`; a `database` of its own in the body counts too. Raises Failure (400, 404)."""
    provider = model
    if model is not None and model.startswith(SQL):
        name, _, at = model.removeprefix(SQL).partition("@")
        if name not in context.current().databases or name == "none":
            raise _unknown(model)
        if database not in (None, "", name):
            raise Failure("bad_request", f"database: must be {shown(name)}, as model says, or absent", param="database")
        database, provider = name, at or None
    if database:
        choices.database(g.rights, database, context.current().settings.databases)
    if provider is not None and provider not in context.current().settings.providers:
        raise _unknown(model or provider)
    provider = replies.provider(provider, "model")
    return Target(provider, None if database in (None, "", "none") else database)


def beside_sql(tools: Any, tool_choice: Any, response_format: dict[str, Any] | None) -> list[str]:
    """What of these text to SQL leaves out, a sentence each. Raises BadQuestion where the caller would miss it."""
    if tool_choice not in (None, "auto", "none"):
        raise BadQuestion('tool_choice: must be "auto" or "none" for text to SQL, which calls no function')
    if response_format is not None and response_format.get("type") not in (None, "text"):
        raise BadQuestion("response_format: must be text for text to SQL, which answers with a statement and its rows")
    return ["tools: dropped, text to SQL calls no function"] if tools and tool_choice != "none" else []


def _unknown(model: str) -> Failure:
    ids = ", ".join(listed["id"] for listed in _models())
    return Failure("model_not_found", f"model: unknown model {shown(model)}; must be one of {ids}", param="model")


def _models() -> list[dict[str, Any]]:
    sluice = context.current()
    rights: Caller = g.rights
    described = sluice.providers.described()
    available = [provider for provider in described if provider.available and rights.may_ask(provider.name)]
    listed = [
        {"id": provider.name, "object": "model", "created": 0, "owned_by": provider.type, "root": provider.model}
        for provider in available
    ]
    for database in rights.databases_of(sluice.settings.databases):
        names = [f"{SQL}{database}", *(f"{SQL}{database}@{provider.name}" for provider in available)]
        listed += [{"id": name, "object": "model", "created": 0, "owned_by": "sluice", "root": name} for name in names]
    return listed


@routes.get("/v1/models")
def models() -> Response:
    return _json({"object": "list", "data": _models()})


@routes.get("/v1/models/<path:model>")
def model(model: str) -> Response:
    for listed in _models():
        if listed["id"] == model:
            return _json(listed)
    raise _unknown(model)


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body), content_type="application/json")
