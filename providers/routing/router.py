"""Which provider is asked, how often, and which one steps in: all before the first delta, and never after it."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol

import gevent
import msgspec

from providers.catalogue import WIRES
from providers.chat import ChatRequest, Delivery
from providers.configuration import ProviderConfiguration
from providers.delta import Delta
from providers.errors import (
    BadKey,
    ContextTooLong,
    EngineDied,
    Moderated,
    NoSuchModel,
    Overloaded,
    ProviderError,
    Rejected,
)
from providers.routing.breaker import Breaker
from providers.sampling import Sampling

_NO_DEFAULTS = Sampling()
MAX_WAIT_S = 5.0
FIRST_WAIT_S = 0.25


class Adapter(Protocol):
    """One attempt at one provider; see providers/wires/adapter.py for what hosted wires share."""

    def ask(self, request: ChatRequest) -> Iterator[list[Delta]]:
        """Ask once; what came is yielded before a ProviderError is raised. Closing it ends the asking at once."""

    def check(self, request: ChatRequest) -> None:
        """Raise Rejected for what can be judged before anything is sent."""

    def parameter_changes(self, request: ChatRequest) -> list[str]:
        """What of the request it cannot do as asked, a sentence each."""

    def close(self) -> None:
        """Close what is kept open between questions."""


@dataclasses.dataclass
class Provider:
    """One configured provider at work."""

    name: str
    configuration: ProviderConfiguration
    breaker: Breaker
    load: Callable[[], Adapter]
    in_flight: int = 0
    adapter: Adapter | None = None
    # Why it cannot be asked; "" if it can. The configuration of a running worker does not change.
    missing: str = ""

    def __post_init__(self) -> None:
        self.missing = self.configuration.missing

    def ready(self) -> Adapter:
        """Its adapter, imported and made when it is first needed. Raises BadKey if its secret is not set."""
        if self.adapter is not None:
            return self.adapter
        if self.missing:
            raise BadKey(f"provider {self.name} cannot be asked: {self.missing}", request_sent=False)
        self.adapter = self.load()
        return self.adapter


class RoutedStream:
    """One question's way: batches of deltas from whichever provider answers.

    provider, model    the one that answers; certain from the first batch on, or when iterating raises
    parameter_changes  what that provider cannot do as the request says, a sentence each
    """

    def __init__(
        self, request: ChatRequest, candidates: Sequence[Provider], sleep: Callable[[float], Any] = gevent.sleep
    ) -> None:
        self.request = request
        self._candidates = candidates
        self._sleep = sleep
        self._answering = candidates[0]
        self._requests: dict[str, ChatRequest] = {}
        self._delivery = Delivery()
        self._reader: Any = None
        self._batches = self._run()

    @property
    def provider(self) -> str:
        return self._answering.name

    @property
    def model(self) -> str:
        return self._answering.configuration.shown_model

    @property
    def parameter_changes(self) -> list[str]:
        provider = self._answering
        if provider.missing:
            return []
        changes = provider.ready().parameter_changes(self._request_for(provider))
        if self.request.constrain and not WIRES[provider.configuration.type].own_process:
            changes = [*changes, "constrain dropped: only a local engine can be held to a grammar"]
        return changes

    def _request_for(self, provider: Provider) -> ChatRequest:
        if provider.name not in self._requests:
            self._requests[provider.name] = with_defaults(self.request, provider)
            self._requests[provider.name].delivery = self._delivery
        return self._requests[provider.name]

    def deliver_to(self, take: Callable[[list[Delta]], None], take_text: Callable[[str], None]) -> None:
        """After the first batch: the next ones may come by `take`, called from the event loop, which must not block.

        take_text   called in its place where a batch is text alone

        The consumer goes on iterating: it gets the batches that an adapter did not deliver, always the last one.
        """
        self._delivery.take, self._delivery.take_text = take, take_text

    def __iter__(self) -> Iterator[list[Delta]]:
        return self._batches

    def close(self) -> None:
        """Stop at once: the upstream's connection is closed, an engine's sequence cancelled.

        Called while another greenlet waits for a batch, it ends that greenlet.
        """
        try:
            self._batches.close()
        except ValueError:  # the generator is being executed
            gevent.kill(self._reader)

    def _run(self) -> Generator[list[Delta]]:
        self._reader = gevent.getcurrent()
        for place, provider in enumerate(self._candidates):
            self._answering = provider
            begun = False
            try:
                for batch in self._asked(provider):
                    begun = True
                    yield batch
                return
            except ProviderError as error:
                last = place == len(self._candidates) - 1
                if begun or last or not _another_may_help(error):
                    raise

    def _asked(self, provider: Provider) -> Iterator[list[Delta]]:
        """Ask one provider, and again where that is free or the upstream said so."""
        tries = 0
        while True:
            begun = False
            try:
                for batch in self._once(provider):
                    begun = True
                    yield batch
                return
            except ProviderError as error:
                again = (not error.request_sent or error.upstream_said_retry) and not isinstance(error, BadKey)
                # An engine that is down for longer than anybody waits here is no better at the end of that wait.
                again = again and not (isinstance(error, EngineDied) and (error.retry_after or 0) > MAX_WAIT_S)
                if begun or not again or tries >= provider.configuration.retries:
                    raise
                retry_after = error.retry_after
            # A random part keeps many that failed together from coming back together.
            wait = min(MAX_WAIT_S, FIRST_WAIT_S * 2**tries if retry_after is None else retry_after)
            self._sleep(min(MAX_WAIT_S, wait + random.uniform(0, 0.1 + wait / 4)))
            tries += 1

    def _once(self, provider: Provider) -> Iterator[list[Delta]]:
        adapter = provider.ready()
        request = self._request_for(provider)
        adapter.check(request)
        try:
            probe = provider.breaker.admit()
        except Overloaded as error:
            error.message = f"provider {provider.name} is not asked: {error.message}"
            raise
        provider.in_flight += 1
        try:
            begun = False
            for batch in adapter.ask(request):
                if not begun:
                    begun = True
                    provider.breaker.answered()
                if batch and batch[-1].finish_reason:
                    # Now: who has the end may not ask for more.
                    provider.breaker.succeeded()
                yield batch
        except ProviderError as error:
            provider.breaker.failed(error, _fingerprint(self.request))
            raise
        finally:
            provider.in_flight -= 1
            if probe:
                provider.breaker.released()


def _fingerprint(request: ChatRequest) -> str:
    """The same for one caller's tries of one question, however often a client asks again."""
    try:
        question = msgspec.json.encode([request.cache_salt, request.messages])
    except (TypeError, ValueError):
        return ""
    return hashlib.blake2b(question, digest_size=8).hexdigest()


def _another_may_help(error: ProviderError) -> bool:
    """Whether a fallback could do better: not where the question itself is at fault."""
    if isinstance(error, (ContextTooLong, Moderated)):
        return False
    return isinstance(error, NoSuchModel) or not isinstance(error, Rejected)


def with_defaults(request: ChatRequest, provider: Provider) -> ChatRequest:
    """The request, with this provider's `defaults` where it leaves a parameter open."""
    defaults = provider.configuration.default_sampling
    if defaults == _NO_DEFAULTS:
        return dataclasses.replace(request)
    sampling = request.sampling.over(defaults)
    if request.sampling.top_k is None and sampling.top_k is not None and sampling.top_k < 1:
        sampling.top_k = None  # "off" as a default: not every upstream knows a number for it, so it is left out
    return dataclasses.replace(request, sampling=sampling)
