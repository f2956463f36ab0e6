"""What a request needs before its first step (template, tokens, grammar) is made in threads beside the loop.

A megabyte of text takes half a second, a large schema a tenth; the tokeniser and the grammar library let go of the
interpreter's lock meanwhile, so the replies under way go on. Readers take turns, so one that asks a hundred long texts
keeps another waiting for those under way, not for all of them.
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

# One that is slow leaves another; more would take their cores from the steps.
THREADS = 2


@dataclass(slots=True)
class Begun:
    """A request in preparation."""

    key: Key
    ask: Ask
    making: Future[Sequence] = field(default_factory=Future)
    arrived: float = field(default_factory=monotonic)

    @property
    def salt(self) -> str:
        """Its reader."""
        return self.ask.salt


class Preparation:
    """
    make    the sequence for a key and its ask; raises ProviderError; called in several threads at once
    wake    called in any thread when something may be ready
    begun   what is in preparation, in the order in which it was asked
    """

    def __init__(self, make: Callable[[Key, Ask], Sequence]) -> None:
        self.make = make
        self.wake: Callable[[], None] = lambda: None
        self.begun: dict[Key, Begun] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="preparation")
        # Each reader's requests that no thread has taken up; the readers in the order of their turns.
        self._waiting: dict[str, deque[Begun]] = {}
        self._lock = Lock()

    def begin(self, key: Key, ask: Ask) -> None:
        """Let a request be prepared; never waits."""
        begun = self.begun[key] = Begun(key, ask)
        begun.making.add_done_callback(lambda _: self.wake())
        with self._lock:
            self._waiting.setdefault(ask.salt, deque()).append(begun)
        self._pool.submit(self._prepare)

    def _prepare(self) -> None:
        """Make what is next; called once for each request, whichever that is."""
        with self._lock:
            salt = next(iter(self._waiting))
            mine = self._waiting.pop(salt)
            begun = mine.popleft()
            if mine:
                # Behind the others.
                self._waiting[salt] = mine
        if begun.making.set_running_or_notify_cancel():
            try:
                begun.making.set_result(self.make(begun.key, begun.ask))
            except BaseException as error:  # noqa: BLE001 - a panic in a Rust library is no Exception
                begun.making.set_exception(error)

    def forget(self, key: Key) -> None:
        """Nobody wants it any more, if it is in preparation."""
        if begun := self.begun.pop(key, None):
            begun.making.cancel()

    def ready(self) -> list[Key]:
        """What may be taken: each reader's requests in the order in which they were asked."""
        keys: list[Key] = []
        held: set[str] = set()
        for key, begun in self.begun.items():
            if begun.salt not in held:
                if begun.making.done():
                    keys.append(key)
                else:
                    held.add(begun.salt)
        return keys

    def take(self, key: Key) -> Sequence | Failed:
        """What became of a request that is ready."""
        begun = self.begun.pop(key)
        try:
            sequence = begun.making.result()
        except ProviderError as error:
            return Failed(key[1], error.code, error.message)
        except BaseException as error:  # a Rust library's panic is no Exception
            log.exception("a request could not begin")
            return Failed(key[1], "internal", f"the engine failed to begin: {type(error).__name__}")
        sequence.arrived = begun.arrived
        return sequence

    def settle(self) -> None:
        """Wait until everything is ready: for who counts or measures steps."""
        wait([begun.making for begun in self.begun.values()])
