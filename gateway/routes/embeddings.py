"""POST /v1/embeddings: passed to a provider that has embeddings; `model` is the provider's name."""

from __future__ import annotations

import base64
import struct
from typing import Annotated, Any, Literal

import msgspec
from flask import Blueprint, Response
from msgspec import Meta

from gateway import context
from gateway.decoding import BadQuestion, decode, plain
from gateway.routes import replies, v1_models
from gateway.routes.request_body import body
from providers.embeddings import EmbeddingsRequest

routes = Blueprint("embeddings", __name__)

# Texts of one request; services take 10 to 2,048 and say their own limit.
MAX_TEXTS = 2048


class Fields(msgspec.Struct):
    input: Annotated[list[str], Meta(min_length=1, max_length=MAX_TEXTS)] | str
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Meta(ge=1, le=1 << 16)] | None = None
    user: str | None = None


_decoder = msgspec.json.Decoder(Fields)


@routes.post("/v1/embeddings")
def embeddings() -> Response:
    fields = decode(_decoder, body())
    texts = [fields.input] if isinstance(fields.input, str) else fields.input
    for n, text in enumerate(texts):
        if not text:
            raise BadQuestion(f"input[{n}]: must not be empty")
        plain(f"input[{n}]", text)
    target = v1_models.target(fields.model)
    if target.database is not None:
        raise BadQuestion("model: must be a provider; text to SQL has no embeddings")
    name = target.provider
    sluice = context.current()
    replies.count()
    embeddings = sluice.providers.embed(EmbeddingsRequest(texts, fields.dimensions, fields.user), name)
    data = [
        {"object": "embedding", "index": n, "embedding": _written(vector, fields.encoding_format)}
        for n, vector in enumerate(embeddings.vectors)
    ]
    tokens = embeddings.tokens
    usage = None if tokens is None else {"prompt_tokens": tokens, "total_tokens": tokens}
    reply = {"object": "list", "data": data, "model": name or sluice.settings.default, "usage": usage}
    return Response(msgspec.json.encode(reply), content_type="application/json")


def _written(vector: list[float], encoding: str) -> Any:
    """OpenAI's base64 is that of little-endian 32-bit floats; its official clients ask for it by default."""
    if encoding == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
