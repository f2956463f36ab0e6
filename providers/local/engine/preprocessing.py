"""Threads beside the loop that turn requests into sequences: template, tokens, grammar.

A megabyte of text takes half a second, a large schema a tenth. The tokeniser and the grammar library release the
interpreter's lock meanwhile, so running replies go on. Tenants take turns: a tenant with a hundred long texts delays
another only by those in work.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from providers.errors import ProviderError
from providers.local.engine.sequence import Key, Sequence
from providers.local.wire import Ask, Failed

log = logging.getLogger("sluice.engine")

# Two, so that a slow request does not block the next; more would take cores from the steps.
THREADS = 2


@dataclass(slots=True)
class PendingRequest:
    """A request in preprocessing; `result` is its sequence."""

    key: Key
    ask: Ask
    result: Future[Sequence] = field(default_factory=Future)
    arrived: float = field(default_factory=monotonic)

    @property
    def tenant(self) -> str:
        return self.ask.cache_salt


class Preprocessing:
    """
    make    makes the sequence of a key and its ask; raises ProviderError; called in several threads at once
    wake    called in any thread when a request may be ready
    pending   requests in preprocessing, in order of arrival
    """

    def __init__(self, make: Callable[[Key, Ask], Sequence]) -> None:
        self.make = make
        self.wake: Callable[[], None] = lambda: None
        self.pending: dict[Key, PendingRequest] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="preprocessing")
        # Each tenant's requests that no thread has started; tenants in the order of their turns.
        self._waiting: dict[str, deque[PendingRequest]] = {}
        self._lock = Lock()

    def begin(self, key: Key, ask: Ask) -> None:
        """Start preprocessing a request; never waits."""
        pending = self.pending[key] = PendingRequest(key, ask)
        pending.result.add_done_callback(lambda _: self.wake())
        with self._lock:
            self._waiting.setdefault(ask.cache_salt, deque()).append(pending)
        self._pool.submit(self._prepare)

    def _prepare(self) -> None:
        """Preprocess the next request; called once per request, in the pool's threads."""
        with self._lock:
            tenant = next(iter(self._waiting))
            mine = self._waiting.pop(tenant)
            pending = mine.popleft()
            if mine:
                # At the end of the turns.
                self._waiting[tenant] = mine
        if pending.result.set_running_or_notify_cancel():
            try:
                pending.result.set_result(self.make(pending.key, pending.ask))
            except BaseException as error:  # noqa: BLE001 - a panic in a Rust library is not an Exception
                pending.result.set_exception(error)

    def forget(self, key: Key) -> None:
        """Drop a request that is in preprocessing."""
        if pending := self.pending.pop(key, None):
            pending.result.cancel()

    def ready(self) -> list[Key]:
        """Keys of finished requests: each tenant's in order of arrival."""
        keys: list[Key] = []
        held: set[str] = set()
        for key, pending in self.pending.items():
            if pending.tenant not in held:
                if pending.result.done():
                    keys.append(key)
                else:
                    held.add(pending.tenant)
        return keys

    def take(self, key: Key) -> Sequence | Failed:
        """The sequence of a finished request, or its failure."""
        pending = self.pending.pop(key)
        try:
            sequence = pending.result.result()
        except ProviderError as error:
            return Failed(key[1], error.code, error.message)
        except BaseException as error:  # a Rust library's panic is not an Exception
            log.exception("the preprocessing of a request failed")
            return Failed(key[1], "internal", f"the engine failed to preprocess this request: {type(error).__name__}")
        sequence.arrived = pending.arrived
        return sequence

    def settle(self) -> None:
        """Wait until all requests are ready (tests and benchmarks)."""
        wait([pending.result for pending in self.pending.values()])
