"""Write docs/openapi.json from the routes and the fields that they take: `python -m docs.write_openapi`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from flask import Flask

import gateway
from gateway.answers import question
from gateway.app import create_app
from gateway.formats import native
from gateway.routes import embeddings, feedback, openai, responses, sql, tickets, ui_chat
from gateway.sentences import codes, title
from gateway.settings import parse

FILE = Path(__file__).with_name("openapi.json")
SSE, NDJSON, TEXT, JSON, CSV, HTML = (
    "text/event-stream",
    "application/x-ndjson",
    "text/plain",
    "application/json",
    "text/csv",
    "text/html",
)
STREAMED = (SSE, NDJSON, TEXT, JSON, CSV)
# Statuses whose failures the table of docs/api.md explains.
FAILURES = ("400", "401", "403", "404", "413", "415", "422", "429", "500", "502", "503", "504")
# Paths of the page's own files and of probes are no interface for programs.
LEFT_OUT = {"/", "/admin", "/admin/state", "/page/<path:name>", "/page/schema", "/page/state"}


@dataclass(frozen=True)
class Operation:
    """
    body     the schema's name and the msgspec struct that checks the body, or a schema as it is
    replies  content types of a reply that is good
    query    names of query parameters → their description
    status   of a reply that is good; `may_be_empty`: 204 is good too
    """

    summary: str
    replies: tuple[str, ...] = (JSON,)
    body: tuple[str, Any] | None = None
    query: dict[str, str] | None = None
    status: str = "200"
    needs_key: bool = True
    needs_body: bool = True
    may_be_empty: bool = False


# A question is never empty, nor only spaces.
_QUESTION = {"type": "string", "pattern": r"\S"}
_PLAIN = {"type": "object", "properties": {"question": _QUESTION}, "required": ["question"]}
_QUERY = {"type": "object", "properties": {"query": _QUESTION}, "required": ["query"]}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "format": {"type": "string", "enum": [*native.NAMES, *native.NAMES.values()]},
    "question": _QUESTION,
}
_LAST = {"format": "sse, ndjson, text, json or csv; Accept chooses otherwise", "ticket": "from POST /tickets"}
_ASK = Operation("Ask a question; the reply streams.", STREAMED, ("Question", question.Fields))
_ASK_GET = Operation(
    "The same for a native EventSource, which can only GET.",
    STREAMED,
    query={"question": "required", "key": "the idempotency key", **_LAST},
)

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("post", "/getAnwser"): _ASK,
    ("post", "/getAnswer"): _ASK,
    ("get", "/getAnwser"): _ASK_GET,
    ("get", "/getAnswer"): _ASK_GET,
    ("get", "/answers/<answer_id>"): Operation("The answer so far."),
    ("get", "/answers/<answer_id>/events"): Operation(
        "Follow an answer from its start, or from Last-Event-ID.", STREAMED, query=_LAST, may_be_empty=True
    ),
    ("delete", "/answers/<answer_id>"): Operation("Stop an answer.", (), status="204"),
    ("post", "/sql"): Operation(
        "Run a statement that a person edited; no model is asked.", STREAMED, ("Statement", sql.Fields)
    ),
    ("post", "/feedback"): Operation(
        "Say that an answer was right or wrong, or what its statement should have been.",
        body=("Feedback", feedback.Feedback),
    ),
    ("post", "/tickets"): Operation(
        "A short-lived ticket for clients that cannot send a header.",
        body=("TicketRequest", tickets.Fields),
        needs_body=False,
    ),
    ("post", "/api"): Operation("A plain chat: lines with the text so far.", (NDJSON,), ("PlainQuestion", _PLAIN)),
    ("post", "/conversation/"): Operation("A plain chat: one object.", (JSON,), ("PlainQuery", _QUERY)),
    ("post", "/chat"): Operation("The AI SDK's UI message stream: ask.", (SSE,), ("UiChat", ui_chat.Fields)),
    ("get", "/chat/<chat_id>/stream"): Operation(
        "Resume the chat's running answer; 204 if there is none.", (SSE,), may_be_empty=True
    ),
    ("delete", "/chat/<chat_id>/stream"): Operation("Stop the chat's running answer.", (), status="204"),
    ("post", "/v1/chat/completions"): Operation(
        "OpenAI's chat completions.", (JSON, SSE), ("ChatCompletion", openai.Fields)
    ),
    ("post", "/v1/completions"): Operation(
        "OpenAI's text completions.", (JSON, SSE), ("Completion", {"type": "object"})
    ),
    ("post", "/v1/embeddings"): Operation("OpenAI's embeddings.", body=("Embedding", embeddings.Fields)),
    ("get", "/v1/models"): Operation("The models: providers, and sql/<database>."),
    ("get", "/v1/models/<path:model>"): Operation("One model."),
    ("post", "/v1/responses"): Operation("OpenAI's Responses API.", (JSON, SSE), ("Response", responses.Fields)),
    ("get", "/v1/responses/<response_id>"): Operation(
        "A response, whole or as a stream.",
        (JSON, SSE),
        query={"stream": "true to follow it", "starting_after": "the last event's sequence number"},
    ),
    ("post", "/v1/responses/<response_id>/cancel"): Operation("Stop a response."),
    ("get", "/healthz"): Operation("This worker lives.", needs_key=False),
    ("get", "/readyz"): Operation("This worker can serve.", needs_key=False),
}


def application() -> Flask:
    provider = {"type": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    return create_app(parse({"default": "p", "providers": {"p": provider}}))


def routes(app: Flask) -> set[tuple[str, str]]:
    """(method, rule) of every route that a program may call."""
    return {
        (method.lower(), rule.rule)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule not in LEFT_OUT
    }


def document(app: Flask) -> dict[str, Any]:
    schemas: dict[str, Any] = dict(_COMMON)
    paths: dict[str, Any] = {}
    for method, rule in sorted(routes(app), key=lambda route: (route[1], route[0])):
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
        paths.setdefault(path, {})[method] = _operation(method, path, OPERATIONS[method, rule], schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": gateway.__version__,
            "description": "A streaming gateway between a product and its models. docs/api.md explains events.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:9001"}],
        # Without keys in the configuration none is needed.
        "security": [{"key": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "where keys are configured"}
            },
        },
    }


_CODES = codes()
_COMMON: dict[str, Any] = {
    "Failure": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": {
                        "enum": _CODES,
                        "description": "; ".join(f"{code}: {title(code, 'en')}" for code in _CODES),
                    },
                    "message": {"type": "string"},
                    "retryable": {"type": "boolean"},
                    "request_id": {"type": ["string", "null"]},
                },
            }
        },
    }
}


def _operation(method: str, path: str, operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]
    for name, description in (operation.query or {}).items():
        needed = {"required": True} if description == "required" else {"description": description}
        parameters.append({"name": name, "in": "query", "schema": _PARAMETERS.get(name, {"type": "string"})} | needed)
    # No schema for events: a program would hold each event against it. docs/api.md has their data.
    content: dict[str, Any] = {
        kind: {} if kind == SSE else {"schema": {"type": "object" if kind == JSON else "string"}}
        for kind in operation.replies
    }
    good: dict[str, Any] = {"description": "good"}
    if content:
        good["content"] = content
    failure = {"description": "a failure", "content": {JSON: {"schema": {"$ref": "#/components/schemas/Failure"}}}}
    found: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method}{path}").strip("_"),
        "summary": operation.summary,
        "responses": {operation.status: good} | dict.fromkeys(FAILURES, failure),
    }
    if parameters:
        found["parameters"] = parameters
    if operation.may_be_empty:
        found["responses"]["204"] = {"description": "nothing to follow"}
    if operation.body:
        name, struct = operation.body
        schemas.update(_schemas(name, struct))
        reference = {"$ref": f"#/components/schemas/{name}"}
        found["requestBody"] = {"required": operation.needs_body, "content": {JSON: {"schema": reference}}}
    if not operation.needs_key:
        found["security"] = []
    return found


def _schemas(name: str, struct: Any) -> dict[str, Any]:
    """The schema of a struct under `name`, and of the structs in it under their own names, after `name` and a dot."""
    if isinstance(struct, dict):
        return {name: struct}
    (reference,), components = msgspec.json.schema_components([struct], ref_template="#/components/schemas/{name}")
    own = reference["$ref"].rpartition("/")[2]
    text = json.dumps(components)
    for other in components:
        new = name if other == own else f"{name}.{other}"
        text = text.replace(f'"#/components/schemas/{other}"', f'"#/components/schemas/{new}"')
    schemas = {name if other == own else f"{name}.{other}": schema for other, schema in json.loads(text).items()}
    for field in ("question", "sql"):
        if field in schemas[name].get("required", ()):
            schemas[name]["properties"][field] = schemas[name]["properties"][field] | {"pattern": r"\S"}
    return schemas


def written() -> str:
    return json.dumps(document(application()), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), "utf-8")
