"""Every failure in one table: its code, the HTTP status where nothing was sent yet, whether asking again can help.

The code is the same word in the JSON error, the `failed` event, the log line and the metric. A failure is raised where
it is understood (providers, the guard, a route) and answered here once.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from flask import Response, current_app, g, has_request_context, request
from werkzeug.exceptions import HTTPException

from gateway.json_line import encode
from gateway.printable import printable

log = logging.getLogger("sluice")

# code → HTTP status, retryable, OpenAI's type
TABLE: dict[str, tuple[int, bool, str]] = {
    "bad_request": (400, False, "invalid_request_error"),
    "unauthorized": (401, False, "authentication_error"),
    "forbidden": (403, False, "permission_error"),
    "not_found": (404, False, "invalid_request_error"),
    "too_large": (413, False, "invalid_request_error"),
    "rate_limited": (429, True, "rate_limit_error"),
    "overloaded": (503, True, "server_error"),
    "quota": (429, False, "rate_limit_error"),
    "moderation": (400, False, "invalid_request_error"),
    "model_not_found": (404, False, "invalid_request_error"),
    "context_length": (400, False, "invalid_request_error"),
    "upstream_connect": (502, True, "upstream_error"),
    "upstream_timeout": (504, True, "upstream_error"),
    "upstream_rate_limited": (429, True, "rate_limit_error"),
    "upstream_auth": (502, False, "upstream_error"),
    "upstream_quota": (502, False, "upstream_error"),
    "upstream_error": (502, True, "upstream_error"),
    "upstream_protocol": (502, False, "upstream_error"),
    "upstream_too_large": (502, False, "upstream_error"),
    "truncated": (502, True, "upstream_error"),
    "engine_died": (503, True, "server_error"),
    "engine_timeout": (503, True, "server_error"),
    "worker_died": (503, True, "server_error"),
    "sql_refused": (422, False, "invalid_request_error"),
    "sql_failed": (422, False, "invalid_request_error"),
    "sql_limit": (422, True, "invalid_request_error"),
    "shutting_down": (503, True, "server_error"),
    "internal": (500, False, "server_error"),
}

# Seconds of Retry-After for our own 503s where the raiser knows no better figure.
WAIT_S = {"overloaded": 1, "shutting_down": 2, "engine_died": 5, "engine_timeout": 5, "worker_died": 1}
MAX_MESSAGE_CHARACTERS = 500


@dataclass(eq=False)
class Failure(Exception):
    """A failure as the caller sees it.

    message       "field: what is wrong; what was expected, what came"
    status        set where it differs from the code's own: 405, 406, 415 and 422 are all `bad_request`
    retry_after   seconds
    param         the wrong field, for OpenAI's form
    """

    code: str
    message: str
    retry_after: float | None = None
    status: int = 0
    param: str | None = None
    retryable: bool | None = None

    def __post_init__(self) -> None:
        status, retryable, _ = TABLE[self.code]
        self.status = self.status or status
        self.retryable = retryable if self.retryable is None else self.retryable
        self.message = printable(self.message)
        if len(self.message) > MAX_MESSAGE_CHARACTERS:
            self.message = self.message[: MAX_MESSAGE_CHARACTERS - 1] + "…"
        if self.retry_after is None:
            self.retry_after = WAIT_S.get(self.code)

    def __str__(self) -> str:
        return self.message

    def event(self, request_id: str) -> dict[str, Any]:
        """The data of a `failed` event."""
        return {
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "retry_after": self.retry_after,
            "request_id": request_id,
        }


@runtime_checkable
class Raised(Protocol):
    """An exception of a lower floor that knows its code, such as ProviderError and SqlError."""

    code: str
    message: str
    retryable: bool
    retry_after: float | None


def of(error: BaseException) -> Failure:
    """The failure that the caller sees for `error`. Log an unexpected one with its traceback: it is `internal`."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, Raised) and error.code in TABLE:
        return Failure(error.code, error.message, retry_after=error.retry_after, retryable=error.retryable)
    if isinstance(error, HTTPException):
        return _of_http(error)
    log.error("an unexpected error ended a request", exc_info=error)
    return Failure("internal", "gateway: an unexpected error; its log has the details under this request id")


def from_event(data: dict[str, Any]) -> Failure:
    """The failure in a `failed` event's data."""
    return Failure(data["code"], data["message"], retry_after=data["retry_after"], retryable=data["retryable"])


def _of_http(error: HTTPException) -> Failure:
    status = error.code or 500
    if status == 404:
        return Failure("not_found", f"path: unknown address{_known_addresses()}")
    if status == 405:
        allowed = ", ".join(sorted(set(getattr(error, "valid_methods", None) or ()) - {"OPTIONS", "HEAD"}))
        return Failure("bad_request", f"method: must be {allowed}, got {request.method}", status=405)
    if status == 413:
        return Failure("too_large", f"the body: must have at most {(request.max_content_length or 1) - 1} bytes")
    if status >= 500:
        return Failure("internal", error.description or error.name, status=status)
    return Failure("bad_request", error.description or error.name, status=status)


def _known_addresses() -> str:
    """What a client of OpenAI's API can ask instead of an unknown address below /v1; "" elsewhere."""
    if not request.path.startswith("/v1"):
        return ""
    addresses = [
        f"{method} {rule.rule.replace('path:', '')}"
        for rule in current_app.url_map.iter_rules()
        if rule.rule.startswith("/v1/")
        for method in sorted((rule.methods or set()) & {"GET", "POST"})
    ]
    return f"; must be one of {', '.join(sorted(addresses))}"


def request_id() -> str:
    """The id of the request being served, or "" outside one."""
    return g.get("request_id", "") if has_request_context() else ""


def response(failure: Failure, answer_id: str | None = None, **beside: Any) -> Response:
    """The failure as an HTTP reply, in OpenAI's form below /v1; `beside` are members next to `error`."""
    if request.path.startswith("/v1"):
        body: dict[str, Any] = {"error": openai(failure)}
    else:
        body = {"error": failure.event(request_id())} | beside
    reply = Response(encode(body), status=failure.status, content_type="application/json")
    if failure.retry_after is not None:
        reply.headers["Retry-After"] = str(max(1, math.ceil(failure.retry_after)))
    # OpenAI's official clients ask again after any 5xx, at the caller's cost, unless this says otherwise.
    reply.headers["X-Should-Retry"] = "true" if failure.retryable else "false"
    if failure.status == 401:
        reply.headers["WWW-Authenticate"] = "Bearer"
    if answer_id:
        reply.headers["X-Answer-Id"] = answer_id
    if failure.status == 405 and request.routing_exception is not None:
        reply.headers["Allow"] = request.routing_exception.get_headers()[-1][1]
    elif failure.status == 405 and request.url_rule is not None:
        # A HEAD to a route that only GET may ask.
        reply.headers["Allow"] = ", ".join(sorted((request.url_rule.methods or set()) - {"HEAD"}))
    return reply


def openai(failure: Failure) -> dict[str, Any]:
    """The failure as OpenAI's error object."""
    return {
        "message": failure.message,
        "type": TABLE[failure.code][2],
        "param": failure.param,
        "code": failure.code,
    }


def shown(value: str) -> str:
    """A caller's value in a message: in double quotes and cut at 100 characters."""
    return json.dumps(value[:100], ensure_ascii=False)
