"""A plain chat: what a provider streams, as steps."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.answers import steps
from gateway.answers.steps import Start, Step
from providers import Providers
from providers.chat import ChatRequest
from providers.errors import ProviderError


def answer(request: ChatRequest, providers: Providers, name: str | None) -> Iterator[list[Step]]:
    """The steps of provider `name`'s reply (None: the default's or a fallback's); asked when iterated."""
    stream = providers.stream(request, name)
    started = False
    try:
        for batch in stream:
            found = steps.of(batch)
            if not started:
                started = True
                found.insert(0, Start(stream.provider, stream.model, stream.adjusted))
            yield found
    except ProviderError:
        if not started:
            # Who failed is certain too.
            yield [Start(stream.provider, stream.model, stream.adjusted)]
        raise
    finally:
        stream.close()
