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
        self._greenlets = [gevent.spawn(self._write), gevent.spawn(self._keep), gevent.spawn(self._copies.listen)]

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
        assert answer.asked.idempotency is not None
        value = f"{answer.id} {answer.asked.idempotency[1]}"
        lives_ms = int((RUNNING_S + self.answers.server.log_age_s) * 1000)
        try:
            before = self.client.set(_claim_key(answer), value, nx=True, get=True, px=lives_ms)
        except FAILS as error:
            self.lost(error)
            return None
        if before is None:
            return None
        answer_id, _, digest = before.decode().partition(" ")
        return answer_id, digest

    def _write(self) -> None:
        while True:
            self._something.wait()
            self._something.clear()
            behind, self._behind = list(self._behind), {}
            try:
                self._share(behind)
            except FAILS as error:
                self.lost(error)
                for answer in behind:
                    answer.show_until(answer.log.count)

    def _share(self, answers: list[Answer]) -> None:
        """Write what Redis lacks of these answers in one round trip, then show it to their readers."""
        age_ms = int(self.answers.server.log_age_s * 1000)
        pipe = self.client.pipeline(transaction=False)
        written: list[tuple[Answer, int]] = []
        for answer in answers:
            batch = answer.log.after(answer.mirrored)
            if answer.mirrored == 0:
                pipe.hset(meta_key(answer.id), mapping={"worker": self.worker, "owner": answer.asked.owner})
                pipe.pexpire(meta_key(answer.id), RUNNING_S * 1000)
            if batch is not None:
                last, entry = batch.first + len(batch.ends) - 1, packed(batch)
                pipe.xadd(log_key(answer.id), {"e": entry}, id=f"{last}-0")
                pipe.publish(meta_key(answer.id), entry)
                written.append((answer, last))
                if answer.mirrored == 0:
                    pipe.pexpire(log_key(answer.id), RUNNING_S * 1000)
                if answer.complete:
                    pipe.pexpire(log_key(answer.id), age_ms)
                    pipe.pexpire(meta_key(answer.id), age_ms)
                    if answer.asked.idempotency is not None:
                        pipe.pexpire(_claim_key(answer), age_ms)
        failed = [result for result in pipe.execute(raise_on_error=False) if isinstance(result, Exception)]
        if others := [error for error in failed if not _refused(error)]:
            raise others[0]
        if failed:
            self._superseded([answer for answer, _ in written])
        for answer, last in written:
            answer.mirrored = last
            answer.show_until(last)

    def _superseded(self, answers: list[Answer]) -> None:
        """Redis refused an entry: another worker took us for dead, and ended one of these answers."""
        for answer in answers:
            ids = self.client.xrevrange(log_key(answer.id), count=1)
            if ids and ids[0][0] == f"{LAST_ENTRY}-0".encode():
                answer.fail(Failure("worker_died", "the worker was silent too long, and its answer was ended"))

    def lost(self, error: Exception) -> None:
        """Redis does not do what it should: go on without it until it does."""
        if self.up:
            self.up = False
            log.warning("Redis fails (%s): answers stay in their workers' memory until it is back", _told(error))
        for answer in self.answers.running:
            answer.show_until(answer.log.count)

    def _keep(self) -> None:
        """Renew the lease every second, forget followers that fell silent, and notice that Redis is back."""
        while True:
            try:
                self.client.set(worker_key(self.worker), "1", px=int(LEASE_S * 1000))
                if not self.up:
                    self._back()
            except FAILS as error:
                self.lost(error)
            now = time.monotonic()
            for answer_id, workers in list(self._followers.items()):
                for worker in [worker for worker, heard in workers.items() if now - heard > LEASE_S]:
                    self._unfollowed(answer_id, worker)
            self._copies.check()
            gevent.sleep(RENEW_S)

    def _back(self) -> None:
        """Redis is back: write this worker's answers anew, for it may have lost them."""
        kept = self.answers.kept()
        pipe = self.client.pipeline(transaction=False)
        for answer in kept:
            pipe.delete(log_key(answer.id))
        pipe.execute()
        self.up = True
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


def _refused(error: Exception) -> bool:
    """Whether Redis refused an entry because its log has gone further already."""
    return isinstance(error, redis.ResponseError) and "equal or smaller" in str(error)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
