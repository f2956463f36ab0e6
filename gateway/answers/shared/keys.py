"""How answers lie in Redis: the names of keys, and the entries of a log.

sluice:answer:<id>        hash    worker, owner, request_id, provider, model, question, database; claim: the name of
                                  its idempotency key's entry; ended: its log is whole
sluice:answer:<id>:log    stream  one entry for each write; its id is the number of its last event, so that Redis
                                  itself refuses an entry twice, and everything after one that says "worker died"
sluice:answer:<id>        channel the same entries as they are written; empty: its worker has forgotten the answer
sluice:key:<digest>       string  the answer that an idempotency key stands for: id, digest of what was asked, worker
sluice:worker:<name>      string  a worker's lease of 3 s, renewed every half second
sluice:worker:<name>      channel what other workers ask of it: stop an answer, what Redis lacks, who follows
"""

from __future__ import annotations

import hashlib
from array import array

import msgspec
import redis

from gateway.answers.events import Batch

PREFIX = "sluice:"
LEASE_S = 3.0
RENEW_S = 0.5
# A worker is dead when its lease has been missing for so long: a Redis that was started again has lost them all.
GRACE_S = 1.5
# Followers elsewhere that have said nothing for so long are gone.
FOLLOWED_S = 5.0
# One round trip may take this long; a reader waits no longer for its event to be shared.
TIMEOUT_S = 1.0
# What Redis, and the way to it, may raise.
FAILS = (redis.RedisError, OSError)
# The id of the entry that ends a dead worker's answer: nothing can be added after it.
LAST_ENTRY = (1 << 53) - 1


def meta_key(answer_id: str) -> str:
    return f"{PREFIX}answer:{answer_id}"


def answer_of(channel: bytes) -> str:
    """The answer that a channel brings news of."""
    return channel.decode().removeprefix(f"{PREFIX}answer:")


def log_key(answer_id: str) -> str:
    return f"{PREFIX}answer:{answer_id}:log"


def worker_key(worker: str) -> str:
    return f"{PREFIX}worker:{worker}"


def claim_key(owner: str, key: str) -> str:
    told = f"{owner}\0{key}".encode()
    return f"{PREFIX}key:{hashlib.sha256(told).hexdigest()}"


def packed(batch: Batch) -> bytes:
    """An entry of a log: (number of the first event, where each event ends, their bytes), as msgpack."""
    return msgspec.msgpack.encode((batch.first, array("I", batch.ends).tobytes(), batch.sse))


_entry = msgspec.msgpack.Decoder(tuple[int, bytes, bytes])


def unpacked(entry: bytes) -> Batch:
    first, packed_ends, sse = _entry.decode(entry)
    ends = array("I")
    ends.frombytes(packed_ends)
    return Batch(first, sse, ends.tolist())


def refused(result: object) -> bool:
    """Whether Redis refused an entry because its log has gone further already."""
    return isinstance(result, redis.ResponseError) and "equal or smaller" in str(result)
