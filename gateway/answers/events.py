"""Steps → events: server-sent events, encoded once, kept in the log and shared by every reader.

    id: 3q2-7wXh….17
    data: {"text":"你好"}

An answer's log holds these bytes and nothing else; the other formats are written from them. `tool_calls` events and
the `logprobs` of `message` events exist only in answers of the routes below /v1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from gateway.answers import steps
from gateway.answers.steps import EventName, Step
from gateway.errors import Failure
from gateway.json_line import encode

# How long an EventSource waits before it comes back, in ms: a line of the first block that a reader gets.
RETRY = b"retry: 1000\n"
# A comment without a blank line: fetch-event-source takes a blank line for an event without data.
PING = b": ping\n"

_decode = msgspec.json.Decoder().decode
_to_json = msgspec.json.Encoder().encode


class Event(NamedTuple):
    """One event as the other formats see it; `name` is one of steps.EventName."""

    name: str
    data: dict[str, Any]


class Batch(msgspec.Struct, gc=False):
    """Consecutive events: those of one read of the upstream, or a part of the log.

    first   the number of the first event
    sse     their bytes
    ends    the offset in `sse` where each event ends
    text    the text as JSON where the batch is one `message` event without logprobs, and comes from the encoder: a
            format need not read it back out of `sse`. None for every other batch
    """

    first: int
    sse: bytes
    ends: list[int]
    text: bytes | None = None
    _events: list[Event] | None = None

    @property
    def events(self) -> list[Event]:
        """The events, decoded from their bytes; decoded at most once."""
        if self._events is None:
            self._events = read(self.sse)
        return self._events

    def without_last(self) -> Batch:
        """All but the last event."""
        return Batch(self.first, self.sse[: self.ends[-2]], self.ends[:-1])

    def last(self) -> Batch:
        """The last event alone."""
        start = self.ends[-2] if len(self.ends) > 1 else 0
        return Batch(self.first + len(self.ends) - 1, self.sse[start:], [self.ends[-1] - start])


def read(sse: bytes) -> list[Event]:
    """The events in bytes that an `Encoder` wrote: an id line, an event line except for messages, a data line each."""
    events = []
    for block in sse.split(b"\n\n")[:-1]:
        _, *named, data = block.split(b"\n")
        events.append(Event(named[0][7:].decode() if named else EventName.MESSAGE, _decode(data[6:])))
    return events


# Steps whose members are the event's data.
_AS_THEY_ARE: dict[type, EventName] = {
    steps.Sql: EventName.SQL,
    steps.Rows: EventName.ROWS,
    steps.Correcting: EventName.CORRECTING,
}


class Encoder:
    """Writes one answer's steps as events, numbered from 1 without gaps."""

    __slots__ = ("_extras", "_prefix", "answer_id", "created", "ended", "n", "started")

    def __init__(self, answer_id: str, created: float, n: int = 0) -> None:
        """`n` is the number of the last event that exists already."""
        self.answer_id = answer_id
        self.created = int(created)
        self.n = n
        self.started = n > 0
        self.ended = False
        self._prefix = f"id: {answer_id}.".encode()
        self._extras: set[str] = set()

    def back_to(self, n: int) -> None:
        """Continue after the n-th event: the log did not take the later ones."""
        self.n = n
        self.started, self.ended = n > 0, False

    def batch(self, batch: list[Step], timing: dict[str, float] | None = None) -> Batch | None:
        """The events of one batch of steps, None if it makes none. `timing` is for `done`."""
        if len(batch) == 1 and type(step := batch[0]) is steps.Text and step.text and not step.logprobs:
            return self.text(step.text)
        first = self.n + 1
        pieces = _Pieces()
        for step in batch if len(batch) == 1 else steps.merged(batch):
            self._write(step, pieces, timing)
        return pieces.batch(first) if pieces.sse else None

    def text(self, text: str) -> Batch:
        """The event of one text, which is not empty: the hot path. It is formatted once for the log and the formats."""
        n = self.n = self.n + 1
        # ASCII has none of the characters that `encode` escapes.
        encoded = _to_json(text) if text.isascii() else encode(text)
        sse = b'%b%d\ndata: {"text":%b}\n\n' % (self._prefix, n, encoded)
        return Batch(n, sse, [len(sse)], encoded)

    def failed(self, failure: Failure, request_id: str, provider: str, model: str) -> Batch:
        """The end of a failed answer; `provider` and `model` are for `start`, written first where it is missing."""
        first = self.n + 1
        pieces = _Pieces()
        if not self.started:
            self._write(steps.Start(provider, model), pieces, None)
        pieces.add(*self._named(EventName.FAILED, failure.event(request_id)))
        self.ended = True
        return pieces.batch(first)

    def _write(self, step: Step, pieces: _Pieces, timing: dict[str, float] | None) -> None:
        if isinstance(step, steps.Text):
            if step.text or step.logprobs:
                self.n += 1
                data = {"text": step.text} | ({"logprobs": step.logprobs} if step.logprobs else {})
                pieces.add(b"%b%d\ndata: %b\n\n" % (self._prefix, self.n, encode(data)), EventName.MESSAGE, data)
        elif isinstance(step, steps.Reasoning):
            if step.text:
                pieces.add(*self._named(EventName.REASONING, {"text": step.text}))
        elif isinstance(step, steps.Start):
            if not self.started:
                self.started = True
                about = {"id": self.answer_id, "provider": step.provider, "model": step.model, "created": self.created}
                if step.adjusted:
                    about["adjusted"] = step.adjusted
                pieces.add(*self._named(EventName.START, about))
        elif isinstance(step, steps.ToolCalls):
            pieces.add(*self._named(EventName.TOOL_CALLS, {"tool_calls": step.pieces}))
        elif isinstance(step, steps.Extras):
            # Only /v1 shows them; `done` says to everybody else that the reply had them.
            self._extras.update(step.members)
            pieces.add(*self._named(EventName.EXTRAS, step.members))
        elif isinstance(step, steps.Done):
            pieces.add(*self._named(EventName.DONE, self._end(step, timing)))
            self.ended = True
        else:
            pieces.add(*self._named(_AS_THEY_ARE[type(step)], step))

    def _end(self, step: steps.Done, timing: dict[str, float] | None) -> dict[str, Any]:
        usage = step.usage.as_dict() if step.usage else None
        end: dict[str, Any] = {"finish_reason": step.finish_reason, "usage": usage, "timing": timing or step.timing}
        if step.sql_found is False:
            end["sql_found"] = False
        if step.finish_reason_raw is not None:
            end["finish_reason_raw"] = step.finish_reason_raw
        if self._extras:
            end["dropped"] = sorted(self._extras)
        return end

    def _named(self, name: EventName, data: Any) -> tuple[bytes, EventName, Any]:
        self.n += 1
        sse = b"%b%d\nevent: %b\ndata: %b\n\n" % (self._prefix, self.n, name.encode(), encode(data))
        return sse, name, data


# Events whose data is made of dicts, lists, strings and numbers alone.
_PLAIN = frozenset({EventName.START, EventName.MESSAGE, EventName.REASONING, EventName.DONE})


class _Pieces:
    """The events of one batch while they are written.

    What plain events were made of is kept with the batch: the formats need not read it back out of the bytes. `read` of
    the bytes gives the same.
    """

    __slots__ = ("_events", "_plain", "sse")

    def __init__(self) -> None:
        self.sse: list[bytes] = []
        self._events: list[Event] = []
        self._plain = True

    def add(self, sse: bytes, name: EventName, data: Any) -> None:
        self.sse.append(sse)
        self._events.append(Event(name, data))
        self._plain = self._plain and name in _PLAIN

    def batch(self, first: int) -> Batch:
        ends, end = [], 0
        for piece in self.sse:
            end += len(piece)
            ends.append(end)
        return Batch(first, b"".join(self.sse), ends, None, self._events if self._plain else None)
