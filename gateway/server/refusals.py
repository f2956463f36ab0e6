"""Requests that gunicorn cannot read: refused in the form of the gateway's own errors.

Nothing of the request is repeated, in the reply or in the log: a line that cannot be read may hold a key. Its path may
be unreadable too, so the error has the members of both forms: the gateway's, and OpenAI's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus

from gunicorn.http import errors

from gateway.errors import TABLE


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    code: str
    message: str
    retry_after: int | None = None

    def reply(self) -> bytes:
        """The whole HTTP reply; the connection is closed after it."""
        error = {
            "code": self.code,
            "message": self.message,
            "type": TABLE[self.code][2],
            "param": None,
            "retryable": self.retry_after is not None,
            "retry_after": self.retry_after,
            "request_id": "",
        }
        body = json.dumps({"error": error}, separators=(",", ":")).encode()
        again = "true" if error["retryable"] else "false"
        wait = f"Retry-After: {self.retry_after}\r\n" if self.retry_after else ""
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{wait}X-Should-Retry: {again}\r\nConnection: close\r\n\r\n"
        )
        return head.encode("latin-1") + body


UNREADABLE = Refusal(400, "bad_request", "the request: must be HTTP/1.1, got something else")
CRASHED = Refusal(500, "internal", "the gateway could not handle the request; its log has the details")
OVERLOADED = Refusal(503, "overloaded", "server: too many connections; ask again in a moment", retry_after=1)
REFUSALS: dict[type[Exception], Refusal] = {
    errors.LimitRequestLine: Refusal(
        414, "too_large", "the address: must have at most 8190 bytes; send the question by POST"
    ),
    errors.LimitRequestHeaders: Refusal(431, "too_large", "headers: must have at most 100 fields of 8190 bytes each"),
    errors.InvalidHTTPVersion: Refusal(505, "bad_request", "the request: must be HTTP/1.0 or HTTP/1.1"),
    errors.UnsupportedTransferCoding: Refusal(501, "bad_request", "Transfer-Encoding: must be chunked"),
    errors.ExpectationFailed: Refusal(417, "bad_request", "Expect: must be 100-continue"),
    errors.InvalidRequestMethod: Refusal(400, "bad_request", "the method: must be one of HTTP's"),
    errors.InvalidHeader: Refusal(400, "bad_request", "headers: a field is malformed"),
    errors.InvalidHeaderName: Refusal(400, "bad_request", "headers: a field's name is malformed"),
    errors.ObsoleteFolding: Refusal(400, "bad_request", "headers: a field must be on one line"),
    errors.InvalidChunkSize: Refusal(400, "bad_request", "the body: a chunk's size is malformed"),
    errors.ChunkMissingTerminator: Refusal(400, "bad_request", "the body: a chunk does not end where its size says"),
    errors.InvalidChunkExtension: Refusal(400, "bad_request", "the body: a chunk's extension is malformed"),
}


def refusal(error: BaseException) -> Refusal:
    """What a request that ended in `error` is answered with."""
    for kind in type(error).__mro__:
        if kind in REFUSALS:
            return REFUSALS[kind]
    return UNREADABLE if isinstance(error, errors.ParseException) else CRASHED
