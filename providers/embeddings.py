"""Embeddings: texts to vectors, for providers that have them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable


@dataclass(slots=True)
class EmbeddingsRequest:
    """
    texts        what is embedded, in order
    dimensions   of each vector; None: the model's own
    user         the caller's word for its user, passed on where the wire has a place for it
    """

    texts: list[str]
    dimensions: int | None = None
    user: str | None = None


@dataclass(slots=True)
class Embeddings:
    """
    vectors   one for each text, in their order
    tokens    what they cost, None where the upstream does not count
    model     the upstream's name of the model
    """

    vectors: list[list[float]]
    tokens: int | None
    model: str


@runtime_checkable
class Embedding(Protocol):
    """An adapter that has embeddings."""

    def embed(self, request: EmbeddingsRequest) -> Embeddings:
        """Ask once; raises a ProviderError."""


def vector(value: Any) -> list[float]:
    """One embedding: numbers, or the base64 of little-endian 32-bit floats. Raises TypeError and ValueError."""
    if isinstance(value, str):
        data = base64.b64decode(value, validate=True)
        if len(data) % 4:
            raise ValueError("a base64 embedding must be whole 32-bit floats")
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    return [float(number) for number in value]


def in_batches(
    request: EmbeddingsRequest, batch_texts: int, ask: Callable[[EmbeddingsRequest], Embeddings]
) -> Embeddings:
    """One result for a request with more texts than the service takes at once: `ask` is called for each batch."""
    texts = request.texts
    parts = [replace(request, texts=texts[n : n + batch_texts]) for n in range(0, len(texts), batch_texts)]
    batches = [ask(part) for part in parts]
    counts = [embeddings.tokens for embeddings in batches]
    tokens = None if None in counts else sum(count for count in counts if count is not None)
    return Embeddings([one for embeddings in batches for one in embeddings.vectors], tokens, batches[0].model)
