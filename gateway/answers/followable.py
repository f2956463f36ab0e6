"""What readers follow: an answer's log as far as it may be shown, and its end; made here, or a copy of another's."""

from __future__ import annotations

from typing import Protocol

from gateway.answers.events import Batch
from gateway.answers.log import Log
from gateway.errors import Failure


class Reading(Protocol):
    """Somebody who follows an answer; see presence.Reader."""

    def push(self, batch: Batch) -> None:
        """A batch that the log has by now; must not block."""

    def cut(self) -> None:
        """End the reader's connection without an end of the answer, which cannot be known here; must not block."""


class Followed:
    """
    shown   how many events readers may see: all, or with a shared log those that it has
    spoke   a delta, or a good end, was shown: the head of a reply need not be held back any more
    ended   the last event was shown
    question, database   what was asked of which database; "" for a plain chat
    """

    def __init__(self, answer_id: str, log_bytes: int) -> None:
        self.id = answer_id
        self.log = Log(log_bytes)
        self.readers: set[Reading] = set()
        self.shown = 0
        self.spoke = False
        self.ended = False
        self.question = self.database = ""
        self.failure: Failure | None = None

    @property
    def state(self) -> str:
        if not self.ended:
            return "running"
        return "failed" if self.failure else "done"

    def after(self, n: int, limit_bytes: int | None = None) -> Batch | None:
        """The events after the n-th that may be shown, at least one and at most about `limit_bytes`; None if none."""
        return self.log.after(n, limit_bytes, self.shown)

    def reach(self, n: int) -> None:
        """Return when a reader that has n events may go on from here; raises Failure where it cannot."""
        if n > self.shown:
            raise Failure("bad_request", f"Last-Event-ID: the answer has {self.shown} events so far")

    def show(self, batch: Batch, *, final: bool) -> None:
        """Let readers see the batch that follows what they have seen; `final` if it has the last event."""
        self.shown = batch.first + len(batch.ends) - 1
        if not self.spoke:
            self.spoke = any(name not in ("start", "failed") for name, _ in batch.events)
        self.ended = final
        for reader in self.readers:
            reader.push(batch)

    def join(self, reader: Reading) -> None:
        """`reader` is pushed every batch from now on."""
        self.readers.add(reader)

    def leave(self, reader: Reading) -> None:
        """`reader` follows no more; may be called again."""
        self.readers.discard(reader)

    def cancel(self) -> None:
        """Stop it for everybody, with what it has so far; nothing happens when it has ended."""
        raise NotImplementedError

    def timing_so_far(self) -> dict[str, float]:
        """The answer's timing in ms as far as it is known, for a reply's head."""
        return {}
