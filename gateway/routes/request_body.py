"""A request's JSON body: whole, no larger than allowed, and declared as JSON."""

from __future__ import annotations

from werkzeug.exceptions import HTTPException

from gateway import context
from gateway.errors import Failure, shown

# Bytes of a body where server.body_bytes is not set: images and files come as base64 on /v1.
BODY_BYTES = 1 << 20
V1_BODY_BYTES = 20 << 20


def limit_bytes() -> int:
    """The bytes that this request's body may have."""
    configured = context.current().settings.server.body_bytes
    return configured or (V1_BODY_BYTES if context.asked().path.startswith("/v1/") else BODY_BYTES)


def body() -> bytes:
    """The request's JSON body without a byte order mark; raises Failure (400, 413, 415)."""
    limit, request = limit_bytes(), context.asked()
    # One byte more than allowed: werkzeug silently cuts a body without a length there.
    request.max_content_length = limit + 1
    length = request.content_length
    if length is not None and length > limit:
        raise too_large(limit)
    try:
        data = request.get_data(cache=False)
    except HTTPException:
        raise
    except Exception:  # noqa: BLE001 - the server's reader of chunks has errors of many classes
        raise Failure("bad_request", "the body: its chunks are malformed, or ended before the last one") from None
    if len(data) > limit:
        raise too_large(limit)
    if length is not None and len(data) < length:
        # The client is gone, or was cut. What came may still be JSON, and must not be asked and paid.
        raise Failure("bad_request", f"the body: must have {length} bytes, as Content-Length says, got {len(data)}")
    if data and (coding := request.headers.get("Content-Encoding", "identity").lower()) != "identity":
        message = f"Content-Encoding: must be absent, got {shown(coding)}; send the body as it is"
        raise Failure("bad_request", message, status=415)
    # As most clients write it; werkzeug would parse it.
    plain = request.environ.get("CONTENT_TYPE") == "application/json"
    if data and not plain and request.mimetype != "application/json":
        raise Failure(
            "bad_request", f"Content-Type: must be application/json, got {shown(request.mimetype)}", status=415
        )
    return data.removeprefix(b"\xef\xbb\xbf")


def too_large(limit: int) -> Failure:
    size = f"{limit >> 20} MiB" if limit % (1 << 20) == 0 else f"{limit} bytes"
    return Failure("too_large", f"the body: must have at most {size} (server.body_bytes)")
