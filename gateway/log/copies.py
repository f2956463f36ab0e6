"""Copies of other workers' answers, for readers that follow them here: read from Redis, then kept up to date."""

from __future__ import annotations

import logging
import time
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
    GRACE_S,
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
# A copy that nobody follows is kept so long: whoever is just looking for it may still join.
UNREAD_S = 10.0
# A reader that has seen more than Redis waits so long for the rest to come.
LAGS_S = 3.0


class Copy(Followed):
    """Another worker's answer, as far as Redis has it."""

    def __init__(self, answer_id: str, worker: str, owner: str, copies: Copies) -> None:
        super().__init__(answer_id, copies.log_bytes)
        self.worker = worker
        self.owner = owner
        self.unread_since = time.monotonic()
        # The worker died, and what it may have shown beyond the log is lost.
        self.died = False
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
            self.died = self.failure.code == "worker_died"
        self.show(batch, final=name in ("done", "failed"))
        return True

    def reach(self, n: int) -> None:
        # Its worker shows more than Redis has while it cannot reach it.
        deadline = time.monotonic() + LAGS_S
        while n > self.shown and not self.ended and time.monotonic() < deadline:
            gevent.sleep(0.05)
        if self.died and n >= self.shown:
            # The reader's last event is not the end, or need not be: say it, rather than nothing (204).
            raise Failure("worker_died", "the worker that made this answer died")
        if n > self.shown and not self.ended:
            raise Failure("overloaded", "Redis does not have all of this answer now; ask again in a moment")
        super().reach(n)

    def join(self, reader: Reading) -> None:
        super().join(reader)
        if not self.ended:
            self._copies.tell(self, "follow")

    def leave(self, reader: Reading) -> None:
        if reader in self.readers:
            super().leave(reader)
            self.unread_since = time.monotonic()
            if not self.readers and not self.ended:
                self._copies.tell(self, "left")

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
    """The copies that somebody follows here, and one connection on which news of them comes.

    Only `listen` reads from and writes to that connection: two greenlets at once would break it for both.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self.log_bytes = mirror.answers.server.log_bytes
        self._own = worker_key(mirror.worker).encode()
        self._copies: dict[str, Copy] = {}
        # Channels that Redis was asked for → whether it has said yes.
        self._channels: dict[bytes, Event] = {}
        self._asked_for: set[bytes] = set()
        self._changed = True
        self._pubsub = mirror.client.pubsub()
        # worker → since when its lease is missing
        self._missing: dict[str, float] = {}
        self._silent_since: float | None = None

    def find(self, answer_id: str, owner: str) -> Copy | None:
        """The answer, if it is `owner`'s and Redis has it; raises redis.RedisError."""
        copy = self._copies.get(answer_id)
        if copy is None:
            worker, its_owner, *asked = self._mirror.client.hmget(
                meta_key(answer_id), "worker", "owner", "question", "database"
            )
            if worker is None or its_owner is None or its_owner.decode() != owner:
                return None
            copy = Copy(answer_id, worker.decode(), owner, self)
            copy.question, copy.database = ((told or b"").decode() for told in asked)
            self._catch_up(copy)
            if not copy.ended:
                # Another reader may have come for it meanwhile: one copy for all.
                copy = self._copies.setdefault(answer_id, copy)
                # News first, then the log once more: nothing falls between.
                self._subscribe(copy)
                self._catch_up(copy)
        copy.unread_since = time.monotonic()
        return copy if copy.owner == owner else None

    def _catch_up(self, copy: Copy) -> None:
        entries = self._mirror.client.xrange(log_key(copy.id), min=f"{copy.log.count + 1}-0")
        for _, entry in entries:
            copy.take(unpacked(entry[b"e"]))

    def _end(self, copy: Copy) -> None:
        """End the copy, for everybody: its worker is dead."""
        client = self._mirror.client
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
        agreed = self._channels.setdefault(meta_key(copy.id).encode(), Event())
        if not agreed.is_set():
            self._changed = True
            # Wakes `listen`.
            self._mirror.client.publish(self._own, f"news {copy.id} {self._mirror.worker}")
            agreed.wait(TIMEOUT_S)

    def tell(self, copy: Copy, what: str) -> None:
        """Ask something of the copy's worker."""
        self._quietly(lambda: self._mirror.client.publish(*self._told(copy, what)))

    def _told(self, copy: Copy, what: str) -> tuple[str, str]:
        return worker_key(copy.worker), f"{what} {copy.id} {self._mirror.worker}"

    def _quietly(self, call: Callable[[], object]) -> None:
        try:
            call()
        except FAILS as error:
            self._mirror.lost(error)

    def watch(self) -> None:
        """Say that the copies are followed, and end those whose worker has died; never returns."""
        while True:
            gevent.sleep(RENEW_S)
            try:
                self._check(time.monotonic())
                self._silent_since = None
            except Exception as error:
                self._mirror.lost(error)
                now = time.monotonic()
                self._silent_since = self._silent_since or now
                if now - self._silent_since >= UNREACHABLE_S:
                    for copy in list(self._copies.values()):
                        copy.take(copy.end(Failure("worker_died", "the worker of this answer cannot be reached")))

    def _check(self, now: float) -> None:
        for copy in list(self._copies.values()):
            if not copy.readers and now - copy.unread_since > UNREAD_S:
                del self._copies[copy.id]
                self._changed = True
        if not self._copies:
            return
        copies = list(self._copies.values())
        workers = sorted({copy.worker for copy in copies})
        pipe = self._mirror.client.pipeline(transaction=False)
        for worker in workers:
            pipe.exists(worker_key(worker))
        for copy in copies:
            if copy.readers:
                pipe.publish(*self._told(copy, "follow"))
        leases = dict(zip(workers, pipe.execute(), strict=False))
        self._missing = {worker: self._missing.get(worker, now) for worker in workers if not leases[worker]}
        for copy in copies:
            if not copy.ended and now - self._missing.get(copy.worker, now) >= GRACE_S:
                self._end(copy)

    def listen(self) -> None:
        """Take news of the copies, and what other workers ask of this one; never returns."""
        while True:
            try:
                if self._changed:
                    self._agree()
                message = self._pubsub.get_message(timeout=1.0)
                if message is not None:
                    self._heard(message)
            except Exception as error:  # whatever it is: without this greenlet no copy grows
                self._mirror.lost(error)
                gevent.sleep(RENEW_S)
                self._pubsub.close()
                self._pubsub, self._asked_for, self._changed = self._mirror.client.pubsub(), set(), True

    def _agree(self) -> None:
        """Ask Redis for the channels that are wanted by now, and no others."""
        self._changed = False
        wanted = {self._own, *(meta_key(answer_id).encode() for answer_id in self._copies)}
        new, old = wanted - self._asked_for, self._asked_for - wanted
        for channel in old:
            self._channels.pop(channel, None)
        self._asked_for = wanted
        if new:
            self._pubsub.subscribe(*new)
        if old:
            self._pubsub.unsubscribe(*old)

    def _heard(self, message: dict[str, Any]) -> None:
        channel = message["channel"]
        copy = self._copies.get(answer_of(channel)) if channel else None
        if message["type"] == "subscribe":
            if (agreed := self._channels.get(channel)) is not None:
                agreed.set()
            # After a cut every subscription is renewed, and what was said meanwhile is in the log.
            if copy is not None:
                gevent.spawn(self._quietly, lambda: self._catch_up(copy))
        elif message["type"] == "message":
            if channel == self._own:
                self._mirror.asked(message["data"])
            elif copy is not None and not copy.take(unpacked(message["data"])):
                gevent.spawn(self._quietly, lambda: self._catch_up(copy))
