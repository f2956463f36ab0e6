"""A plain chat: what a provider streams, as steps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator

from gateway.answers import steps
from gateway.answers.steps import Start, Step
from providers import Providers
from providers.chat import ChatRequest
from providers.delta import Delta
from providers.errors import ProviderError

Take = Callable[[list[Step]], None]
"""Takes a batch of steps; must not block."""


def answer(
    request: ChatRequest, providers: Providers, name: str | None, *, first: bool = True
) -> Generator[list[Step], Take | None, None]:
    """The steps of provider `name`'s reply (None: the default's or a fallback's); asked when iterated.

    first   whether it begins with Start; a correction's second reply does not

    A consumer that sends a function gets the following batches by it where the provider can do that; see Delivery.
    """
    stream = providers.stream(request, name)
    started = not first
    try:
        for batch in stream:
            batch_steps = steps.of(batch)
            if not started:
                started = True
                batch_steps.insert(0, Start(stream.provider, stream.model, list(stream.parameter_changes)))
            take = yield batch_steps
            if take is not None:
                stream.deliver_to(functools.partial(_deliver, take))
    except ProviderError:
        if not started:
            # Which provider failed is certain too.
            yield [Start(stream.provider, stream.model, list(stream.parameter_changes))]
        raise
    finally:
        stream.close()


def _deliver(take: Take, deltas: list[Delta]) -> None:
    take(steps.of(deltas))
