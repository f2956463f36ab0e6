"""Answers in Redis, so that any worker on any machine can resume or stop any answer.

A worker's answers are always in its memory too. Readers see an event when Redis has it, so that whoever takes over
knows at least what they know; many answers' events go in one round trip. Where Redis fails or is full, answers go on
from memory alone, and are written again as a whole when it is back.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gevent
import redis
from gevent.event import Event
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.answers.followable import Followed
from gateway.answers.shared.keys import (
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
    refused,
    worker_key,
)
from gateway.answers.shared.recovery import Restoring, pieces
from gateway.answers.shared.remote import Copies
from gateway.errors import Failure

if TYPE_CHECKING:
    from gateway.answers.answers import Answer, Answers

log = logging.getLogger("sluice.redis")

# A running answer's keys live for log_age_s and this, and are renewed every TEND_S: a dead worker's go by themselves.
UNTENDED_S = 30.0
TEND_S = 5.0
# So many answers' keys go in one round trip, so that thousands of them do not hold up the streams.
AT_ONCE = 100
# A log is written in entries of about so many bytes at most.
ENTRY_BYTES = 256 << 10
# Connections to Redis at most; whoever finds none free waits its turn.
CONNECTIONS = 8
TURN_S = 5.0
# An idempotency key that stands for nothing any more is given to another answer, unless somebody was quicker.
TAKE_OVER = """
if redis.call("get", KEYS[1]) ~= ARGV[1] then return 0 end
redis.call("set", KEYS[1], ARGV[2], "px", ARGV[3])
return 1
"""


class Mirror:
    """This worker's part in the shared log: writes its answers, keeps its lease, and does what other workers ask."""

    def __init__(self, url: str, answers: Answers) -> None:
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
        # Answers with something that Redis lacks, in the order in which it came.
        self._behind: dict[Answer, None] = {}
        self._writing: list[Answer] = []
        self._something = Event()
        # answer id → {worker: when it last said that somebody there follows}
        self._followers: dict[str, dict[str, float]] = {}
        self._copies = Copies(self)
        # How often Redis came back: what was on its way to it before may not be there.
        self._life = 0
        self._restoring = Restoring(self)
        loops = (self._write, self._keep, self._tend, self._copies.listen, self._copies.watch)
        self._greenlets = [gevent.spawn(loop) for loop in loops]

    # -- our own answers

    def put(self, answer: Answer) -> bool:
        """See mirroring.Mirroring."""
        if not self.up:
            return False
        self._behind[answer] = None
        self._something.set()
        return True

    @property
    def settled(self) -> bool:
        """See mirroring.Mirroring."""
        return not self.up or not (self._behind or self._writing or self._restoring.busy)

    def claim(self, answer: Answer) -> tuple[str, str] | None:
        """See mirroring.Mirroring; without Redis the key holds in this worker only."""
        try:
            return self._claimed(answer)
        except FAILS as error:
            self.lost(error)
            return None

    def _claimed(self, answer: Answer) -> tuple[str, str] | None:
        key, ours = _claim_key(answer), self._claim(answer)
        pipe = self.client.pipeline(transaction=False)
        pipe.set(key, ours, nx=True, get=True, px=self._untended_ms)
        # With it, so that a worker that dies now leaves no key behind that stands for nothing.
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
        """What an idempotency key stands for: the answer, a digest of what was asked, and whose it is."""
        assert answer.asked.idempotency is not None
        return f"{answer.id} {answer.asked.idempotency[1]} {self.worker}"

    @property
    def _untended_ms(self) -> int:
        return int((UNTENDED_S + self.answers.server.log_age_s) * 1000)

    def _introduce(self, pipe: Any, answer: Answer) -> None:
        asked = answer.asked
        about = {"worker": self.worker, "owner": asked.owner, "request_id": asked.request_id}
        about |= {"provider": answer.provider, "model": answer.model}
        about |= {"question": answer.question, "database": answer.database}
        if asked.idempotency is not None:
            about["claim"] = _claim_key(answer)
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
                # Each would wait for Redis by itself; once it is back, they are looked through anyway.
                unseen, self._behind = [*self._writing, *self._behind], {}
                for answer in unseen:
                    answer.show_until(answer.log.count)
            self._writing = []
            if not self._behind:
                self._something.clear()

    def share(self, answers: list[Answer]) -> None:
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
            # Redis was lost and is back: what was written may be gone, and everything is looked through.
            return
        anew = set()
        for answer, last, at in written:
            if answer in anew:
                continue
            if results[at] is None:
                anew.add(answer)
                self._write_anew(answer)
            elif not refused(results[at]) or self._superseded(answer):
                answer.mirrored = last
                answer.show_until(last)
            else:
                anew.add(answer)

    def _add(self, pipe: Any, answer: Answer) -> Iterator[tuple[Answer, int, int]]:
        """Add to `pipe` what Redis lacks of the answer: the log before the hash, by which it is found."""
        # Fixed here: more may come while others run.
        complete, count, mirrored = answer.complete, answer.log.count, answer.mirrored
        while (batch := answer.log.after(mirrored, ENTRY_BYTES, count)) is not None:
            last, entry = batch.first + len(batch.ends) - 1, packed(batch)
            yield answer, last, len(pipe)
            # A log that Redis has dropped is not begun in its middle.
            pipe.xadd(log_key(answer.id), {"e": entry}, id=f"{last}-0", nomkstream=mirrored > 0)
            pipe.publish(meta_key(answer.id), entry)
            if mirrored == 0:
                pipe.pexpire(log_key(answer.id), self._untended_ms)
            mirrored = last
            if last < count:
                # A long answer, whose entries took their time.
                gevent.sleep(0)
        if answer.mirrored == 0 or complete:
            self._introduce(pipe, answer)
            if answer.asked.idempotency is not None:
                pipe.set(_claim_key(answer), self._claim(answer), nx=True, px=self._untended_ms)
        if complete:
            self._expire(pipe, answer)

    def _expire(self, pipe: Any, answer: Answer) -> None:
        """The answer is complete: what Redis has of it lives as long as in memory."""
        left_s = self.answers.server.log_age_s - (time.monotonic() - answer.ended_at)
        for key in _keys(answer):
            pipe.pexpire(key, max(1, int(left_s * 1000)))

    def _superseded(self, answer: Answer) -> bool:
        """Redis refused an entry: True if another worker took us for dead, and ended the answer."""
        if self.client.xrange(log_key(answer.id), min=f"{LAST_ENTRY}-0"):
            self.give_up(answer)
            return True
        # An entry from before Redis was lost came late: write the log anew.
        self.client.delete(log_key(answer.id))
        self._write_anew(answer)
        return False

    def give_up(self, answer: Answer) -> None:
        """Another worker has ended the answer, for everybody."""
        answer.fail(Failure("worker_died", "the worker was silent too long, and its answer was ended"))

    def _write_anew(self, answer: Answer) -> None:
        """Redis lacks some of what it had of the answer."""
        answer.mirrored = 0
        self.put(answer)

    def _tend(self) -> None:
        """Renew the keys of running answers, and write anew what Redis has dropped of them; never returns."""
        while True:
            gevent.sleep(TEND_S)
            running = [answer for answer in self.answers.running if answer.mirrored]
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
            # Meanwhile; ours may have come after what said so.
            for answer in ended:
                self._expire(pipe, answer)
            pipe.execute()

    def lost(self, error: Exception) -> None:
        """Redis does not do what it should: go on without it until it does."""
        if not isinstance(error, FAILS):
            log.error("a fault in the way to Redis", exc_info=error)
        self.up = False
        if not self._restoring.failing:
            self._restoring.failing = True
            log.warning("Redis fails (%s): answers stay in their workers' memory until it is back", _told(error))
        for answer in self.answers.running:
            answer.show_until(answer.log.count)

    def _keep(self) -> None:
        """Renew the lease, forget followers that fell silent, and notice that Redis is back; never returns."""
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
        """Renew the lease. Where Redis is back, or has dropped it, see what it has; raises redis.RedisError."""
        before = self.client.set(worker_key(self.worker), "1", px=int(LEASE_S * 1000), get=True)
        if before is None:
            self._restoring.wanted = True
        if self._restoring.wanted or not self.up:
            self._restoring.begin()

    def be_sure(self) -> None:
        """Return if Redis does what it should, or does so again; raises redis.RedisError or OSError if it does not."""
        if not self.up:
            self.renew()
            self._restoring.wait(TIMEOUT_S)
            if not self.up:
                raise redis.ConnectionError("nothing can be written to it")

    def begin_life(self) -> None:
        """What is on its way to Redis now may be lost, and does not count."""
        self._life += 1

    def names(self, answer: Answer) -> list[str]:
        """What Redis has of the answer, by name."""
        return _keys(answer)

    # -- what other workers ask

    def followed_elsewhere(self, answer: Answer) -> bool:
        return answer.id in self._followers

    def asked(self, told: bytes) -> None:
        """Another worker's wish: `<what> <id> <worker>`, where what is one of these.

        stop, follow, left   end it; somebody there follows it, or nobody does any more
        lacks                Redis does not have all that it was said to have of it
        """
        what, answer_id, worker = told.decode().split(" ")
        answer = self.answers.own(answer_id)
        if answer is None:
            if what in ("follow", "lacks"):
                gevent.spawn(self._say_gone, answer_id)
        elif what == "stop":
            answer.cancel()
        elif what == "lacks":
            if answer.mirrored:
                self._write_anew(answer)
        elif what == "follow":
            self._followers.setdefault(answer_id, {})[worker] = time.monotonic()
        elif what == "left":
            self._unfollowed(answer_id, worker)

    def _say_gone(self, answer_id: str) -> None:
        """The answer has ended and was forgotten here: nothing comes of it any more."""
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

    def find(self, answer_id: str, owner: str) -> Followed | None:
        """See mirroring.Mirroring."""
        try:
            return self._copies.find(answer_id, owner)
        except FAILS as error:
            self.lost(error)
            raise Failure("overloaded", "answers of other workers cannot be reached now: Redis fails") from None


def _claim_key(answer: Answer) -> str:
    assert answer.asked.idempotency is not None
    return claim_key(answer.asked.owner, answer.asked.idempotency[0])


def _keys(answer: Answer) -> list[str]:
    """Everything that Redis has of the answer. The hash first: without it nobody finds the rest."""
    keys = [meta_key(answer.id), log_key(answer.id)]
    return keys if answer.asked.idempotency is None else [*keys, _claim_key(answer)]


def _chunks(answers: list[Answer]) -> Iterator[list[Answer]]:
    for start in range(0, len(answers), AT_ONCE):
        yield answers[start : start + AT_ONCE]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
