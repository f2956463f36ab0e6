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
from gateway.answers.events import Batch, Encoder
from gateway.answers.followable import Followed, Reading
from gateway.answers.shared.keys import (
    FAILS,
    GRACE_S,
    LAST_ENTRY,
    RENEW_S,
    TIMEOUT_S,
    answer_of,
    log_key,
    meta_key,
    packed,
    refused,
    unpacked,
    worker_key,
)
from gateway.errors import Failure

if TYPE_CHECKING:
    from gateway.answers.shared.store import Mirror

log = logging.getLogger("sluice.redis")

# The readers of a copy of which nothing can be known for so long are cut, so that they come back, or hear why not.
UNKNOWN_S = 5.0
# A copy that nobody follows is kept so long: whoever is just looking for it may still join.
UNREAD_S = 10.0
# An answer's end is waited for so long after its worker was told to stop it, and that is said again so often.
STOPS_S, SAY_AGAIN_S = 3.0, 0.3
# A reader that has seen more than Redis waits so long for the rest to come.
LAGS_S = 3.0


class Copy(Followed):
    """Another worker's answer, as far as Redis has it."""

    def __init__(self, answer_id: str, about: dict[str, str], copies: Copies) -> None:
        """`about` is what Redis has in the answer's hash; see entries.py."""
        super().__init__(answer_id, copies.log_bytes)
        self.about = about
        self.worker, self.owner = about["worker"], about["owner"]
        self.question, self.database = about.get("question", ""), about.get("database", "")
        self.unread_since = time.monotonic()
        # Redis has entries with a gap before them, and since when this copy waits for what Redis has lost.
        self.gap = False
        self.lacks_since: float | None = None
        # It is none any more: who still comes to it is cut.
        self.broken = False
        # Its worker has forgotten it.
        self.gone = False
        # The worker died, and what it may have shown beyond the log is lost.
        self.died = False
        self._copies = copies

    def take(self, batch: Batch) -> bool:
        """Add what is new in `batch`; False if something is missing before it."""
        if self.ended or batch.first + len(batch.ends) - 1 <= self.log.count:
            return True
        self.gap = batch.first > self.log.count + 1
        if self.gap:
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
        while n > self.shown and not (self.ended or self.broken) and time.monotonic() < deadline:
            gevent.sleep(0.05)
        if self.died and n >= self.shown:
            # The reader's last event is not the end, or need not be: say it, rather than nothing (204).
            raise Failure("worker_died", "the worker that made this answer died")
        if n > self.shown and not self.ended:
            raise Failure("overloaded", "Redis does not have all of this answer now; ask again in a moment")
        super().reach(n)

    def join(self, reader: Reading) -> None:
        super().join(reader)
        if self.broken:
            reader.cut()
        elif not self.ended:
            self._copies.tell(self, "follow")

    def leave(self, reader: Reading) -> None:
        if reader in self.readers:
            super().leave(reader)
            self.unread_since = time.monotonic()
            if not (self.readers or self.ended or self.broken):
                self._copies.tell(self, "left")

    def break_off(self) -> None:
        """Nothing can be known of it now: its readers are cut, without an end."""
        self.broken = True
        for reader in list(self.readers):
            reader.cut()

    def cancel(self) -> None:
        """Have its worker stop it; raises Failure if the end does not come."""
        self._copies.stop(self)

    def end(self, failure: Failure) -> Batch:
        """The entry that ends it with `failure`; it is for the caller to share and to take."""
        about = [self.about.get(name, "") for name in ("request_id", "provider", "model")]
        return Encoder(self.id, 0, self.log.count).failed(failure, *about)


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
        # Since when Redis does not do what it should.
        self._failing_since: float | None = None

    def find(self, answer_id: str, owner: str) -> Copy | None:
        """The answer, if it is `owner`'s and Redis has it; raises redis.RedisError."""
        copy = self._copies.get(answer_id)
        if copy is None:
            told = self._mirror.client.hgetall(meta_key(answer_id))
            about = {name.decode(): value.decode() for name, value in told.items()}
            if not about:
                # There may be one that could not be written.
                self._mirror.be_sure()
            if about.get("owner") != owner or "worker" not in about:
                return None
            copy = Copy(answer_id, about, self)
            self._catch_up(copy)
            if not copy.ended:
                # Another reader may have come for it meanwhile: one copy for all.
                copy = self._copies.setdefault(answer_id, copy)
                # News first, then the log once more: nothing falls between.
                self._subscribe(copy)
                self._catch_up(copy)
                if not self._mend(copy):
                    return None
        if not copy.ended:
            # What Redis has may be old, if it takes nothing new.
            self._mirror.be_sure()
        copy.unread_since = time.monotonic()
        return copy if copy.owner == owner else None

    def _mend(self, copy: Copy) -> bool:
        """Where Redis lacks something of it, have its worker write it anew, and wait for that; False: it is gone."""
        finished = "ended" in copy.about
        if copy.gap or finished or not copy.log.count:
            self.tell(copy, "lacks")
        deadline = time.monotonic() + TIMEOUT_S
        while (copy.gap or finished) and not (copy.ended or copy.broken) and time.monotonic() < deadline:
            gevent.sleep(0.02)
        if not finished or copy.ended:
            return True
        # A log that Redis has dropped, of an answer that does not run: nobody can have it any more.
        self._break_off(copy)
        if self._mirror.client.exists(worker_key(copy.worker)) and not copy.gone:
            raise Failure("overloaded", "Redis does not have this answer now; ask again in a moment")
        return False

    def stop(self, copy: Copy) -> None:
        """Tell the copy's worker to stop it until its end has come; raises Failure if it does not come."""
        deadline = time.monotonic() + STOPS_S
        try:
            while not (copy.ended or copy.broken) and time.monotonic() < deadline:
                # Nobody need hear it: the worker's own connection may just be down.
                self._mirror.client.publish(*self._told(copy, "stop"))
                again = time.monotonic() + SAY_AGAIN_S
                while not (copy.ended or copy.broken) and time.monotonic() < again:
                    gevent.sleep(0.01)
                if not copy.ended:
                    self._catch_up(copy)
        except FAILS as error:
            self._mirror.lost(error)
        if not copy.ended:
            raise Failure("overloaded", "the worker of this answer does not say that it has stopped; ask again")

    def _catch_up(self, copy: Copy) -> None:
        entries = self._mirror.client.xrange(log_key(copy.id), min=f"{copy.log.count + 1}-0")
        for _, entry in entries:
            copy.take(unpacked(entry[b"e"]))

    def _end(self, copy: Copy) -> None:
        """End the copy, for everybody: its worker is dead."""
        client = self._mirror.client
        entry = packed(copy.end(Failure("worker_died", "the worker that made this answer died")))
        try:
            client.xadd(log_key(copy.id), {"e": entry}, id=f"{LAST_ENTRY}-0")
        except redis.ResponseError as error:
            if not refused(error):
                # Redis is full, say: nothing can be ended now.
                raise
            # Somebody else was quicker; theirs counts.
        else:
            log.warning("answer %s was ended: its worker died", copy.id)
            pipe = client.pipeline(transaction=False)
            pipe.publish(meta_key(copy.id), entry)
            pipe.hset(meta_key(copy.id), "ended", "1")
            for key in filter(None, (meta_key(copy.id), log_key(copy.id), copy.about.get("claim"))):
                pipe.pexpire(key, int(self._mirror.answers.server.log_age_s * 1000))
            pipe.execute()
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
            now = time.monotonic()
            try:
                self._check(now)
                fails = not self._mirror.up
            except Exception as error:  # noqa: BLE001 - without this greenlet no remote answer grows
                self._mirror.lost(error)
                fails = True
            self._failing_since = (self._failing_since or now) if fails else None
            for copy in list(self._copies.values()):
                since = self._failing_since or copy.lacks_since
                if since is not None and now - since >= UNKNOWN_S and not copy.ended:
                    self._break_off(copy)

    def _break_off(self, copy: Copy) -> None:
        self._forget(copy)
        copy.break_off()

    def _forget(self, copy: Copy) -> None:
        if self._copies.pop(copy.id, None) is not None:
            self._changed = True

    def _check(self, now: float) -> None:
        for copy in list(self._copies.values()):
            if not copy.readers and (copy.ended or now - copy.unread_since > UNREAD_S):
                self._forget(copy)
        if not self._copies:
            return
        copies = list(self._copies.values())
        workers = sorted({copy.worker for copy in copies})
        pipe = self._mirror.client.pipeline(transaction=False)
        for worker in workers:
            pipe.exists(worker_key(worker))
        for copy in copies:
            pipe.exists(log_key(copy.id))
        for copy in copies:
            if copy.readers:
                pipe.publish(*self._told(copy, "follow"))
        found = pipe.execute()
        leases = dict(zip(workers, found, strict=False))
        logs = dict(zip(copies, found[len(workers) :], strict=False))
        self._missing = {worker: self._missing.get(worker, now) for worker in workers if not leases[worker]}
        for copy in copies:
            if copy.ended or "ended" in copy.about:
                # Nothing to end, though its log may be gone; `_mend` sees to that.
                continue
            if now - self._missing.get(copy.worker, now) >= GRACE_S:
                self._end(copy)
            elif copy.gap or not logs[copy]:
                # Nothing at all may be right: its worker has said nothing yet.
                copy.lacks_since = (copy.lacks_since or now) if copy.gap or copy.log.count else None
                self.tell(copy, "lacks")
            else:
                copy.lacks_since = None

    def listen(self) -> None:
        """Take news of the copies, and what other workers ask of this one; never returns."""
        while True:
            try:
                if self._changed:
                    self._agree()
                message = self._pubsub.get_message(timeout=1.0)
                if message is not None:
                    self._heard(message)
            except Exception as error:  # noqa: BLE001 - without this greenlet no remote answer grows
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
            elif copy is not None and not message["data"]:
                # Its worker has forgotten the answer, whose end has passed us by.
                copy.gone = True
                self._break_off(copy)
            elif copy is not None and not copy.take(unpacked(message["data"])):
                gevent.spawn(self._quietly, lambda: self._catch_up(copy))
