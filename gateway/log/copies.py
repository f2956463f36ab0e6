"""Copies of other workers' answers, for readers that follow them here: read from Redis, then kept up to date."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent
import redis
from gevent.event import Event

from gateway import errors
from gateway.errors import Failure
from gateway.events import Batch, Encoder
from gateway.followed import Followed, Reading
from gateway.log.entries import (
    FAILS,
    LAST_ENTRY,
    RENEW_S,
    TIMEOUT_S,
    answer_of,
    log_key,
    meta_key,
    packed,
    unpacked,
    worker_key,
)

if TYPE_CHECKING:
    from gateway.log.redis import Mirror

log = logging.getLogger("sluice.redis")

# A copy whose Redis cannot be reached ends after this long, so that its readers are told something.
UNREACHABLE_S = 5.0


class Copy(Followed):
    """Another worker's answer, as far as Redis has it."""

    def __init__(self, answer_id: str, worker: str, owner: str, copies: Copies) -> None:
        super().__init__(answer_id, copies.log_bytes)
        self.worker = worker
        self.owner = owner
        self._copies = copies

    def take(self, batch: Batch) -> bool:
        """Add what is new in `batch`; False if something is missing before it."""
        if self.ended or batch.first + len(batch.ends) - 1 <= self.log.count:
            return True
        if batch.first > self.log.count + 1:
            return False
        if batch.first <= self.log.count:
            batch = _without(batch, self.log.count + 1 - batch.first)
        self.log.append(batch, final=True)
        name, data = batch.events[-1]
        if name == "failed":
            self.failure = errors.from_event(data)
        self.show(batch, final=name in ("done", "failed"))
        return True

    def join(self, reader: Reading) -> None:
        super().join(reader)
        if not self.ended:
            self._copies.tell(self, "follow")

    def leave(self, reader: Reading) -> None:
        if reader in self.readers:
            super().leave(reader)
            if not self.readers:
                self._copies.forget(self)

    def cancel(self) -> None:
        if not self.ended:
            self._copies.tell(self, "stop")

    def end(self, failure: Failure) -> Batch:
        """The entry that ends it with `failure`; it is for the caller to share and to take."""
        return Encoder(self.id, 0, self.log.count).failed(failure, "", "", "")


def _without(batch: Batch, count: int) -> Batch:
    """The batch without its first `count` events."""
    start = batch.ends[count - 1]
    return Batch(batch.first + count, batch.sse[start:], [end - start for end in batch.ends[count:]])


class Copies:
    """The copies that somebody follows here, and one connection on which news of them comes."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self.log_bytes = mirror.answers.server.log_bytes
        self._copies: dict[str, Copy] = {}
        self._subscribed: dict[bytes, Event] = {}
        self._pubsub = mirror.client.pubsub()
        self._silent_s = 0.0

    def find(self, answer_id: str, owner: str) -> Copy | None:
        """The answer, if it is `owner`'s and Redis has it; raises redis.RedisError."""
        copy = self._copies.get(answer_id)
        if copy is not None:
            return copy if copy.owner == owner else None
        worker, its_owner = self._mirror.client.hmget(meta_key(answer_id), "worker", "owner")
        if worker is None or its_owner is None or its_owner.decode() != owner:
            return None
        copy = Copy(answer_id, worker.decode(), owner, self)
        self._catch_up(copy)
        if not copy.ended:
            # News first, then the log once more: nothing falls between.
            self._copies[answer_id] = copy
            self._subscribe(copy)
            self._catch_up(copy)
            self._end_if_dead(copy)
        return copy

    def _catch_up(self, copy: Copy) -> None:
        entries = self._mirror.client.xrange(log_key(copy.id), min=f"{copy.log.count + 1}-0")
        for _, entry in entries:
            copy.take(unpacked(entry[b"e"]))

    def _end_if_dead(self, copy: Copy) -> None:
        """End the copy, for everybody, if the lease of its worker has lapsed."""
        client = self._mirror.client
        if copy.ended or client.exists(worker_key(copy.worker)):
            return
        entry = copy.end(Failure("worker_died", "the worker that made this answer died"))
        key = log_key(copy.id)
        try:
            client.xadd(key, {"e": packed(entry)}, id=f"{LAST_ENTRY}-0")
            client.publish(meta_key(copy.id), packed(entry))
            client.pexpire(key, int(self._mirror.answers.server.log_age_s * 1000))
        except redis.ResponseError:
            # Somebody else was quicker; theirs counts.
            pass
        self._catch_up(copy)

    def _subscribe(self, copy: Copy) -> None:
        channel = meta_key(copy.id).encode()
        self._subscribed[channel] = Event()
        self._pubsub.subscribe(channel.decode())
        self._subscribed[channel].wait(TIMEOUT_S)

    def forget(self, copy: Copy) -> None:
        """Nobody here follows it any more."""
        if self._copies.get(copy.id) is copy:
            del self._copies[copy.id]
            self._subscribed.pop(meta_key(copy.id).encode(), None)
            self._quietly(lambda: self._pubsub.unsubscribe(meta_key(copy.id)))
            if not copy.ended:
                self.tell(copy, "left")

    def tell(self, copy: Copy, what: str) -> None:
        """Ask something of the copy's worker."""
        told = f"{what} {copy.id} {self._mirror.worker}"
        self._quietly(lambda: self._mirror.client.publish(worker_key(copy.worker), told))

    def _quietly(self, call: Callable[[], object]) -> None:
        try:
            call()
        except FAILS as error:
            self._mirror.lost(error)

    def check(self) -> None:
        """Once a second: say that the copies are followed, and end those whose worker has died."""
        copies = list(self._copies.values())
        try:
            for copy in copies:
                if copy.readers:
                    self.tell(copy, "follow")
                self._end_if_dead(copy)
            self._silent_s = 0.0
        except FAILS as error:
            self._mirror.lost(error)
            self._silent_s += RENEW_S
            if self._silent_s >= UNREACHABLE_S:
                for copy in copies:
                    copy.take(copy.end(Failure("worker_died", "the worker that makes this answer cannot be reached")))

    def listen(self) -> None:
        """Take news of the copies, and what other workers ask of this one; never returns."""
        own = worker_key(self._mirror.worker).encode()
        while True:
            try:
                if not self._pubsub.subscribed:
                    self._pubsub.subscribe(own.decode())
                message = self._pubsub.get_message(timeout=1.0)
                if message is not None:
                    self._heard(message, own)
            except FAILS as error:
                self._mirror.lost(error)
                gevent.sleep(RENEW_S)

    def _heard(self, message: dict[str, Any], own: bytes) -> None:
        channel = message["channel"]
        if message["type"] == "subscribe":
            if (event := self._subscribed.get(channel)) is not None:
                event.set()
            # After a cut every subscription is renewed, and what was said meanwhile is in the log.
            copy = self._copy_of(channel)
            if copy is not None:
                gevent.spawn(self._quietly, lambda: self._catch_up(copy))
        elif message["type"] == "message":
            if channel == own:
                self._mirror.asked(message["data"])
            elif (copy := self._copy_of(channel)) is not None and not copy.take(unpacked(message["data"])):
                gevent.spawn(self._quietly, lambda: self._catch_up(copy))

    def _copy_of(self, channel: bytes) -> Copy | None:
        return self._copies.get(answer_of(channel))
