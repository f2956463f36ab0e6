"""Members of a /v1 request that we do not know: bounded here, and passed on by wires like OpenAI's."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.decoding import BadQuestion, decode
from providers.wires.fitting import OURS

MAX_BYTES = 64 << 10
MAX_DEPTH = 16
_anything: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
# What an SDK puts beside a request for its own use.
NOT_SENT = OURS | {"extra_body", "database"}


def flattened(data: bytes) -> bytes:
    """The body with the members of `extra_body` beside the others, which go before them. Raises BadQuestion."""
    if b'"extra_body"' not in data:
        return data
    body = decode(_anything, data)
    inner = body.pop("extra_body", None) if isinstance(body, dict) else None
    if inner is None:
        return data
    if not isinstance(inner, dict):
        raise BadQuestion("extra_body: must be an object")
    return msgspec.json.encode({**inner, **body})


def members(data: bytes, known: frozenset[str]) -> dict[str, Any]:
    """The members of the body `data` that are not `known`. Raises BadQuestion."""
    body = msgspec.json.decode(data)
    extra = {name: value for name, value in body.items() if name not in known and name not in NOT_SENT}
    extra = {name: value for name, value in extra.items() if value is not None}
    if not extra:
        return {}
    if len(msgspec.json.encode(extra)) > MAX_BYTES:
        raise BadQuestion(f"the body: members that are passed on must have at most {MAX_BYTES >> 10} KiB together")
    for name, value in extra.items():
        if _depth(value) > MAX_DEPTH:
            raise BadQuestion(f"{name[:60]}: must be nested at most {MAX_DEPTH} deep")
    return extra


def _depth(value: Any) -> int:
    """How deep objects and arrays are nested; msgspec has bounded it already."""
    deepest, level = 0, [value]
    while level:
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list))]
        deepest += bool(inner)
        level = [one for items in inner for one in items]
    return deepest
