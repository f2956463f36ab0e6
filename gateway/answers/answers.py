"""The answers of one worker: begun, found, kept for a while after their end, and drained when the worker stops."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool

from gateway.answers.followable import Followable
from gateway.answers.headroom import Descriptors, Lateness
from gateway.answers.production import Answer, AnswerRequest
from gateway.answers.retention import Retention
from gateway.answers.shared.interface import SharedAnswers
from gateway.errors import Failure
from gateway.settings import Server

log = logging.getLogger("sluice")

# Reserve 1/SPARE of the connections: followers of existing answers may not use them.
SPARE = 10


class Observer:
    """Hooks for metrics and logging. The default implementation does nothing."""

    def started(self, answer: Answer) -> None:
        """An answer was begun; `answer.pace`, where it is set now, gets the moments of its reads."""

    def ended(self, answer: Answer) -> None:
        """The answer has ended: `answer.cause` is its finish reason or failure code. Called once per answer."""


class Answers:
    """The answers of this worker: those being produced, and those that ended less than log_age_s ago."""

    def __init__(self, server: Server, observer: Observer | None = None, streams_per_key: int | None = None) -> None:
        self.server = server
        self.shared: SharedAnswers | None = None
        self.observer = observer or Observer()
        # The pool of this worker's connections, or None where their number is unlimited.
        self.connections: Pool | None = None
        self.lateness = Lateness()
        self.descriptors = Descriptors()
        self.draining = False
        self.running: set[Answer] = set()
        self._streams_per_key = streams_per_key
        self._all: dict[str, Answer] = {}
        self._keys: dict[tuple[str, str], Answer] = {}
        # (owner, alias) → the latest answer with it
        self._latest: dict[tuple[str, str], Answer] = {}
        # Requests that were admitted and have no answer yet: their owners, and an event per idempotency key that other
        # requests with the same key wait for.
        self._coming: list[str] = []
        self._undecided: dict[tuple[str, str], Event] = {}
        self._drained = False
        self._retention = Retention(server.log_age_s, self._forget)
        self._idle = Event()
        self._idle.set()

    def admit(self, owner: str, streams_per_key: int | None = None) -> None:
        """Raises Failure if no new answer may begin for `owner`, which has a limit of its own or None."""
        if self.draining:
            raise Failure("shutting_down", "server: the gateway is being restarted; ask again in a moment")
        if self.lateness.too_late:
            raise Failure("overloaded", "server: this worker is too busy to begin an answer; ask again in a moment")
        if self.descriptors.short:
            raise Failure("overloaded", "server: too many open connections; ask again in a moment")
        if len(self.running) + len(self._coming) >= self.server.max_streams:
            raise Failure(
                "overloaded", f"server.max_streams: all {self.server.max_streams} streams are in use; ask again later"
            )
        limit = streams_per_key or self._streams_per_key
        if limit and self._streams_of(owner) >= limit:
            message = f"limits.streams_per_key: at most {limit} answers may run at once for one key; all are running"
            raise Failure("rate_limited", message, retry_after=1)

    def admit_reader(self) -> None:
        """Raises Failure if one more follower of an existing answer would use a reserved connection.

        The reserve is for new questions, DELETE and the operator's routes.
        """
        if self.connections is None:
            return
        reserved = self.server.max_streams - len(self.running) + self.connections.size // SPARE
        if self.connections.free_count() < reserved:
            raise Failure("overloaded", "server: too many readers of existing answers; come back in a moment")

    @property
    def crowded(self) -> bool:
        """Whether the reserved connections are nearly used up too."""
        return self.connections is not None and self.connections.free_count() < self.connections.size // SPARE

    def _streams_of(self, owner: str) -> int:
        return self._coming.count(owner) + sum(answer.request.owner == owner for answer in self.running)

    def ask(self, request: AnswerRequest, count: Callable[[], None]) -> Followable:
        """A new answer, or the existing one with the same idempotency key. Raises Failure.

        A new answer's flow starts at the caller's next greenlet switch, so a reader that joins before misses nothing.
        count   called before a new answer begins; may raise Failure
        """
        key = request.key
        while key is not None:
            if before := self._keys.get(key):
                _same_question(request, before.request.idempotency)
                self.admit_reader()
                return before
            if key not in self._undecided:
                break
            self._undecided[key].wait()
        self.admit(request.owner, request.streams_per_key)
        # Reserve a stream and the idempotency key while other greenlets run, so that no other request takes them.
        self._coming.append(request.owner)
        self._idle.clear()
        if key is not None:
            self._undecided[key] = Event()
        try:
            count()
            answer = Answer(request, self)
            claimed = self.shared.claim(answer) if key is not None and self.shared and self.shared.up else None
            if claimed is None:
                self._begin(answer)
                return answer
        finally:
            self._coming.remove(request.owner)
            if key is not None:
                self._undecided.pop(key).set()
            self._note_idle()
        answer_id, digest = claimed
        _same_question(request, (request.idempotency[0], digest) if request.idempotency else None)
        self.admit_reader()
        return self._soon(answer_id, request.owner)

    def _note_idle(self) -> None:
        if not self.running and not self._coming:
            self._idle.set()

    def _begin(self, answer: Answer) -> None:
        self._all[answer.id] = answer
        if answer.request.key is not None:
            self._keys[answer.request.key] = answer
        if answer.request.alias:
            self._latest[answer.request.owner, answer.request.alias] = answer
        self.running.add(answer)
        self._idle.clear()
        self.notify(self.observer.started, answer)
        if self.shared is not None:
            self.shared.put(answer)
        answer.produce()
        if self._drained:
            answer.fail(_ending())
            answer.show_until(answer.log.count)

    def _soon(self, answer_id: str, owner: str) -> Followable:
        """An answer that another worker is beginning right now; waits up to a second for it."""
        for _ in range(20):
            try:
                return self.find(answer_id, owner)
            except Failure as failure:
                if failure.code != "not_found":
                    raise
                gevent.sleep(0.05)
        raise Failure("overloaded", "Idempotency-Key: its answer in another worker cannot be read now; ask again")

    def find(self, answer_id: str, owner: str) -> Followable:
        """The answer if `owner` asked it and it is still kept, here or in the shared log; else raises Failure."""
        answer = self._all.get(answer_id)
        if answer is not None:
            if answer.request.owner == owner:
                return answer
        elif self.shared is not None and (remote := self.shared.find(answer_id, owner)) is not None:
            return remote
        raise Failure("not_found", "answer: unknown id; it is wrong, expired, or another key's")

    def is_latest(self, answer: Answer) -> bool:
        """Whether it has an alias, and no later answer of this worker has the same one."""
        return self._latest.get((answer.request.owner, answer.request.alias)) is answer

    def latest(self, owner: str, alias: str) -> Followable | None:
        """The latest answer of `owner` with this alias, made by any worker; None without one. Raises Failure."""
        own = self._latest.get((owner, alias))
        # One that the shared log does not have yet is later than any that it knows.
        if self.shared is not None and self.shared.up and (own is None or own.shared_count):
            answer_id = self.shared.latest(owner, alias)
            if answer_id is not None and (own is None or answer_id != own.id):
                try:
                    return self.find(answer_id, owner)
                except Failure as failure:
                    if failure.code != "not_found":
                        raise
        return own

    @property
    def settled(self) -> bool:
        """Whether no answer is being produced and every event is in the shared log, if there is one."""
        return not self.running and (self.shared is None or self.shared.settled)

    def own(self, answer_id: str) -> Answer | None:
        """The answer, if it was made in this worker."""
        return self._all.get(answer_id)

    def kept(self) -> list[Answer]:
        """Every answer of this worker, running or ended."""
        return list(self._all.values())

    def share(self, answer: Answer) -> bool:
        """See production.Home."""
        return self.shared is not None and self.shared.put(answer)

    def followed_elsewhere(self, answer: Answer) -> bool:
        """See production.Home."""
        return self.shared is not None and self.shared.followed_elsewhere(answer)

    def ended(self, answer: Answer) -> None:
        """See production.Home."""
        # First, so that no later error leaves an answer without its log line and metrics.
        self.notify(self.observer.ended, answer)
        self.running.discard(answer)
        self._note_idle()
        self._retention.add(answer, answer.log.size_bytes + 4 * len(answer.question))

    def notify(self, hook: Callable[..., None], *arguments: Any) -> None:
        """Call one of the observer's hooks; its errors are logged and never reach the answer."""
        try:
            hook(*arguments)
        except Exception:
            log.exception("an answer could not be logged or counted")

    def _forget(self, answer: Answer) -> None:
        self._all.pop(answer.id, None)
        if answer.request.key is not None and self._keys.get(answer.request.key) is answer:
            del self._keys[answer.request.key]
        if self.is_latest(answer):
            del self._latest[answer.request.owner, answer.request.alias]

    def end_of(self, owners: frozenset[str], failure: Failure) -> int:
        """End the running answers of these owners with `failure`; returns how many."""
        ending = [answer for answer in self.running if answer.request.owner in owners]
        for answer in ending:
            answer.fail(replace(failure))
        return len(ending)

    def drain(self, within_s: float | None = None) -> None:
        """Begin no more answers; return when all have ended. After `within_s` (drain_s) the rest are ended with
        `shutting_down`."""
        self.draining = True
        self._idle.wait(self.server.drain_s if within_s is None else within_s)
        self._drained = True
        for answer in list(self.running):
            answer.fail(_ending())
        # Show every event at once: the shared log may hang, and the worker is about to end.
        for answer in self.kept():
            answer.show_until(answer.log.count)


def _ending() -> Failure:
    return Failure("shutting_down", "server: the gateway is being restarted; the text so far is kept")


def _same_question(request: AnswerRequest, before: tuple[str, str] | None) -> None:
    if request.idempotency != before and request.idempotency is not None:
        key = request.idempotency[0]
        message = f"Idempotency-Key: {key!r} came with another question before; a new question needs a new key"
        raise Failure("bad_request", message, status=422)
