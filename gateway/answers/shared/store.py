"""Answers in Redis, so that any worker on any machine can resume or stop any answer.

A worker's answers are always in its memory too. Readers see an event when Redis has it: a worker that takes over then
knows at least what they have seen. One round trip carries the events of many answers. While Redis fails or is full,
answers continue from memory alone; they are written to Redis when it is back.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Iterator
from typing import Any

import gevent
import msgspec
import redis
from gevent.event import Event
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.answers.followable import Followable
from gateway.answers.production import Answer
from gateway.answers.shared.interface import OwnAnswers
from gateway.answers.shared.keys import (
    FAILS,
    FOLLOWED_S,
    LAST_ENTRY,
    LEASE_S,
    RENEW_S,
    TIMEOUT_S,
    alias_key,
    claim_key,
    log_key,
    meta_key,
    packed,
    refused,
    worker_key,
)
from gateway.answers.shared.recovery import Recovery, pieces
from gateway.answers.shared.remote import RemoteAnswers
from gateway.errors import Failure

log = logging.getLogger("sluice.redis")

# A running answer's keys expire after log_age_s plus UNTENDED_S and are renewed every TEND_S, so that those of a dead
# worker vanish by themselves. Seconds.
UNTENDED_S = 30.0
TEND_S = 5.0
# Answers in one round trip: more would make streams wait.
AT_ONCE = 100
# A log is written in entries of about so many bytes at most.
ENTRY_BYTES = 256 << 10
# Connections to Redis, and the seconds that a greenlet waits for a free one.
CONNECTIONS = 8
TURN_S = 5.0
# Compare and set: give an idempotency key whose answer is gone to another answer, unless another worker was first.
TAKE_OVER = """
if redis.call("get", KEYS[1]) ~= ARGV[1] then return 0 end
redis.call("set", KEYS[1], ARGV[2], "px", ARGV[3])
return 1
"""


class SharedStore:
    """This worker's side of the shared log: writes its answers, renews its lease, serves other workers' messages."""

    def __init__(self, url: str, answers: OwnAnswers) -> None:
        self.worker = secrets.token_hex(8)
        self.answers = answers
        self.up = True
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=TURN_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            socket_keepalive=True,
            health_check_interval=5,
            retry=Retry(NoBackoff(), 0),
        )
        self.client: Any = redis.Redis(connection_pool=pool)
        # Answers with events that Redis lacks, in order of arrival.
        self._behind: dict[Answer, None] = {}
        self._writing: list[Answer] = []
        self._something = Event()
        # answer id → {worker: when (monotonic) its last "follow" message came}
        self._followers: dict[str, dict[str, float]] = {}
        self._remote = RemoteAnswers(self)
        # How often Redis came back. A write that began in an earlier life may be lost.
        self._life = 0
        self._recovery = Recovery(self)
        loops = (self._write, self._keep, self._tend, self._remote.listen, self._remote.watch)
        self._greenlets = [gevent.spawn(loop) for loop in loops]

    # -- our own answers

    def put(self, answer: Answer) -> bool:
        """See interface.SharedAnswers."""
        if not self.up:
            return False
        self._behind[answer] = None
        self._something.set()
        return True

    @property
    def settled(self) -> bool:
        """See interface.SharedAnswers."""
        return not self.up or not (self._behind or self._writing or self._recovery.busy)

    def claim(self, answer: Answer) -> tuple[str, str] | None:
        """See interface.SharedAnswers; without Redis the key holds in this worker only."""
        try:
            return self._claimed(answer)
        except FAILS as error:
            self.lost(error)
            return None

    def _claimed(self, answer: Answer) -> tuple[str, str] | None:
        key, ours = _claim_key(answer), self._claim(answer)
        pipe = self.client.pipeline(transaction=False)
        pipe.set(key, ours, nx=True, get=True, px=self._untended_ms)
        # In the same round trip: a worker that dies now must not leave a key without an answer.
        self._introduce(pipe, answer)
        before = pipe.execute()[0]
        if before is None:
            return None
        answer_id, digest, worker = [*before.decode().split(" "), ""][:3]
        if not self.client.exists(meta_key(answer_id)):
            if self.client.exists(worker_key(worker)):
                self.client.publish(worker_key(worker), f"lacks {answer_id} {self.worker}")
            elif self.client.eval(TAKE_OVER, 1, key, before, ours, self._untended_ms):
                return None
        self.client.delete(meta_key(answer.id))
        return answer_id, digest

    def _claim(self, answer: Answer) -> str:
        """The value of an idempotency key: the answer's id, the digest of the question, and the worker."""
        assert answer.request.idempotency is not None
        return f"{answer.id} {answer.request.idempotency[1]} {self.worker}"

    @property
    def _untended_ms(self) -> int:
        return int((UNTENDED_S + self.answers.server.log_age_s) * 1000)

    def _introduce(self, pipe: Any, answer: Answer) -> None:
        request = answer.request
        about = {"worker": self.worker, "owner": request.owner, "request_id": request.request_id}
        about |= {"provider": answer.provider, "model": answer.model}
        about |= {"question": answer.question, "database": answer.database}
        if request.idempotency is not None:
            about["claim"] = _claim_key(answer)
        if request.attached:
            about["attached"] = msgspec.json.encode(request.attached).decode()
        if self.answers.is_latest(answer):
            pipe.set(alias_key(request.owner, request.alias), answer.id, px=self._untended_ms)
        if answer.complete:
            about["ended"] = "1"
        pipe.hset(meta_key(answer.id), mapping=about)
        pipe.pexpire(meta_key(answer.id), self._untended_ms)

    def _write(self) -> None:
        while True:
            self._something.wait()
            self._writing = next(pieces(list(self._behind), AT_ONCE), [])
            for answer in self._writing:
                del self._behind[answer]
            try:
                if self.up:
                    self.share(self._writing)
            except Exception as error:  # noqa: BLE001 - without this greenlet no reader sees an event
                self.lost(error)
            if not self.up:
                # Show them from memory now: recovery looks through all answers once Redis is back.
                unseen, self._behind = [*self._writing, *self._behind], {}
                for answer in unseen:
                    answer.show_until(answer.log.count)
            self._writing = []
            if not self._behind:
                self._something.clear()

    def share(self, answers: Iterable[Answer]) -> None:
        """Write what Redis lacks of these answers in one round trip, then show it to their readers."""
        life = self._life
        pipe = self.client.pipeline(transaction=False)
        # (answer, its last event, which result of the pipeline is its entry's)
        written: list[tuple[Answer, int, int]] = []
        for answer in answers:
            written += self._add(pipe, answer)
        results = pipe.execute(raise_on_error=False)
        failed = [result for result in results if isinstance(result, Exception)]
        if others := [error for error in failed if not refused(error)]:
            raise others[0]
        if life != self._life:
            # Redis was lost and came back meanwhile: this write may be gone, and recovery looks through all answers.
            return
        anew = set()
        for answer, last, at in written:
            if answer in anew:
                continue
            if results[at] is None:
                anew.add(answer)
                self._write_anew(answer)
            elif not refused(results[at]) or self._superseded(answer):
                answer.shared_count = last
                answer.show_until(last)
            else:
                anew.add(answer)

    def _add(self, pipe: Any, answer: Answer) -> Iterator[tuple[Answer, int, int]]:
        """Add to `pipe` what Redis lacks of the answer: the log before the hash, by which it is found."""
        # Read once: other greenlets may append events while this one is switched out.
        complete, count, shared_count = answer.complete, answer.log.count, answer.shared_count
        while (batch := answer.log.after(shared_count, ENTRY_BYTES, count)) is not None:
            last, entry = batch.first + len(batch.ends) - 1, packed(batch)
            yield answer, last, len(pipe)
            # NOMKSTREAM: a log that Redis has dropped must not start in its middle.
            pipe.xadd(log_key(answer.id), {"e": entry}, id=f"{last}-0", nomkstream=shared_count > 0)
            pipe.publish(meta_key(answer.id), entry)
            if shared_count == 0:
                pipe.pexpire(log_key(answer.id), self._untended_ms)
            shared_count = last
            if last < count:
                # A long answer takes long to pack: let other greenlets run.
                gevent.sleep(0)
        if answer.shared_count == 0 or complete:
            self._introduce(pipe, answer)
            if answer.request.idempotency is not None:
                pipe.set(_claim_key(answer), self._claim(answer), nx=True, px=self._untended_ms)
        if complete:
            self._expire(pipe, answer)

    def _expire(self, pipe: Any, answer: Answer) -> None:
        """Let Redis drop the complete answer when this worker's memory does."""
        left_s = self.answers.server.log_age_s - (time.monotonic() - answer.ended_at)
        for key in _keys(answer):
            pipe.pexpire(key, max(1, int(left_s * 1000)))

    def _superseded(self, answer: Answer) -> bool:
        """After a refused entry: whether another worker took this one for dead and ended the answer."""
        if self.client.xrange(log_key(answer.id), min=f"{LAST_ENTRY}-0"):
            self.give_up(answer)
            return True
        # A late entry from before Redis was lost is in the way: write the whole log again.
        self.client.delete(log_key(answer.id))
        self._write_anew(answer)
        return False

    def give_up(self, answer: Answer) -> None:
        """End the answer here as well: another worker has already ended it in Redis."""
        answer.fail(Failure("worker_died", "answer: its worker lost its lease in Redis, and the answer was ended"))

    def _write_anew(self, answer: Answer) -> None:
        """Write the whole log again: Redis lost entries that it had."""
        answer.shared_count = 0
        self.put(answer)

    def _tend(self) -> None:
        """Every TEND_S: renew the keys of running answers, write again what Redis dropped. Never returns."""
        while True:
            gevent.sleep(TEND_S)
            running = [answer for answer in self.answers.running if answer.shared_count]
            try:
                for some in _chunks(running):
                    self._tend_some(some)
            except Exception as error:  # noqa: BLE001 - without this greenlet no reader sees an event
                self.lost(error)

    def _tend_some(self, answers: list[Answer]) -> None:
        pipe = self.client.pipeline(transaction=False)
        keys = [(answer, key) for answer in answers for key in _keys(answer)]
        for _, key in keys:
            pipe.pexpire(key, self._untended_ms)
        there = pipe.execute()
        for answer in {answer for (answer, _), known in zip(keys, there, strict=True) if not known}:
            self._write_anew(answer)
        if ended := [answer for answer in answers if answer.complete]:
            # They ended during the round trip, whose pexpire may have overwritten the final one.
            for answer in ended:
                self._expire(pipe, answer)
            pipe.execute()

    def lost(self, error: Exception) -> None:
        """Continue without Redis after `error`, until a recovery succeeds."""
        if not isinstance(error, FAILS):
            log.error("an unexpected error in a call to Redis", exc_info=error)
        self.up = False
        if not self._recovery.failing:
            self._recovery.failing = True
            log.warning("Redis fails (%s): answers stay in their workers' memory until it is back", _described(error))
        for answer in self.answers.running:
            answer.show_until(answer.log.count)

    def _keep(self) -> None:
        """Every RENEW_S: renew the lease, forget other workers' silent readers, notice that Redis is back."""
        while True:
            try:
                self.renew()
            except Exception as error:  # noqa: BLE001 - without this greenlet no reader sees an event
                self.lost(error)
            now = time.monotonic()
            for answer_id, workers in list(self._followers.items()):
                for worker in [worker for worker, heard in workers.items() if now - heard > FOLLOWED_S]:
                    self._unfollowed(answer_id, worker)
            gevent.sleep(RENEW_S)

    def renew(self) -> None:
        """Renew the lease; start a recovery where Redis had lost it or was failing. Raises redis.RedisError."""
        before = self.client.set(worker_key(self.worker), "1", px=int(LEASE_S * 1000), get=True)
        if before is None:
            self._recovery.wanted = True
        if self._recovery.wanted or not self.up:
            self._recovery.begin()

    def be_sure(self) -> None:
        """Return if Redis takes writes, now or after a recovery; else raise redis.RedisError or OSError."""
        if not self.up:
            self.renew()
            self._recovery.wait(TIMEOUT_S)
            if not self.up:
                raise redis.ConnectionError("Redis takes no writes")

    def begin_life(self) -> None:
        """Writes that are under way now may be lost: `share` then ignores their results."""
        self._life += 1

    def names(self, answer: Answer) -> list[str]:
        """The keys that Redis has for the answer."""
        return _keys(answer)

    # -- messages of other workers

    def followed_elsewhere(self, answer: Answer) -> bool:
        return answer.id in self._followers

    def handle(self, message: bytes) -> None:
        """Another worker's message `<what> <answer id> <worker>`:

        stop     end the answer
        follow   the answer has readers there;  left: it has none any more
        lacks    Redis lacks entries that it should have: write them again
        """
        what, answer_id, worker = message.decode().split(" ")
        answer = self.answers.own(answer_id)
        if answer is None:
            if what in ("follow", "lacks"):
                gevent.spawn(self._say_gone, answer_id)
        elif what == "stop":
            answer.cancel()
        elif what == "lacks":
            if answer.shared_count:
                self._write_anew(answer)
        elif what == "follow":
            self._followers.setdefault(answer_id, {})[worker] = time.monotonic()
        elif what == "left":
            self._unfollowed(answer_id, worker)

    def _say_gone(self, answer_id: str) -> None:
        """Publish that this worker no longer keeps the answer: its remote readers would wait in vain."""
        try:
            self.client.publish(meta_key(answer_id), b"")
        except FAILS as error:
            self.lost(error)

    def _unfollowed(self, answer_id: str, worker: str) -> None:
        workers = self._followers.get(answer_id, {})
        workers.pop(worker, None)
        if not workers:
            self._followers.pop(answer_id, None)
            if (answer := self.answers.own(answer_id)) is not None:
                answer.maybe_abandon()

    # -- other workers' answers

    def latest(self, owner: str, alias: str) -> str | None:
        """See interface.SharedAnswers; None where Redis fails."""
        try:
            answer_id: bytes | None = self.client.get(alias_key(owner, alias))
        except FAILS as error:
            self.lost(error)
            return None
        return None if answer_id is None else answer_id.decode()

    def find(self, answer_id: str, owner: str) -> Followable | None:
        """See interface.SharedAnswers."""
        try:
            return self._remote.find(answer_id, owner)
        except FAILS as error:
            self.lost(error)
            raise Failure("overloaded", "answer: other workers' answers cannot be read now, Redis fails") from None


def _claim_key(answer: Answer) -> str:
    assert answer.request.idempotency is not None
    return claim_key(answer.request.owner, answer.request.idempotency[0])


def _keys(answer: Answer) -> list[str]:
    """Every key of the answer in Redis. The hash comes first: readers find the other keys through it."""
    keys = [meta_key(answer.id), log_key(answer.id)]
    if answer.request.idempotency is not None:
        keys.append(_claim_key(answer))
    if answer.request.alias:
        keys.append(alias_key(answer.request.owner, answer.request.alias))
    return keys


def _chunks(answers: list[Answer]) -> Iterator[list[Answer]]:
    for start in range(0, len(answers), AT_ONCE):
        yield answers[start : start + AT_ONCE]


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
