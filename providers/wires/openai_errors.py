"""What the errors of OpenAI's wire mean, for all services: by code, by type, by words, and at last by status.

error    {"error": {"message", "type", "param", "code"}}; code is a string, null, or (vLLM) the HTTP status as a number
         {"error": "Unauthorized"}, {"object": "error", "message", …}, {"detail": "Not Found"}, {"code", "msg"}
source   OpenAI's error reference, vLLM's and Qianfan's servers, DashScope's compatible mode
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from providers.errors import (
    BadKey,
    ContextTooLong,
    Moderated,
    NoSuchModel,
    ProviderError,
    QuotaExceeded,
    RateLimited,
    Rejected,
    UpstreamFailed,
)
from providers.wires.adapter import failed_status, retry_after
from providers.wires.error_text import too_long

CODES: dict[str, type[ProviderError]] = {
    "access_denied": BadKey,
    "access_terminated": BadKey,
    "arrearage": QuotaExceeded,
    "authentication_error": BadKey,
    "authenticationerror": BadKey,
    "billing_hard_limit_reached": QuotaExceeded,
    "billing_not_active": QuotaExceeded,
    "characters_too_long": ContextTooLong,
    "content_filter": Moderated,
    "content_policy_violation": Moderated,
    "context_length_exceeded": ContextTooLong,
    "data_inspection_failed": Moderated,
    "datainspectionfailed": Moderated,
    "image_url_unsafe": Moderated,
    "insufficient_quota": QuotaExceeded,
    "insufficient_balance": QuotaExceeded,
    "invalid_api_key": BadKey,
    "invalid_appid": BadKey,
    "invalid_iam_token": BadKey,
    "invalid_model": NoSuchModel,
    "model_not_found": NoSuchModel,
    "model_not_supported": NoSuchModel,
    "no_parameter_permission": BadKey,
    "notfounderror": NoSuchModel,
    "permission_denied": BadKey,
    "permission_error": BadKey,
    "rate_limit_error": RateLimited,
    "rate_limit_exceeded": RateLimited,
    "rpm_rate_limit_exceeded": RateLimited,
    "string_above_max_length": ContextTooLong,
    "tokens_too_long": ContextTooLong,
    "tpm_rate_limit_exceeded": RateLimited,
    "unsafe_request": Moderated,
    # Said of a request that was turned away by a queue, not of one that failed.
    "overloaded_error": UpstreamFailed,
    "service unavailable": UpstreamFailed,
    "server_error": UpstreamFailed,
    "internal_error": UpstreamFailed,
    "internalservererror": UpstreamFailed,
    "bad request": Rejected,
    "badrequesterror": Rejected,
    "invalid_argument": Rejected,
    "invalid_messages": Rejected,
    "invalid_parameter_error": Rejected,
    "invalid_request_error": Rejected,
    "limit_burst_rate": RateLimited,
    "limit_requests": RateLimited,
    "malformed_json": Rejected,
    "notimplementederror": Rejected,
}
BUSY = {"overloaded_error", "service unavailable"}
_MODEL = re.compile(r"\bmodel\b.{0,80}\b(does not exist|not found|not exist)", re.IGNORECASE | re.DOTALL)


def body_failure(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """What a response that is not a 200 means."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        failure = chunk_failure(answer, is_error=True, status=status)
        if failure:
            failure.retry_after = failure.retry_after or retry_after(headers)
            failure.upstream_id = failure.upstream_id or headers.get("x-request-id")
            return failure
    text = body[:2000].decode("utf-8", "replace")
    return failed_status(status, headers, "" if answer is not None or status >= 500 else text.strip())


def chunk_failure(chunk: dict[str, Any], is_error: bool = False, status: int = 0) -> ProviderError | None:
    """The failure that a chunk or a body reports; None if it reports none.

    is_error  it came where only errors come, so a bare {"message": …} is one
    status    the HTTP status; 0 inside a stream, where only the error itself can tell
    """
    error = chunk.get("error")
    if not error:
        bare = chunk.get("object") == "error" or (
            not chunk.get("choices") and ("message" in chunk or "msg" in chunk) and ("code" in chunk or is_error)
        )
        if not (bare or is_error):
            return None
        error = chunk
    id = chunk.get("request_id") or chunk.get("id")
    upstream_id = id if isinstance(id, str) else None
    if not isinstance(error, dict):
        return _named(("unauthorized" if error == "Unauthorized" else "",), str(error), status, upstream_id)
    message = error.get("message") or error.get("msg") or error.get("error_msg") or error.get("detail") or ""
    code = error.get("code")
    if isinstance(code, int) and not status and 400 <= code < 600:
        status = code
    words = tuple(word.lower() for word in (code, error.get("type")) if isinstance(word, str))
    text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
    return _named(words, text, status, upstream_id)


def _named(words: tuple[str, ...], message: str, status: int, upstream_id: str | None) -> ProviderError:
    kind = next((CODES[word] for word in words if word in CODES), None)
    said = message or (f"the upstream reports {words[0]!r}" if words and words[0] else "")
    if "unauthorized" in words:
        kind = BadKey
    if status >= 500 and kind in (None, Rejected, UpstreamFailed, NoSuchModel):
        kind = None
    elif kind in (None, Rejected) and (kind or status in (400, 404, 413, 422)):
        if too_long(message):
            kind = ContextTooLong
        elif _MODEL.search(message):
            kind = NoSuchModel
        elif status in (401, 403, 404, 429):
            kind = None
    if kind is None:
        failure = failed_status(status, {}, said) if status else UpstreamFailed(said or "the upstream reports an error")
    else:
        failure = kind(said, upstream_said_retry=kind is RateLimited or bool(BUSY & set(words)))
    failure.upstream_id = upstream_id
    return failure
