"""A plain chat: what a provider streams, as steps."""

from __future__ import annotations

from collections.abc import Generator

from gateway.answers import steps
from gateway.answers.steps import Start, Step
from providers import Providers
from providers.chat import ChatRequest
from providers.errors import ProviderError


def answer(
    request: ChatRequest, providers: Providers, name: str | None, *, first: bool = True
) -> Generator[list[Step], None, None]:
    """The steps of provider `name`'s reply (None: the default's or a fallback's); asked when iterated.

    first   whether it begins with Start; a correction's second reply does not
    """
    stream = providers.stream(request, name)
    started = not first
    try:
        for batch in stream:
            found = steps.of(batch)
            if not started:
                started = True
                found.insert(0, Start(stream.provider, stream.model, list(stream.parameter_changes)))
            yield found
    except ProviderError:
        if not started:
            # Which provider failed is certain too.
            yield [Start(stream.provider, stream.model, list(stream.parameter_changes))]
        raise
    finally:
        stream.close()
