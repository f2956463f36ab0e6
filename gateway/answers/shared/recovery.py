"""Redis is back, or new: whether it takes what a worker writes, and bringing it to what this worker has.

Each attempt costs something, so one that failed is followed by the next after ever longer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gevent

from gateway.answers.shared.keys import LAST_ENTRY, TIMEOUT_S, claim_key, log_key, meta_key, worker_key

if TYPE_CHECKING:
    from gateway.answers.answers import Answer
    from gateway.answers.shared.store import Mirror

log = logging.getLogger("sluice.redis")

# An attempt that failed is followed by another after this, and after twice as long each time, up to the last.
AGAIN_S, AGAIN_AT_MOST_S = 0.5, 30.0
# What is written in one round trip while streams wait: so many answers, or so many bytes.
PIECE, PIECE_BYTES = 20, 256 << 10
# So many answers are looked for in one round trip.
LOOKED_FOR = 100
# For each log: the id of its last entry, "" without one. What it holds stays in Redis.
LAST_IDS = """
local found = {}
for n, key in ipairs(KEYS) do
    local entries = redis.pcall("xrevrange", key, "+", "-", "COUNT", 1)
    found[n] = entries[1] and entries[1][1] or ""
end
return found
"""


class Restoring:
    """
    wanted   Redis may lack what it had
    failing  it was said that Redis fails, and not yet that it is back
    """

    def __init__(self, mirror: Mirror) -> None:
        self.wanted = True
        self.failing = False
        self._mirror = mirror
        self._wait_s = AGAIN_S
        self._not_before = 0.0
        self._attempt: gevent.Greenlet | None = None

    @property
    def busy(self) -> bool:
        return self._attempt is not None

    def begin(self) -> None:
        """Try, unless that is being done, or was in vain a moment ago."""
        if self._attempt is None and time.monotonic() >= self._not_before:
            self._attempt = gevent.spawn(self._try)

    def wait(self, timeout_s: float) -> None:
        """Return when Redis does what it should, or the attempt has failed, or `timeout_s` later."""
        deadline = time.monotonic() + timeout_s
        while self.busy and not self._mirror.up and time.monotonic() < deadline:
            gevent.sleep(0.01)

    def _try(self) -> None:
        self.wanted = False
        try:
            written = self._restore()
        except Exception as error:  # noqa: BLE001 - whatever Redis raises: it is tried again
            self.wanted = True
            self._not_before = time.monotonic() + self._wait_s
            self._wait_s = min(2 * self._wait_s, AGAIN_AT_MOST_S)
            self._mirror.lost(error)
        else:
            self._wait_s = AGAIN_S
            if self.failing and self._mirror.up:
                self.failing = False
                log.warning("Redis is back: %d answers are written to it again", written)
        finally:
            self._attempt = None

    def _restore(self) -> int:
        """Write what Redis lacks of this worker's answers, those that somebody waits for first; how many those were."""
        mirror = self._mirror
        _rehearse(mirror.client, mirror.worker)
        waiting = [answer for answer in mirror.answers.kept() if not answer.ended]
        if waiting:
            # Nobody else writes these meanwhile; what comes of them is shown from memory.
            mirror.up = False
        mirror.begin_life()
        written = self._write([answer for answer in mirror.answers.kept() if not answer.ended])
        mirror.up = True
        rest = []
        for answer in mirror.answers.kept():
            if answer.complete:
                rest.append(answer)
            else:
                mirror.put(answer)
        return written + self._write(rest)

    def _write(self, answers: list[Answer]) -> int:
        written = 0
        for start in range(0, len(answers), LOOKED_FOR):
            lacking = self._lacking(answers[start : start + LOOKED_FOR])
            written += len(lacking)
            for piece in pieces(lacking, PIECE):
                self._mirror.share(piece)
        return written

    def _lacking(self, answers: list[Answer]) -> list[Answer]:
        """Those of which Redis has not all. Their log is gone on with from where it ends there."""
        pipe = self._mirror.client.pipeline(transaction=False)
        pipe.eval(LAST_IDS, len(answers), *(log_key(answer.id) for answer in answers))
        for answer in answers:
            pipe.exists(*self._mirror.names(answer))
        last_ids, *there = pipe.execute()
        lacking = []
        for answer, last_id, known in zip(answers, last_ids, there, strict=True):
            last = int(last_id.partition(b"-")[0] or 0)
            if last == LAST_ENTRY:
                self._mirror.give_up(answer)
                answer.show_until(answer.log.count)
                continue
            # What is not ours is written anew: Redis refuses what is added to it.
            answer.mirrored = last if last <= answer.log.count else 0
            answer.show_until(answer.mirrored)
            if answer.mirrored < answer.log.count or known < len(self._mirror.names(answer)):
                lacking.append(answer)
        return lacking


def pieces(answers: list[Answer], at_most: int) -> Iterator[list[Answer]]:
    """The answers in pieces that are each written at once without holding up the streams."""
    piece: list[Answer] = []
    size = 0
    for answer in answers:
        # Of one that Redis has in part, little is missing.
        more = 0 if answer.mirrored else answer.log.size_bytes
        if piece and (len(piece) == at_most or size + more > PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(answer)
        size += more
    if piece:
        yield piece


def _rehearse(client: Any, worker: str) -> None:
    """Do once all that a worker does, for an answer that is none; raises redis.RedisError if it is refused."""
    name = f"rehearsal-{worker}"
    keys = meta_key(name), log_key(name), claim_key("", name)
    pipe = client.pipeline(transaction=False)
    pipe.hset(keys[0], mapping={"worker": worker})
    pipe.xadd(keys[1], {"e": b""}, id="1-0")
    pipe.set(keys[2], name, nx=True, get=True, px=1000)
    for key in keys:
        pipe.pexpire(key, 1000)
    pipe.hgetall(keys[0])
    pipe.xrange(keys[1], min="1-0")
    pipe.exists(*keys)
    pipe.eval(LAST_IDS, 1, keys[1])
    pipe.publish(meta_key(name), b"")
    pipe.publish(worker_key(name), b"")
    pipe.delete(*keys)
    pipe.execute()
    with client.pubsub() as news:
        news.subscribe(meta_key(name), worker_key(name))
        if news.get_message(timeout=TIMEOUT_S) is None:
            raise TimeoutError("Redis does not answer to SUBSCRIBE")
        news.unsubscribe()
