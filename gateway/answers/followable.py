"""What readers follow: the part of an answer's log that may be shown, and its end. Any worker may produce it."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from gateway.answers.events import Batch
from gateway.answers.log import Log
from gateway.answers.steps import EventName
from gateway.errors import Failure


class Stage(IntEnum):
    """How far an answer is. The order is the only one possible, and no stage is left backwards.

    RUNNING ──last event in the log──▶ COMPLETE ──last event shown──▶ ENDED

    Without a shared log COMPLETE and ENDED come at once. With one, COMPLETE lasts until the store has the last event.
    Readers wait for ENDED; the producer appends nothing after RUNNING.
    """

    RUNNING = 0
    COMPLETE = 1
    ENDED = 2


class Follower(Protocol):
    """What follows an answer; see reader.Reader."""

    def push(self, batch: Batch) -> None:
        """Take a batch that may be shown; must not block."""

    def cut(self) -> None:
        """Cut the client's connection without an end of the answer, which is unknown here; must not block."""


def _silent(sse: bytes) -> int:
    """How many of the events are `start` or `failed`; the data of an event has no line end in it."""
    return sse.count(_START) + sse.count(_FAILED)


_START, _FAILED = (b"\nevent: %b\n" % name.encode() for name in (EventName.START, EventName.FAILED))


class Followable:
    """
    shown   how many events readers may see: all, or with a shared log those that it has
    spoke   whether a delta or `done` was shown: the HTTP head need not be held back any more
    question, database   the question and the database's name; "" for a plain chat
    attached             see AnswerRequest
    """

    def __init__(self, answer_id: str, log_bytes: int) -> None:
        self.id = answer_id
        self.log = Log(log_bytes)
        self.readers: set[Follower] = set()
        self.shown = 0
        self.spoke = False
        self.stage = Stage.RUNNING
        self.question = self.database = ""
        self.attached: dict[str, str] = {}
        self.failure: Failure | None = None

    @property
    def complete(self) -> bool:
        """Whether the last event is in the log, shown or not."""
        return self.stage >= Stage.COMPLETE

    @property
    def ended(self) -> bool:
        """Whether the last event was shown."""
        return self.stage is Stage.ENDED

    @property
    def state(self) -> str:
        if not self.ended:
            return "running"
        return "failed" if self.failure else "done"

    def after(self, n: int, limit_bytes: int | None = None) -> Batch | None:
        """The events after the n-th that may be shown: at least one, of about `limit_bytes` at most; None if none."""
        return self.log.after(n, limit_bytes, self.shown)

    def reach(self, n: int) -> None:
        """Return when a reader that has n events can continue here; raises Failure where it cannot."""
        if n > self.shown:
            raise Failure(
                "bad_request", f"Last-Event-ID: must be at most {self.shown}, the answer's last event; got {n}"
            )

    def show(self, batch: Batch, *, final: bool) -> None:
        """Push the next batch to the readers; `final` if it has the last event."""
        self.shown = batch.first + len(batch.ends) - 1
        if not self.spoke:
            self.spoke = batch.text is not None or len(batch.ends) > _silent(batch.sse)
        if final:
            self.stage = Stage.ENDED
        for reader in self.readers:
            reader.push(batch)

    def join(self, reader: Follower) -> None:
        """Push every batch to `reader` from now on."""
        self.readers.add(reader)

    def leave(self, reader: Follower) -> None:
        """Push nothing more to `reader`; may be called again."""
        self.readers.discard(reader)

    def cancel(self) -> None:
        """Stop it for all its readers and keep the text so far. Does nothing when it has ended."""
        raise NotImplementedError

    def timing_so_far(self) -> dict[str, float]:
        """The timing in ms that is known by now, for the Server-Timing header."""
        return {}
