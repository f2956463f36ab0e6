"""The layout of answers in Redis: names of keys, and the entries of a log.

sluice:answer:<id>        hash    worker, owner, request_id, provider, model, question, database; claim: the name of
                                  its idempotency key's entry; attached: facts of the request, as JSON; ended: its
                                  log has the last event
sluice:answer:<id>:log    stream  one entry per write; its id is the number of its last event, so Redis itself refuses
                                  a repeated entry, and every entry after the one that says "worker died"
sluice:answer:<id>        channel the same entries as they are written; empty: its worker has forgotten the answer
sluice:key:<digest>       string  the answer that an idempotency key stands for: id, digest of what was asked, worker
sluice:latest:<digest>    string  the id of the latest answer of a series, such as a chat's
sluice:worker:<name>      string  a worker's lease of 3 s, renewed every half second
sluice:worker:<name>      channel messages to it: stop an answer, write missing entries again, an answer has readers
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
# Seconds without a lease after which a worker counts as dead. Not zero: a restarted Redis has lost every lease.
GRACE_S = 1.5
# Seconds without a "follow" message after which another worker's readers count as gone.
FOLLOWED_S = 5.0
# Seconds for one round trip: a reader waits at most this long for its event to be shared.
TIMEOUT_S = 1.0
# What a call to Redis may raise.
FAILS = (redis.RedisError, OSError)
# The id of the entry that ends a dead worker's answer: Redis takes no entry after it.
LAST_ENTRY = (1 << 53) - 1


def meta_key(answer_id: str) -> str:
    return f"{PREFIX}answer:{answer_id}"


def answer_of(channel: bytes) -> str:
    """The id of the answer whose entries are published on `channel`."""
    return channel.decode().removeprefix(f"{PREFIX}answer:")


def log_key(answer_id: str) -> str:
    return f"{PREFIX}answer:{answer_id}:log"


def worker_key(worker: str) -> str:
    return f"{PREFIX}worker:{worker}"


def claim_key(owner: str, key: str) -> str:
    digest = hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()
    return f"{PREFIX}key:{digest}"


def alias_key(owner: str, alias: str) -> str:
    digest = hashlib.sha256(f"{owner}\0{alias}".encode()).hexdigest()
    return f"{PREFIX}latest:{digest}"


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
    """Whether Redis refused an entry because its log already has this or a later event."""
    return isinstance(result, redis.ResponseError) and "equal or smaller" in str(result)
