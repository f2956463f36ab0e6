"""One answer: a greenlet iterates its flow and appends the events to its log; readers follow the log.

Readers may leave, return and be many. When the last one has left, the upstream is closed after the resume window.
Every answer ends in exactly one event, `done` or `failed`, whatever happens to its producer.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import gevent

from gateway import errors
from gateway.answers.events import Batch, Encoder
from gateway.answers.followable import Followable, Follower, Stage
from gateway.answers.log import Full
from gateway.answers.record import Record
from gateway.answers.steps import Correcting, Done, Start, Step, Text
from gateway.errors import Failure
from gateway.settings import Server
from providers.delta import Usage


@dataclass(slots=True)
class AnswerRequest:
    """What an answer is made of, and for whom.

    flow          the steps; nothing is asked before it is iterated
    owner         the digest of the caller's key; "" without one
    provider      the expected provider and its model: shown where a failure comes before the real one is certain
    received_at   when the question came, seconds, monotonic
    idempotency   the caller's Idempotency-Key and a digest of the question
    alias         the caller's name for the latest answer of a series, such as a chat's; "" without one
    attached      facts that other workers need too, such as the conversation that a follow-up continues
    window_s      seconds that it goes on without readers: 0 where the client cannot come back, infinite where it is to
                  run by itself; None: server.resume_window_s
    streams_per_key   how many answers this owner may have at once; None: as many as any
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
    alias: str = ""
    attached: dict[str, str] = field(default_factory=dict)
    window_s: float | None = None
    streams_per_key: int | None = None

    @property
    def key(self) -> tuple[str, str] | None:
        """Owner and Idempotency-Key: equal keys of different owners are different keys."""
        return None if self.idempotency is None else (self.owner, self.idempotency[0])


class Pace(Protocol):
    """Measures the gaps between the reads of one answer."""

    def read(self, now: float, /) -> None:
        """A batch with something for the caller came at `now` (seconds, monotonic)."""


class Home(Protocol):
    """What an answer needs from its worker; answers.Answers implements it."""

    server: Server

    @property
    def shared(self) -> object:
        """The log that other workers share; None without one."""

    def share(self, answer: Answer) -> bool:
        """Queue its new events for the shared log; False where they cannot be shared and are shown at once."""

    def followed_elsewhere(self, answer: Answer) -> bool:
        """Whether a reader in another worker follows it."""

    def ended(self, answer: Answer) -> None:
        """Its last event is in the log; called once."""


# Of an Enum's class each look at a member costs a call in Python 3.11, and this one is looked at for each chunk.
_RUNNING = Stage.RUNNING


class Answer(Followable):
    """One answer, from its question to some time after its end. Its stages are drawn in followable.Stage."""

    def __init__(self, request: AnswerRequest, home: Home) -> None:
        super().__init__(secrets.token_urlsafe(16), home.server.log_bytes)
        self.request = request
        self.question, self.database = request.record.question, request.record.database
        self.attached = request.attached
        self.provider = request.provider
        self.model = request.model
        self.created = time.time()
        self.ended_at = 0.0
        self.cause = ""
        self.usage: Usage | None = None
        self.timing: dict[str, float] = {}
        self.first_delta_at: float | None = None
        # The observer's, which sets it when the answer begins.
        self.pace: Pace | None = None
        # How many events the shared log has; 0 without one.
        self.shared_count = 0
        self._last_delta_at = self._begun_at = request.received_at
        self._spent_s = 0.0
        self._home = home
        self._encoder = Encoder(self.id, self.created)
        self._producer: gevent.Greenlet | None = None
        self._abandoning: gevent.Greenlet | None = None

    def join(self, reader: Follower) -> None:
        super().join(reader)
        self._stay()

    def leave(self, reader: Follower) -> None:
        """`reader` has left; when it was the last, the answer is stopped after the resume window."""
        if reader in self.readers:
            super().leave(reader)
            self.maybe_abandon()

    def maybe_abandon(self) -> None:
        """Start the resume window if the answer has no reader in any worker; at its end the answer is stopped."""
        if self._followed or self.complete:
            return
        self._stay()
        window_s = self.request.window_s
        if window_s is None:
            window_s = self._home.server.resume_window_s
        if window_s == 0:
            self.cancel()
        elif window_s < math.inf:
            self._abandoning = gevent.spawn_later(window_s, self._abandon)

    def _stay(self) -> None:
        """Stop the resume window's timer."""
        if self._abandoning is not None:
            self._abandoning.kill(block=False)
            self._abandoning = None

    def _abandon(self) -> None:
        self._abandoning = None
        if not self._followed:
            self.cancel()

    @property
    def _followed(self) -> bool:
        return bool(self.readers) or self._home.followed_elsewhere(self)

    def produce(self) -> None:
        """Start the greenlet that iterates the flow."""
        self._producer = gevent.spawn(self._produce)

    def _produce(self) -> None:
        flow = self.request.flow
        self._begun_at = time.monotonic()
        try:
            # A generator is sent what takes its further batches: a plain chat then delivers them from the event loop.
            send: Callable[[Answer], list[Step]] | None = getattr(flow, "send", None)
            steps = next(flow, None)
            while steps is not None:
                self.take(steps)
                if self.complete:
                    return
                try:
                    steps = next(flow) if send is None else send(self)
                except StopIteration:
                    break
            self.fail(Failure("internal", "answer: its flow stopped without an end"))
        except gevent.GreenletExit:
            self.fail(Failure("internal", "answer: its producer was stopped by the gateway"))
        except BaseException as error:  # noqa: BLE001 - an answer ends in a failed event, whatever was raised
            self.fail(errors.of(error))
        finally:
            if close := getattr(flow, "close", None):
                close()
            # An ended answer is kept for log_age_s; its flow holds memory that nothing needs any more.
            self.request.flow, self._producer = iter(()), None

    def take(self, steps: list[Step]) -> None:
        """Append one batch of the flow; does nothing once the answer is complete."""
        if self.stage is not Stage.RUNNING or not steps:
            return
        now = time.monotonic()
        if not self._encoder.started:
            steps = self._with_start(steps)
        spoke = self.first_delta_at is not None
        if not spoke and any(type(step) not in (Start, Done, Correcting) for step in steps):
            spoke = True
            self.first_delta_at = self._last_delta_at = now
        done = steps[-1]
        if type(done) is Done:
            self.usage, self.cause = done.usage, done.finish_reason
            self.timing = self._timed(done.timing)
        elif spoke:
            self._last_delta_at = now
        if batch := self._encoder.batch(steps, self.timing):
            if spoke and self.pace is not None:
                self.pace.read(now)
            self._append(batch)
        self._spent_s += time.monotonic() - now

    def take_text(self, text: str) -> None:
        """As `take([Text(text)])`, for half of its instructions: most batches of a paced reply are one text."""
        if self.first_delta_at is None or self.stage is not _RUNNING:
            self.take([Text(text)])
            return
        self._last_delta_at = now = time.monotonic()
        batch = self._encoder.text(text)
        if self.pace is not None:
            self.pace.read(now)
        try:
            self.log.append(batch)
        except Full:
            self._full()
        else:
            if self._home.shared is None or not self._home.share(self):
                self.show(batch, final=False)
        self._spent_s += time.monotonic() - now

    def _with_start(self, steps: list[Step]) -> list[Step]:
        if type(steps[0]) is not Start:
            return [Start(self.provider, self.model), *steps]
        self.provider, self.model = steps[0].provider, steps[0].model
        return steps

    def cancel(self) -> None:
        """Stop it: close its upstream, keep the text so far. Does nothing when it is complete."""
        if not self.complete:
            self.take([Done("cancelled")])
            self._close_upstream()

    def fail(self, failure: Failure) -> None:
        """End it with `failure` and close its upstream. Does nothing when it is complete."""
        if self.complete:
            return
        # A traceback would keep every frame's variables alive as long as the answer.
        failure.__traceback__ = None
        self.failure, self.cause = failure, failure.code
        self._append(self._encoder.failed(failure, self.request.request_id, self.provider, self.model))
        self._close_upstream()

    def _close_upstream(self) -> None:
        if self._producer is not None and self._producer is not gevent.getcurrent():
            self._producer.kill(block=False)

    def _append(self, batch: Batch) -> None:
        final = self._encoder.ended
        try:
            if final and self.failure is None and len(batch.ends) > 1:
                # The last event always fits; the events beside it count against the log's limit.
                self.log.append(batch.without_last())
                self.log.append(batch.last(), final=True)
            else:
                self.log.append(batch, final=final)
        except Full:
            self._full()
            return
        if final:
            self.stage = Stage.COMPLETE
        if not self._home.share(self):
            self.show(batch, final=final)
        if final:
            self.ended_at = time.monotonic()
            self._home.ended(self)

    def _full(self) -> None:
        """The log has no room for the last batch: the answer ends before it."""
        self._encoder.back_to(self.log.count)
        self.fail(Failure("upstream_too_large", f"answer: longer than server.log_bytes ({self.log.limit_bytes} bytes)"))

    def show_until(self, n: int) -> None:
        """Show readers the first n events."""
        if batch := self.log.after(self.shown, until=n):
            self.show(batch, final=self.complete and n == self.log.count)

    def _timed(self, measured: dict[str, float]) -> dict[str, float]:
        """The answer's timing in ms; what the flow `measured` wins. `first_token` is absent where none came."""
        first = self.first_delta_at
        seconds = {"queue": self._begun_at - self.request.received_at, "prompt": 0.0}
        if first is not None:
            seconds["first_token"] = first - self.request.received_at
        seconds |= {
            "generate": self._last_delta_at - first if first is not None else 0.0,
            "sql": 0.0,
            "gateway": self._spent_s,
        }
        return {name: round(s * 1000, 2) for name, s in seconds.items()} | measured

    def timing_so_far(self) -> dict[str, float]:
        """The whole timing after the end; before it `queue` and `first_token`, once the first delta came."""
        if self.timing or self.first_delta_at is None:
            return self.timing
        timed = self._timed({})
        return {name: timed[name] for name in ("queue", "first_token")}
