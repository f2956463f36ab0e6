"""Answers as resources: each is produced once, into its log, whoever reads it.

One greenlet iterates an answer's flow and appends what comes; readers follow the log and may leave, return and be
many. When the last one has left, the upstream is closed after the resume window. Every answer ends in exactly one
event, `done` or `failed`, whatever happens to its producer.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool

from gateway import errors
from gateway.answers.events import Batch, Encoder
from gateway.answers.followable import Followed, Reading
from gateway.answers.log import Full
from gateway.answers.record import Record
from gateway.answers.retention import Kept
from gateway.answers.shared.interface import Mirroring
from gateway.answers.steps import Correcting, Done, Start, Step
from gateway.errors import Failure
from gateway.settings import Server
from providers.delta import Usage

log = logging.getLogger("sluice")

# One of so many connections is never taken by those who follow an answer that is there.
SPARE = 10


class Observer:
    """What accounts for answers (log lines, metrics) gets to see; this one looks away."""

    def started(self, answer: Answer) -> None:
        """An answer was begun."""

    def read(self, answer: Answer, now: float) -> None:
        """A batch with something for the caller came, at `now` (seconds, monotonic)."""

    def ended(self, answer: Answer) -> None:
        """An answer that was begun has ended: `answer.cause` is its finish reason or failure code. Called once."""


@dataclass(slots=True)
class Asked:
    """What an answer is to be made of, and for whom.

    owner         the digest of the key that asked; "" without one
    provider      who is expected to answer, with which model: for a failure that comes before that is certain
    received_at   when the question came, seconds, monotonic
    idempotency   the caller's key and a digest of what it asked with it
    """

    flow: Iterator[list[Step]]
    owner: str = ""
    provider: str = ""
    model: str = ""
    request_id: str = ""
    route: str = ""
    received_at: float = field(default_factory=time.monotonic)
    idempotency: tuple[str, str] | None = None
    record: Record = field(default_factory=Record)

    @property
    def key(self) -> tuple[str, str] | None:
        """Its idempotency key, which is its owner's alone."""
        return None if self.idempotency is None else (self.owner, self.idempotency[0])


class Answer(Followed):
    """One answer, from its question to some time after its end."""

    def __init__(self, asked: Asked, home: Answers) -> None:
        super().__init__(secrets.token_urlsafe(16), home.server.log_bytes)
        self.asked = asked
        self.question, self.database = asked.record.question, asked.record.database
        self.provider = asked.provider
        self.model = asked.model
        self.created = time.time()
        self.ended_at = 0.0
        self.cause = ""
        self.usage: Usage | None = None
        self.timing: dict[str, float] = {}
        self.first_delta_at: float | None = None
        # The observer's own: how the reads follow each other.
        self.pace: Any = None
        # How many events the shared log has, where there is one.
        self.mirrored = 0
        self._last_delta_at = self._begun_at = asked.received_at
        self._spent_s = 0.0
        self._home = home
        self._encoder = Encoder(self.id, self.created)
        self._producer: gevent.Greenlet | None = None
        self._abandoning: gevent.Greenlet | None = None

    @property
    def complete(self) -> bool:
        """Its last event is in the log, whether it has been shown or not."""
        return self._encoder.ended

    def join(self, reader: Reading) -> None:
        super().join(reader)
        self._stay()

    def leave(self, reader: Reading) -> None:
        """`reader` has left; when it was the last, the answer is stopped after the resume window."""
        if reader in self.readers:
            super().leave(reader)
            self.maybe_abandon()

    def maybe_abandon(self) -> None:
        """Stop it after the resume window, unless somebody follows it, here or elsewhere."""
        if self._followed or self.complete:
            return
        self._stay()
        if self._home.server.resume_window_s > 0:
            self._abandoning = gevent.spawn_later(self._home.server.resume_window_s, self._abandon)
        else:
            self.cancel()

    def _stay(self) -> None:
        """Stop the window's clock, if it runs."""
        if self._abandoning is not None:
            self._abandoning.kill(block=False)
            self._abandoning = None

    def _abandon(self) -> None:
        self._abandoning = None
        if not self._followed:
            self.cancel()

    @property
    def _followed(self) -> bool:
        mirror = self._home.mirror
        return bool(self.readers) or (mirror is not None and mirror.followed_elsewhere(self))

    def produce(self) -> None:
        """Start the greenlet that iterates the flow."""
        self._producer = gevent.spawn(self._produce)

    def _produce(self) -> None:
        flow = self.asked.flow
        self._begun_at = time.monotonic()
        try:
            for found in flow:
                self.take(found)
                if self.complete:
                    return
            self.fail(Failure("internal", "the answer stopped without an end"))
        except gevent.GreenletExit:
            self.fail(Failure("internal", "the answer was stopped from inside"))
        except BaseException as error:  # noqa: BLE001 - an answer ends in a failed event, whatever was raised
            self.fail(errors.of(error))
        finally:
            if close := getattr(flow, "close", None):
                close()
            # An ended answer is kept for a while; what made it is not.
            self.asked.flow, self._producer = iter(()), None

    def take(self, found: list[Step]) -> None:
        """Append what one batch of the flow brought; nothing once the answer is complete."""
        if self.complete or not found:
            return
        now = time.monotonic()
        if not self._encoder.started:
            found = self._started(found)
        said = self.first_delta_at is not None or any(type(step) not in (Start, Done, Correcting) for step in found)
        if said and self.first_delta_at is None:
            self.first_delta_at = self._last_delta_at = now
        done = found[-1]
        if type(done) is Done:
            self.usage, self.cause = done.usage, done.finish_reason
            self.timing = self._timed(done.timing)
        elif said:
            self._last_delta_at = now
        if batch := self._encoder.batch(found, self.timing):
            if said:
                self._home.tell(self._home.observer.read, self, now)
            self._append(batch)
        self._spent_s += time.monotonic() - now

    def _started(self, found: list[Step]) -> list[Step]:
        if type(found[0]) is not Start:
            return [Start(self.provider, self.model), *found]
        self.provider, self.model = found[0].provider, found[0].model
        return found

    def cancel(self) -> None:
        """Stop it: its text so far is kept, its upstream closed. Nothing happens when it is complete."""
        if not self.complete:
            self.take([Done("cancelled")])
            self._close_upstream()

    def fail(self, failure: Failure) -> None:
        """End it with `failure`, and close its upstream. Nothing happens when it is complete."""
        if self.complete:
            return
        failure.__traceback__ = None
        self.failure, self.cause = failure, failure.code
        self._append(self._encoder.failed(failure, self.asked.request_id, self.provider, self.model))
        self._close_upstream()

    def _close_upstream(self) -> None:
        if self._producer is not None and self._producer is not gevent.getcurrent():
            self._producer.kill(block=False)

    def _append(self, batch: Batch) -> None:
        final = self.complete
        try:
            if final and self.failure is None and len(batch.ends) > 1:
                # The end itself always fits; what comes with it is measured like anything else.
                self.log.append(batch.without_last())
                self.log.append(batch.last(), final=True)
            else:
                self.log.append(batch, final=final)
        except Full:
            self._encoder.back_to(self.log.count)
            self.fail(Failure("upstream_too_large", "the answer is longer than this gateway keeps of one answer"))
            return
        if self._home.mirror is None or not self._home.mirror.put(self):
            self.show(batch, final=final)
        if final:
            self.ended_at = time.monotonic()
            self._home.ended(self)

    def show_until(self, n: int) -> None:
        """Let readers see the first n events."""
        if batch := self.log.after(self.shown, until=n):
            self.show(batch, final=self.complete and n == self.log.count)

    def _timed(self, told: dict[str, float]) -> dict[str, float]:
        """The answer's timing in ms: what the flow told, and what shows from here; no first token where none came."""
        first = self.first_delta_at
        seconds = {"queue": self._begun_at - self.asked.received_at, "prompt": 0.0}
        if first is not None:
            seconds["first_token"] = first - self.asked.received_at
        seconds |= {
            "generate": self._last_delta_at - first if first is not None else 0.0,
            "sql": 0.0,
            "gateway": self._spent_s,
        }
        return {name: round(s * 1000, 2) for name, s in seconds.items()} | told

    def timing_so_far(self) -> dict[str, float]:
        """The timing at its end, or what of it is known by now."""
        if self.timing or self.first_delta_at is None:
            return self.timing
        timed = self._timed({})
        return {name: timed[name] for name in ("queue", "first_token")}


class Answers:
    """The answers of this worker: those being produced, and those that ended a while ago."""

    def __init__(self, server: Server, observer: Observer | None = None, streams_per_key: int | None = None) -> None:
        self.server = server
        self.mirror: Mirroring | None = None
        self.observer = observer or Observer()
        # This worker's connections, where their number is bounded.
        self.connections: Pool | None = None
        self.draining = False
        self.running: set[Answer] = set()
        self._streams_per_key = streams_per_key
        self._all: dict[str, Answer] = {}
        self._keys: dict[tuple[str, str], Answer] = {}
        # Questions that were let in and have no answer yet: who asks, and the keys whose answer is being decided.
        self._coming: list[str] = []
        self._undecided: dict[tuple[str, str], Event] = {}
        self._drained = False
        self._kept = Kept(server.log_age_s, self._forget)
        self._idle = Event()
        self._idle.set()

    def admit(self, owner: str) -> None:
        """Raises Failure if no answer may be begun for `owner` now."""
        if self.draining:
            raise Failure("shutting_down", "the gateway is being restarted; ask again in a moment")
        if len(self.running) + len(self._coming) >= self.server.max_streams:
            raise Failure("overloaded", f"all {self.server.max_streams} streams of this worker are in use")
        if self._streams_per_key and self._streams_of(owner) >= self._streams_per_key:
            raise Failure(
                "rate_limited", f"this key has {self._streams_per_key} answers running already", retry_after=1
            )

    def admit_reader(self) -> None:
        """Raises Failure if one more reader of an answer that is there would leave others no connection: those who ask,
        who stop an answer, and who look after the gateway.
        """
        if self.connections is None:
            return
        kept_free = self.server.max_streams - len(self.running) + self.connections.size // SPARE
        if self.connections.free_count() < kept_free:
            raise Failure("overloaded", "this worker has no room for more readers of answers that are there")

    @property
    def crowded(self) -> bool:
        """Whether even of the connections that readers leave to others few are free."""
        return self.connections is not None and self.connections.free_count() < self.connections.size // SPARE

    def _streams_of(self, owner: str) -> int:
        return self._coming.count(owner) + sum(answer.asked.owner == owner for answer in self.running)

    def ask(self, asked: Asked, count: Callable[[], None]) -> Followed:
        """A new answer, or the one that was asked for with the same idempotency key before. Raises Failure.

        A new one's flow is first asked after the caller's next switch: join before.
        count   called before an answer is begun; may raise Failure
        """
        key = asked.key
        while key is not None:
            if before := self._keys.get(key):
                _same_question(asked, before.asked.idempotency)
                self.admit_reader()
                return before
            if key not in self._undecided:
                break
            self._undecided[key].wait()
        self.admit(asked.owner)
        with self._coming_in(asked.owner, key):
            count()
            answer = Answer(asked, self)
            claimed = self.mirror.claim(answer) if key is not None and self.mirror and self.mirror.up else None
            if claimed is None:
                self._begin(answer)
                return answer
        answer_id, digest = claimed
        _same_question(asked, (asked.idempotency[0], digest) if asked.idempotency else None)
        self.admit_reader()
        return self._soon(answer_id, asked.owner)

    @contextlib.contextmanager
    def _coming_in(self, owner: str, key: tuple[str, str] | None) -> Iterator[None]:
        """Its place among the streams, and its key, are taken while others run, so that no other takes them too."""
        decided = Event()
        self._coming.append(owner)
        self._idle.clear()
        if key is not None:
            self._undecided[key] = decided
        try:
            yield
        finally:
            self._coming.remove(owner)
            self._undecided.pop(key, None)  # type: ignore[arg-type]
            decided.set()
            self._note_idle()

    def _note_idle(self) -> None:
        if not self.running and not self._coming:
            self._idle.set()

    def _begin(self, answer: Answer) -> None:
        self._all[answer.id] = answer
        if answer.asked.key is not None:
            self._keys[answer.asked.key] = answer
        self.running.add(answer)
        self._idle.clear()
        self.tell(self.observer.started, answer)
        if self.mirror is not None:
            self.mirror.put(answer)
        answer.produce()
        if self._drained:
            answer.fail(_ending())
            answer.show_until(answer.log.count)

    def _soon(self, answer_id: str, owner: str) -> Followed:
        """An answer that another worker is just beginning."""
        for _ in range(20):
            try:
                return self.find(answer_id, owner)
            except Failure as failure:
                if failure.code != "not_found":
                    raise
                gevent.sleep(0.05)
        raise Failure("overloaded", "the answer to this idempotency key cannot be reached now")

    def find(self, answer_id: str, owner: str) -> Followed:
        """The answer, if it is `owner`'s and still kept, here or in the shared log; raises Failure (not_found)."""
        answer = self._all.get(answer_id)
        if answer is not None:
            if answer.asked.owner == owner:
                return answer
        elif self.mirror is not None and (copy := self.mirror.find(answer_id, owner)) is not None:
            return copy
        raise Failure("not_found", "there is no such answer; it may have expired")

    @property
    def settled(self) -> bool:
        """Whether nothing is being produced, and all that was is in the shared log if there is one."""
        return not self.running and (self.mirror is None or self.mirror.settled)

    def own(self, answer_id: str) -> Answer | None:
        """The answer, if it was made in this worker."""
        return self._all.get(answer_id)

    def kept(self) -> list[Answer]:
        """Every answer of this worker, running or ended."""
        return list(self._all.values())

    def ended(self, answer: Answer) -> None:
        """Called by an answer, once, at its end."""
        # First of all, so that nothing that goes wrong after it leaves an answer without its account.
        self.tell(self.observer.ended, answer)
        self.running.discard(answer)
        self._note_idle()
        self._kept.add(answer, answer.log.size_bytes + 4 * len(answer.question))

    def tell(self, call: Callable[..., None], *told: Any) -> None:
        """Tell the observer; accounts that fail harm no answer."""
        try:
            call(*told)
        except Exception:
            log.exception("an answer could not be accounted for")

    def _forget(self, answer: Answer) -> None:
        self._all.pop(answer.id, None)
        if answer.asked.key is not None and self._keys.get(answer.asked.key) is answer:
            del self._keys[answer.asked.key]

    def drain(self, within_s: float | None = None) -> None:
        """Begin nothing more; return when every answer has ended, after `within_s` (drain_s) with `shutting_down`."""
        self.draining = True
        self._idle.wait(self.server.drain_s if within_s is None else within_s)
        self._drained = True
        for answer in list(self.running):
            answer.fail(_ending())
        # Its readers wait for nobody now: the shared log may hang, and the worker is about to end.
        for answer in self.kept():
            answer.show_until(answer.log.count)


def _ending() -> Failure:
    return Failure("shutting_down", "the gateway is being restarted; what came so far can be resumed")


def _same_question(asked: Asked, before: tuple[str, str] | None) -> None:
    if asked.idempotency != before and asked.idempotency is not None:
        key = asked.idempotency[0]
        raise Failure("bad_request", f"Idempotency-Key: {key!r} came with another question before", status=422)
