"""Several servers of one provider: the least busy one is asked, a dead one is passed over for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

DEAD_S = 10.0


class Replicas:
    """The base_urls of one provider, with what is known of each."""

    def __init__(self, base_urls: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._in_flight = dict.fromkeys(base_urls, 0)
        self._dead_until = dict.fromkeys(base_urls, 0.0)
        self._taken = 0

    def take(self) -> str:
        """The base_url to ask; give it back with `release`."""
        now = self._clock()
        alive = [url for url, until in self._dead_until.items() if until <= now]
        # All dead: the one that has been dead longest may have come back.
        candidates = alive or sorted(self._dead_until, key=lambda url: self._dead_until[url])[:1]
        # Equally busy ones take turns.
        self._taken += 1
        turned = candidates[self._taken % len(candidates) :] + candidates[: self._taken % len(candidates)]
        url = min(turned, key=lambda url: self._in_flight[url])
        self._in_flight[url] += 1
        return url

    def release(self, url: str) -> None:
        """A question to `url` is over."""
        self._in_flight[url] -= 1

    def dead(self, url: str) -> None:
        """`url` could not be reached: pass it over for a while."""
        self._dead_until[url] = self._clock() + DEAD_S

    @property
    def alive(self) -> int:
        """How many would be asked now."""
        now = self._clock()
        return sum(until <= now for until in self._dead_until.values())

    @property
    def in_flight(self) -> int:
        """Questions under way, over all of them."""
        return sum(self._in_flight.values())
