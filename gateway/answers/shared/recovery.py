"""When Redis is reachable again: test it with a dry run, then write what it lacks of this worker's answers.

An attempt writes a lot, so failed attempts are repeated after growing pauses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

import gevent

from gateway.answers.production import Answer
from gateway.answers.shared.interface import Store
from gateway.answers.shared.keys import LAST_ENTRY, TIMEOUT_S, claim_key, log_key, meta_key, worker_key

log = logging.getLogger("sluice.redis")

# Seconds after a failed attempt before the next; doubled after each failure, up to the second figure.
AGAIN_S, AGAIN_AT_MOST_S = 0.5, 30.0
# At most this many answers or bytes are written in one round trip, because streams wait meanwhile.
PIECE, PIECE_BYTES = 20, 256 << 10
# Answers that are looked up in one round trip.
LOOKED_FOR = 100
# The id of the last entry of each log, "" where it has none. Entries are not transferred.
LAST_IDS = """
local found = {}
for n, key in ipairs(KEYS) do
    local entries = redis.pcall("xrevrange", key, "+", "-", "COUNT", 1)
    found[n] = entries[1] and entries[1][1] or ""
end
return found
"""


class Recovery:
    """
    wanted   Redis may have lost data, so an attempt is needed
    failing  the log said that Redis fails, and not yet that it is back
    """

    def __init__(self, store: Store) -> None:
        self.wanted = True
        self.failing = False
        self._store = store
        self._wait_s = AGAIN_S
        self._not_before = 0.0
        self._attempt: gevent.Greenlet | None = None

    @property
    def busy(self) -> bool:
        return self._attempt is not None

    def begin(self) -> None:
        """Start an attempt, unless one runs or the pause after a failed one is not over."""
        if self._attempt is None and time.monotonic() >= self._not_before:
            self._attempt = gevent.spawn(self._try)

    def wait(self, timeout_s: float) -> None:
        """Return when Redis takes writes again, the attempt has failed, or `timeout_s` has passed."""
        deadline = time.monotonic() + timeout_s
        while self.busy and not self._store.up and time.monotonic() < deadline:
            gevent.sleep(0.01)

    def _try(self) -> None:
        self.wanted = False
        try:
            written = self._restore()
        except Exception as error:  # noqa: BLE001 - whatever Redis raises: it is tried again
            self.wanted = True
            self._not_before = time.monotonic() + self._wait_s
            self._wait_s = min(2 * self._wait_s, AGAIN_AT_MOST_S)
            self._store.lost(error)
        else:
            self._wait_s = AGAIN_S
            if self.failing and self._store.up:
                self.failing = False
                log.warning("Redis is back: %d answers are written to it again", written)
        finally:
            self._attempt = None

    def _restore(self) -> int:
        """Write what Redis lacks of this worker's answers, running ones first; how many were written."""
        store = self._store
        _dry_run(store.client, store.worker)
        waiting = [answer for answer in store.answers.kept() if not answer.ended]
        if waiting:
            # Until they are written, their new events are shown from memory and not queued.
            store.up = False
        store.begin_life()
        written = self._write([answer for answer in store.answers.kept() if not answer.ended])
        store.up = True
        rest = []
        for answer in store.answers.kept():
            if answer.complete:
                rest.append(answer)
            else:
                store.put(answer)
        return written + self._write(rest)

    def _write(self, answers: list[Answer]) -> int:
        written = 0
        for start in range(0, len(answers), LOOKED_FOR):
            lacking = self._lacking(answers[start : start + LOOKED_FOR])
            written += len(lacking)
            for piece in pieces(lacking, PIECE):
                self._store.share(piece)
        return written

    def _lacking(self, answers: list[Answer]) -> list[Answer]:
        """Those that Redis has only in part; each is then continued after the last entry that Redis has."""
        pipe = self._store.client.pipeline(transaction=False)
        pipe.eval(LAST_IDS, len(answers), *(log_key(answer.id) for answer in answers))
        for answer in answers:
            pipe.exists(*self._store.names(answer))
        last_ids, *there = pipe.execute()
        lacking = []
        for answer, last_id, known in zip(answers, last_ids, there, strict=True):
            last = int(last_id.partition(b"-")[0] or 0)
            if last == LAST_ENTRY:
                self._store.give_up(answer)
                answer.show_until(answer.log.count)
                continue
            # A log that is longer than ours is not ours: it is deleted and written again.
            answer.shared_count = last if last <= answer.log.count else 0
            answer.show_until(answer.shared_count)
            if answer.shared_count < answer.log.count or known < len(self._store.names(answer)):
                lacking.append(answer)
        return lacking


def pieces(answers: list[Answer], at_most: int) -> Iterator[list[Answer]]:
    """The answers in pieces that are small enough for one round trip each; see PIECE and PIECE_BYTES."""
    piece: list[Answer] = []
    size = 0
    for answer in answers:
        # Where Redis has a part already, the rest is small.
        more = 0 if answer.shared_count else answer.log.size_bytes
        if piece and (len(piece) == at_most or size + more > PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(answer)
        size += more
    if piece:
        yield piece


def _dry_run(client: Any, worker: str) -> None:
    """Send every command that a worker uses, for an invented answer; raises redis.RedisError if one fails."""
    name = f"dry-run-{worker}"
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
            raise TimeoutError("Redis did not confirm SUBSCRIBE in time")
        news.unsubscribe()
