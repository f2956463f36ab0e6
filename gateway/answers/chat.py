"""A plain chat: what a provider streams, as steps."""

from __future__ import annotations

import functools
from collections.abc import Generator
from typing import Protocol

from gateway.answers import steps
from gateway.answers.steps import Start, Step
from providers import Providers
from providers.chat import ChatRequest
from providers.delta import Delta
from providers.errors import ProviderError


class Taker(Protocol):
    """What takes the batches of a reply from the event loop; must not block. production.Answer is one."""

    def take(self, steps: list[Step], /) -> None:
        """The next batch."""

    def take_text(self, text: str, /) -> None:
        """The next batch, which is this text alone."""


def answer(
    request: ChatRequest, providers: Providers, name: str | None, *, first: bool = True
) -> Generator[list[Step], Taker | None, None]:
    """The steps of provider `name`'s reply (None: the default's or a fallback's); asked when iterated.

    first   whether it begins with Start; a correction's second reply does not

    A consumer that sends a Taker gets the following batches by it where the provider can do that; see Delivery.
    """
    stream = providers.stream(request, name)
    started = not first
    try:
        for batch in stream:
            batch_steps = steps.of(batch)
            if not started:
                started = True
                batch_steps.insert(0, Start(stream.provider, stream.model, list(stream.parameter_changes)))
            taker = yield batch_steps
            if taker is not None:
                stream.deliver_to(functools.partial(_deliver, taker), taker.take_text)
    except ProviderError:
        if not started:
            # Which provider failed is certain too.
            yield [Start(stream.provider, stream.model, list(stream.parameter_changes))]
        raise
    finally:
        stream.close()


def _deliver(taker: Taker, deltas: list[Delta]) -> None:
    taker.take(steps.of(deltas))
