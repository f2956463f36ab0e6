"""Other workers' answers, for readers that follow them here: read from Redis once, then updated by its messages."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import gevent
import msgspec
import redis
from gevent.event import Event

from gateway import errors
from gateway.answers.events import Batch, Encoder
from gateway.answers.followable import Followable, Follower
from gateway.answers.shared.interface import Store
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
from gateway.answers.steps import TERMINAL, EventName
from gateway.errors import Failure

log = logging.getLogger("sluice.redis")

# Seconds without certain knowledge of an answer (Redis fails, or lost its log) after which its readers are cut: they
# come back, and get the reason.
UNKNOWN_S = 5.0
# Seconds that an answer without readers stays here, so that a request that has just found it can still join.
UNREAD_S = 10.0
# Seconds that DELETE waits for the answer's end, and the seconds after which the stop message is published again.
STOPS_S, SAY_AGAIN_S = 3.0, 0.3
# Seconds that a returning reader waits for Redis to receive what the reader has already seen.
LAGS_S = 3.0


class Link(Enum):
    """What this worker can know about a remote answer that has not ended.

    FOLLOWING ◀──filled──▶ GAP ──── UNKNOWN_S without Redis ────▶ LOST
        │        missing entries                                   ▲
        ├──────────────── UNKNOWN_S without Redis ─────────────────┘
        └── its worker no longer keeps it ──▶ FORGOTTEN

    LOST and FORGOTTEN are final: readers are cut without an end, and the next request looks in Redis anew.
    """

    FOLLOWING = auto()
    GAP = auto()
    LOST = auto()
    FORGOTTEN = auto()


class RemoteAnswer(Followable):
    """Another worker's answer, as far as Redis has it.

    lacks_since   since when (monotonic) entries are missing that its worker was asked to write again, or None
    """

    def __init__(self, answer_id: str, about: dict[str, str], home: RemoteAnswers) -> None:
        """`about` is the answer's hash in Redis; see keys.py."""
        super().__init__(answer_id, home.log_bytes)
        self.about = about
        self.worker, self.owner = about["worker"], about["owner"]
        self.question, self.database = about.get("question", ""), about.get("database", "")
        self.attached = msgspec.json.decode(about.get("attached", "{}"))
        self.unread_since = time.monotonic()
        self.link = Link.FOLLOWING
        self.lacks_since: float | None = None
        self._home = home

    @property
    def broken(self) -> bool:
        """Whether nothing more can come of it here: a reader that joins is cut."""
        return self.link in (Link.LOST, Link.FORGOTTEN)

    @property
    def settled(self) -> bool:
        """Whether it has ended, or nothing more can come of it here."""
        return self.ended or self.broken

    @property
    def died(self) -> bool:
        """Whether it ended because its worker died: events beyond the log may have been shown and lost."""
        return self.failure is not None and self.failure.code == "worker_died"

    def take(self, batch: Batch) -> bool:
        """Append the new events of `batch`; False if events before it are missing."""
        if self.ended or batch.first + len(batch.ends) - 1 <= self.log.count:
            return True
        missing = batch.first > self.log.count + 1
        if not self.broken:
            self.link = Link.GAP if missing else Link.FOLLOWING
        if missing:
            return False
        if batch.first <= self.log.count:
            batch = _without(batch, self.log.count + 1 - batch.first)
        self.log.append(batch, final=True)
        name, data = batch.events[-1]
        if name == EventName.FAILED:
            self.failure = errors.from_event(data)
        self.show(batch, final=name in TERMINAL)
        return True

    def reach(self, n: int) -> None:
        # While Redis cannot be reached, the producing worker shows its readers more events than Redis has.
        deadline = time.monotonic() + LAGS_S
        while n > self.shown and not self.settled and time.monotonic() < deadline:
            gevent.sleep(0.05)
        if self.died and n >= self.shown:
            # The reader's last event may not be the end of the answer, so 204 (nothing more) would be wrong.
            raise Failure("worker_died", "answer: its worker died before the end; the text so far is kept")
        if n > self.shown and not self.ended:
            raise Failure("overloaded", "answer: Redis does not have all of its events yet; ask again in a second")
        super().reach(n)

    def join(self, reader: Follower) -> None:
        super().join(reader)
        if self.broken:
            reader.cut()
        elif not self.ended:
            self._home.tell(self, "follow")

    def leave(self, reader: Follower) -> None:
        if reader in self.readers:
            super().leave(reader)
            self.unread_since = time.monotonic()
            if not (self.readers or self.ended or self.broken):
                self._home.tell(self, "left")

    def break_off(self, link: Link) -> None:
        """Cut its readers without an end: `link` says why nothing more can be known (LOST or FORGOTTEN)."""
        self.link = link
        for reader in list(self.readers):
            reader.cut()

    def cancel(self) -> None:
        """Have its worker stop it; raises Failure (overloaded) if the end does not come within STOPS_S."""
        self._home.stop(self)

    def end(self, failure: Failure) -> Batch:
        """The entry that ends it with `failure`; the caller writes it to Redis and then takes it here."""
        about = [self.about.get(name, "") for name in ("request_id", "provider", "model")]
        return Encoder(self.id, 0, self.log.count).failed(failure, *about)


def _without(batch: Batch, count: int) -> Batch:
    """The batch without its first `count` events."""
    start = batch.ends[count - 1]
    return Batch(batch.first + count, batch.sse[start:], [end - start for end in batch.ends[count:]])


class RemoteAnswers:
    """The remote answers with readers in this worker, and one pubsub connection that brings their new entries.

    Only `listen` uses that connection: redis-py's pubsub does not allow two greenlets at once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.log_bytes = store.answers.server.log_bytes
        self._own = worker_key(store.worker).encode()
        self._answers: dict[str, RemoteAnswer] = {}
        # channel → set once Redis has confirmed the subscription
        self._channels: dict[bytes, Event] = {}
        self._asked_for: set[bytes] = set()
        self._changed = True
        self._pubsub = store.client.pubsub()
        # worker → since when (monotonic) its lease is missing
        self._missing: dict[str, float] = {}
        # Since when (monotonic) Redis fails, or None.
        self._failing_since: float | None = None

    def find(self, answer_id: str, owner: str) -> RemoteAnswer | None:
        """The answer, if it is `owner`'s and Redis has it; raises redis.RedisError."""
        answer = self._answers.get(answer_id)
        if answer is None:
            fields = self._store.client.hgetall(meta_key(answer_id))
            about = {name.decode(): value.decode() for name, value in fields.items()}
            if not about:
                # The answer may exist and not be written yet because Redis failed.
                self._store.be_sure()
            if about.get("owner") != owner or "worker" not in about:
                return None
            answer = RemoteAnswer(answer_id, about, self)
            self._catch_up(answer)
            if not answer.ended:
                # Another request may have found it during the round trip: all readers share one object.
                answer = self._answers.setdefault(answer_id, answer)
                # Subscribe first, then read the log again, so that no entry falls between the two.
                self._subscribe(answer)
                self._catch_up(answer)
                if not self._mend(answer):
                    return None
        if not answer.ended:
            # While Redis refuses writes, its log may be older than the answer.
            self._store.be_sure()
        answer.unread_since = time.monotonic()
        return answer if answer.owner == owner else None

    def _mend(self, answer: RemoteAnswer) -> bool:
        """Have its worker write again what Redis lacks, and wait for it; False if the answer is lost."""
        finished = "ended" in answer.about
        if answer.link is Link.GAP or finished or not answer.log.count:
            self.tell(answer, "lacks")
        deadline = time.monotonic() + TIMEOUT_S
        while (answer.link is Link.GAP or finished) and not answer.settled and time.monotonic() < deadline:
            gevent.sleep(0.02)
        if not finished or answer.ended:
            return True
        # The answer has ended and Redis dropped its log: only its worker could write it again.
        forgotten = answer.link is Link.FORGOTTEN
        self._break_off(answer, Link.FORGOTTEN if forgotten else Link.LOST)
        if self._store.client.exists(worker_key(answer.worker)) and not forgotten:
            raise Failure("overloaded", "answer: Redis does not have its events now; ask again in a second")
        return False

    def stop(self, answer: RemoteAnswer) -> None:
        """Publish "stop" to its worker until its end has come; raises Failure (overloaded) after STOPS_S."""
        deadline = time.monotonic() + STOPS_S
        try:
            while not answer.settled and time.monotonic() < deadline:
                # Published again and again: the worker's own subscription may be down for a moment.
                self._store.client.publish(*self._message(answer, "stop"))
                again = time.monotonic() + SAY_AGAIN_S
                while not answer.settled and time.monotonic() < again:
                    gevent.sleep(0.01)
                if not answer.ended:
                    self._catch_up(answer)
        except FAILS as error:
            self._store.lost(error)
        if not answer.ended:
            raise Failure(
                "overloaded", f"answer: its worker did not confirm the stop within {STOPS_S:g} s; send DELETE again"
            )

    def _catch_up(self, answer: RemoteAnswer) -> None:
        entries = self._store.client.xrange(log_key(answer.id), min=f"{answer.log.count + 1}-0")
        for _, entry in entries:
            answer.take(unpacked(entry[b"e"]))

    def _end(self, answer: RemoteAnswer) -> None:
        """Write the end of an answer whose worker is dead, for the readers of every worker."""
        client = self._store.client
        entry = packed(answer.end(Failure("worker_died", "answer: its worker died before the end")))
        try:
            client.xadd(log_key(answer.id), {"e": entry}, id=f"{LAST_ENTRY}-0")
        except redis.ResponseError as error:
            if not refused(error):
                # For example Redis is full: the end cannot be written now.
                raise
            # Another worker has written the end first; that one counts.
        else:
            log.warning("answer %s was ended: its worker died", answer.id)
            pipe = client.pipeline(transaction=False)
            pipe.publish(meta_key(answer.id), entry)
            pipe.hset(meta_key(answer.id), "ended", "1")
            for key in filter(None, (meta_key(answer.id), log_key(answer.id), answer.about.get("claim"))):
                pipe.pexpire(key, int(self._store.answers.server.log_age_s * 1000))
            pipe.execute()
        self._catch_up(answer)

    def _subscribe(self, answer: RemoteAnswer) -> None:
        agreed = self._channels.setdefault(meta_key(answer.id).encode(), Event())
        if not agreed.is_set():
            self._changed = True
            # A message on this worker's own channel wakes `listen`, which then subscribes.
            self._store.client.publish(self._own, f"news {answer.id} {self._store.worker}")
            agreed.wait(TIMEOUT_S)

    def tell(self, answer: RemoteAnswer, what: str) -> None:
        """Publish `what` ("follow", "left", "lacks") to the answer's worker."""
        self._quietly(lambda: self._store.client.publish(*self._message(answer, what)))

    def _message(self, answer: RemoteAnswer, what: str) -> tuple[str, str]:
        return worker_key(answer.worker), f"{what} {answer.id} {self._store.worker}"

    def _quietly(self, call: Callable[[], object]) -> None:
        try:
            call()
        except FAILS as error:
            self._store.lost(error)

    def watch(self) -> None:
        """Every RENEW_S: publish which answers have readers, end those whose worker died. Never returns."""
        while True:
            gevent.sleep(RENEW_S)
            now = time.monotonic()
            try:
                self._check(now)
                fails = not self._store.up
            except Exception as error:  # noqa: BLE001 - without this greenlet no remote answer grows
                self._store.lost(error)
                fails = True
            self._failing_since = (self._failing_since or now) if fails else None
            for answer in list(self._answers.values()):
                since = self._failing_since or answer.lacks_since
                if since is not None and now - since >= UNKNOWN_S and not answer.ended:
                    self._break_off(answer, Link.LOST)

    def _break_off(self, answer: RemoteAnswer, link: Link) -> None:
        self._forget(answer)
        answer.break_off(link)

    def _forget(self, answer: RemoteAnswer) -> None:
        if self._answers.pop(answer.id, None) is not None:
            self._changed = True

    def _check(self, now: float) -> None:
        for answer in list(self._answers.values()):
            if not answer.readers and (answer.ended or now - answer.unread_since > UNREAD_S):
                self._forget(answer)
        if not self._answers:
            return
        answers = list(self._answers.values())
        workers = sorted({answer.worker for answer in answers})
        pipe = self._store.client.pipeline(transaction=False)
        for worker in workers:
            pipe.exists(worker_key(worker))
        for answer in answers:
            pipe.exists(log_key(answer.id))
        for answer in answers:
            if answer.readers:
                pipe.publish(*self._message(answer, "follow"))
        replies = pipe.execute()
        leases = dict(zip(workers, replies, strict=False))
        logs = dict(zip(answers, replies[len(workers) :], strict=False))
        self._missing = {worker: self._missing.get(worker, now) for worker in workers if not leases[worker]}
        for answer in answers:
            if answer.ended or "ended" in answer.about:
                # It has ended; where Redis lost its log, `_mend` has it written again.
                continue
            if now - self._missing.get(answer.worker, now) >= GRACE_S:
                self._end(answer)
            elif answer.link is Link.GAP or not logs[answer]:
                # An empty log is right where its worker has written nothing yet.
                answer.lacks_since = (
                    (answer.lacks_since or now) if answer.link is Link.GAP or answer.log.count else None
                )
                self.tell(answer, "lacks")
            else:
                answer.lacks_since = None

    def listen(self) -> None:
        """Read new entries and other workers' messages to this worker from the pubsub connection. Never returns."""
        while True:
            try:
                if self._changed:
                    self._agree()
                message = self._pubsub.get_message(timeout=1.0)
                if message is not None:
                    self._heard(message)
            except Exception as error:  # noqa: BLE001 - without this greenlet no remote answer grows
                self._store.lost(error)
                gevent.sleep(RENEW_S)
                self._pubsub.close()
                self._pubsub, self._asked_for, self._changed = self._store.client.pubsub(), set(), True

    def _agree(self) -> None:
        """Subscribe to exactly the channels that are wanted now."""
        self._changed = False
        wanted = {self._own, *(meta_key(answer_id).encode() for answer_id in self._answers)}
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
        answer = self._answers.get(answer_of(channel)) if channel else None
        if message["type"] == "subscribe":
            if (agreed := self._channels.get(channel)) is not None:
                agreed.set()
            # After a lost connection every subscription is renewed; entries published meanwhile are in the log.
            if answer is not None:
                gevent.spawn(self._quietly, lambda: self._catch_up(answer))
        elif message["type"] == "message":
            if channel == self._own:
                self._store.handle(message["data"])
            elif answer is not None and not message["data"]:
                # Its worker no longer keeps the answer, and the message with its end did not reach this worker.
                self._break_off(answer, Link.FORGOTTEN)
            elif answer is not None and not answer.take(unpacked(message["data"])):
                gevent.spawn(self._quietly, lambda: self._catch_up(answer))
