"""Answers in Redis, so that any worker on any machine can resume or stop any answer.

A worker's answers are always in its memory too. Readers see an event when Redis has it, so that whoever takes over
knows at least what they know; many answers' events go in one round trip. Where Redis fails or is full, answers go on
from memory alone, and are written again as a whole when it is back.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Any

import gevent
import redis
from gevent.event import Event
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.errors import Failure
from gateway.followed import Followed
from gateway.log.copies import Copies
from gateway.log.entries import (
    FAILS,
    FOLLOWED_S,
    LAST_ENTRY,
    LEASE_S,
    RENEW_S,
    TIMEOUT_S,
    claim_key,
    log_key,
    meta_key,
    packed,
    worker_key,
)

if TYPE_CHECKING:
    from gateway.answers import Answer, Answers

log = logging.getLogger("sluice.redis")

# How long an answer's keys live while it runs, so that those of a dead worker go by themselves.
RUNNING_S = 3600


class Mirror:
    """This worker's part in the shared log: writes its answers, keeps its lease, and does what other workers ask."""

    def __init__(self, url: str, answers: Answers) -> None:
        self.worker = secrets.token_hex(8)
        self.answers = answers
        self.up = True
        self.client: Any = redis.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            socket_keepalive=True,
            health_check_interval=5,
            retry=Retry(NoBackoff(), 0),
        )
        # Answers with something that Redis lacks, in the order in which it came.
        self._behind: dict[Answer, None] = {}
        self._something = Event()
        # answer id → {worker: when it last said that somebody there follows}
        self._followers: dict[str, dict[str, float]] = {}
        self._copies = Copies(self)
        # How often Redis came back: what was on its way to it before may not be there.
        self._life = 0
        loops = (self._write, self._keep, self._copies.listen, self._copies.watch)
        self._greenlets = [gevent.spawn(loop) for loop in loops]

    # -- our own answers

    def put(self, answer: Answer) -> bool:
        """See answers.Mirroring."""
        if not self.up:
            return False
        self._behind[answer] = None
        self._something.set()
        return True

    def claim(self, answer: Answer) -> tuple[str, str] | None:
        """See answers.Mirroring; without Redis the key holds in this worker only."""
        meta = meta_key(answer.id)
        pipe = self.client.pipeline(transaction=False)
        pipe.set(_claim_key(answer), _claim(answer), nx=True, get=True, px=self._claim_ms)
        # With it, so that a worker that dies now leaves no key behind that stands for nothing.
        self._introduce(pipe, answer)
        try:
            before = pipe.execute()[0]
            if before is None:
                return None
            self.client.delete(meta)
        except FAILS as error:
            self.lost(error)
            return None
        answer_id, _, digest = before.decode().partition(" ")
        return answer_id, digest

    @property
    def _claim_ms(self) -> int:
        return int((RUNNING_S + self.answers.server.log_age_s) * 1000)

    def _introduce(self, pipe: Any, answer: Answer) -> None:
        told = {"worker": self.worker, "owner": answer.asked.owner}
        told |= {"question": answer.question, "database": answer.database}
        pipe.hset(meta_key(answer.id), mapping=told)
        pipe.pexpire(meta_key(answer.id), RUNNING_S * 1000)

    def _write(self) -> None:
        while True:
            self._something.wait()
            self._something.clear()
            behind, self._behind = list(self._behind), {}
            try:
                self._share(behind)
            except Exception as error:  # whatever it is: without this greenlet no reader sees anything
                self.lost(error)
                for answer in behind:
                    answer.show_until(answer.log.count)

    def _share(self, answers: list[Answer]) -> None:
        """Write what Redis lacks of these answers in one round trip, then show it to their readers."""
        life = self._life
        pipe = self.client.pipeline(transaction=False)
        # (answer, its last event, which result of the pipeline is its entry's)
        written: list[tuple[Answer, int, int]] = []
        for answer in answers:
            if answer.mirrored == 0:
                self._introduce(pipe, answer)
                if answer.asked.idempotency is not None:
                    pipe.set(_claim_key(answer), _claim(answer), nx=True, px=self._claim_ms)
            if (batch := answer.log.after(answer.mirrored)) is not None:
                last, entry = batch.first + len(batch.ends) - 1, packed(batch)
                written.append((answer, last, len(pipe)))
                pipe.xadd(log_key(answer.id), {"e": entry}, id=f"{last}-0")
                pipe.publish(meta_key(answer.id), entry)
                if answer.mirrored == 0:
                    pipe.pexpire(log_key(answer.id), RUNNING_S * 1000)
                if answer.complete:
                    self._expire(pipe, answer)
        results = pipe.execute(raise_on_error=False)
        failed = [result for result in results if isinstance(result, Exception)]
        if others := [error for error in failed if not _refused(error)]:
            raise others[0]
        if life != self._life:
            # Redis was lost and is back: what was written may be gone, and everything is written anew.
            return
        for answer, last, at in written:
            if not _refused(results[at]) or self._superseded(answer):
                answer.mirrored = last
                answer.show_until(last)

    def _expire(self, pipe: Any, answer: Answer) -> None:
        """The answer is complete: what Redis has of it lives as long as in memory."""
        keys = [log_key(answer.id), meta_key(answer.id)]
        if answer.asked.idempotency is not None:
            keys.append(_claim_key(answer))
        for key in keys:
            pipe.pexpire(key, int(self.answers.server.log_age_s * 1000))

    def _superseded(self, answer: Answer) -> bool:
        """Redis refused an entry: True if another worker took us for dead, and ended the answer."""
        ids = self.client.xrevrange(log_key(answer.id), count=1)
        if ids and ids[0][0] == f"{LAST_ENTRY}-0".encode():
            answer.fail(Failure("worker_died", "the worker was silent too long, and its answer was ended"))
            return True
        # An entry from before Redis was lost came late: write the log anew.
        self.client.delete(log_key(answer.id))
        answer.mirrored = 0
        self.put(answer)
        return False

    def lost(self, error: Exception) -> None:
        """Redis does not do what it should: go on without it until it does."""
        if not isinstance(error, FAILS):
            log.error("a fault in the way to Redis", exc_info=error)
        if self.up:
            self.up = False
            log.warning("Redis fails (%s): answers stay in their workers' memory until it is back", _told(error))
        for answer in self.answers.running:
            answer.show_until(answer.log.count)

    def _keep(self) -> None:
        """Renew the lease, forget followers that fell silent, and notice that Redis is back; never returns."""
        while True:
            try:
                self.client.set(worker_key(self.worker), "1", px=int(LEASE_S * 1000))
                if not self.up:
                    self._back()
            except Exception as error:
                self.lost(error)
            now = time.monotonic()
            for answer_id, workers in list(self._followers.items()):
                for worker in [worker for worker, heard in workers.items() if now - heard > FOLLOWED_S]:
                    self._unfollowed(answer_id, worker)
            gevent.sleep(RENEW_S)

    def _back(self) -> None:
        """Redis is back: write this worker's answers anew, for it may have lost them."""
        kept = self.answers.kept()
        pipe = self.client.pipeline(transaction=False)
        for answer in kept:
            pipe.delete(log_key(answer.id))
        pipe.execute()
        self.up = True
        self._life += 1
        for answer in kept:
            answer.mirrored = 0
            self._behind[answer] = None
        self._something.set()
        log.warning("Redis is back: %d answers are written to it again", len(kept))

    # -- what other workers ask

    def followed_elsewhere(self, answer: Answer) -> bool:
        return answer.id in self._followers

    def asked(self, told: bytes) -> None:
        """Another worker's wish: `stop <id> <worker>`, `follow <id> <worker>` or `left <id> <worker>`."""
        what, answer_id, worker = told.decode().split(" ")
        answer = self.answers.own(answer_id)
        if answer is None:
            return
        if what == "stop":
            answer.cancel()
        elif what == "follow":
            self._followers.setdefault(answer_id, {})[worker] = time.monotonic()
        elif what == "left":
            self._unfollowed(answer_id, worker)

    def _unfollowed(self, answer_id: str, worker: str) -> None:
        workers = self._followers.get(answer_id, {})
        workers.pop(worker, None)
        if not workers:
            self._followers.pop(answer_id, None)
            if (answer := self.answers.own(answer_id)) is not None:
                answer.maybe_abandon()

    # -- other workers' answers

    def find(self, answer_id: str, owner: str) -> Followed | None:
        """See answers.Mirroring."""
        try:
            return self._copies.find(answer_id, owner)
        except FAILS as error:
            self.lost(error)
            raise Failure("overloaded", "answers of other workers cannot be reached now: Redis fails") from None


def _claim_key(answer: Answer) -> str:
    assert answer.asked.idempotency is not None
    return claim_key(answer.asked.owner, answer.asked.idempotency[0])


def _claim(answer: Answer) -> str:
    """What an idempotency key stands for: the answer, and a digest of what was asked."""
    assert answer.asked.idempotency is not None
    return f"{answer.id} {answer.asked.idempotency[1]}"


def _refused(result: object) -> bool:
    """Whether Redis refused an entry because its log has gone further already."""
    return isinstance(result, redis.ResponseError) and "equal or smaller" in str(result)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
