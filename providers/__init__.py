"""Every language model behind one call: `Providers.stream(request)` gives batches of deltas from any upstream.

bytes → frames → chunks → deltas: `transport` sends the request and reads the response, `stream.sse` cuts frames, a
module of `wires` parses its chunks, and `stream.normaliser` keeps the promises. `wires.adapter` is one attempt;
`routing` decides which provider is asked, and how often.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from providers.catalogue import WIRES
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.embeddings import Embedding, Embeddings, EmbeddingsRequest
from providers.errors import Rejected
from providers.routing.breaker import Breaker
from providers.routing.router import Adapter, Provider, RoutedStream

__all__ = ["Described", "Providers", "RoutedStream"]


@dataclass(frozen=True, slots=True)
class Described:
    """What there is to say about one provider.

    reason   why it is not available, or ""
    breaker  closed, open or half_open
    """

    name: str
    type: str
    model: str
    available: bool
    reason: str
    breaker: str
    in_flight: int


class Providers:
    """The configured providers of one worker; adapters are imported when they are first asked.

    A vendor's SDK takes seconds to import, so that is done at the start: later every open stream would stand still.
    """

    def __init__(
        self, configured: Mapping[str, ProviderConfiguration], default: str, fallbacks: Sequence[str] = ()
    ) -> None:
        """fallbacks: names tried in order where the default fails before its first delta."""
        self._default = default
        self._fallbacks = [name for name in fallbacks if name != default]
        self._providers = {
            name: Provider(
                name,
                configuration,
                Breaker(configuration.breaker),
                functools.partial(_adapter, name, configuration),
            )
            for name, configuration in configured.items()
        }
        for provider in self._providers.values():
            if provider.configuration.transport == "sdk" and not provider.missing:
                provider.ready()

    def stream(self, request: ChatRequest, name: str | None = None) -> RoutedStream:
        """Ask the default provider (then the fallbacks), or the one that the request named, which is never replaced.

        Nothing is sent before iteration begins. Raises KeyError for a name that is not configured.
        """
        names = [name] if name is not None else [self._default, *self._fallbacks]
        return RoutedStream(request, [self._providers[name] for name in names])

    def described(self) -> list[Described]:
        """One entry per provider, in the configuration's order."""
        return [
            Described(
                name=provider.name,
                type=provider.configuration.type,
                model=provider.configuration.shown_model,
                available=not provider.missing,
                reason=provider.missing,
                breaker=provider.breaker.state,
                in_flight=provider.in_flight,
            )
            for provider in self._providers.values()
        ]

    def missing(self, name: str) -> str:
        """Why provider `name` cannot be asked; "" if it can. Raises KeyError."""
        return self._providers[name].missing

    def engines(self, timeout_s: float = 0.2) -> dict[str, dict[str, Any]]:
        """What each local provider's engine reports of itself: `state`, a `reason` if it is not serving, figures."""
        return {
            name: provider.ready().status(timeout_s)  # type: ignore[attr-defined]
            for name, provider in self._providers.items()
            if WIRES[provider.configuration.type].own_process
        }

    def adapter(self, name: str) -> Adapter:
        """The adapter itself, to ask one provider without retries or fallbacks, as `sluice doctor` does."""
        return self._providers[name].ready()

    def embed(self, request: EmbeddingsRequest, name: str | None = None) -> Embeddings:
        """Ask provider `name` (None: the default one) for embeddings; raises a ProviderError, KeyError for the name."""
        provider = self._providers[name or self._default]
        adapter = provider.ready()
        if not isinstance(adapter, Embedding):
            raise Rejected(f"model: provider {provider.name} has no embeddings", request_sent=False)
        provider.in_flight += 1
        try:
            return adapter.embed(request)
        finally:
            provider.in_flight -= 1

    def close(self) -> None:
        """Close what is kept open between questions."""
        for provider in self._providers.values():
            if provider.adapter is not None:
                provider.adapter.close()


def _adapter(name: str, configuration: ProviderConfiguration) -> Adapter:
    adapter: Adapter = WIRES[configuration.type].load(configuration.transport).Adapter(configuration, name)
    return adapter
