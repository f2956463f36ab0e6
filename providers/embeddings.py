"""Embeddings: texts to vectors, for providers that have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


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
