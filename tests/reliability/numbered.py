"""Numbered streams, and the offline checker that proves a stream whole: no gap, repeat, reorder or foreign byte.

The scripted upstream's plan `count=40` answers the question `s7` with the chunks `<s7:1>` … `<s7:40>`. A recording
holds the bytes of every connection a reader used for one stream; `problems` judges them, with a reading of the event
stream of its own: nothing of the gateway's code is trusted here.

    python -m tests.reliability.numbered FILE…      recordings, one JSON object a line; exit 1 if one has a problem
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHUNK = re.compile(r"<([^<>:]*):(\d+)>")
TERMINAL = ("done", "failed")


@dataclass(slots=True)
class Part:
    """One connection's bytes: `after` is the Last-Event-ID it was asked with, "" without one."""

    after: str = ""
    status: int = 0
    body: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Recording:
    """What one reader saw of one stream.

    count      how many chunks the upstream says; 0 where it does not number them
    read       reads the events in a connection's body; None: those of /getAnwser
    restarts   every connection begins at the beginning of the stream
    """

    stream: str
    count: int
    parts: list[Part] = field(default_factory=list)
    read: Callable[[bytes], Iterator[Event]] | None = None
    restarts: bool = False

    def to_json(self) -> str:
        parts = [
            {"after": part.after, "status": part.status, "body": base64.b64encode(part.body).decode()}
            for part in self.parts
        ]
        return json.dumps({"stream": self.stream, "count": self.count, "parts": parts})

    @classmethod
    def from_json(cls, line: str) -> Recording:
        loaded = json.loads(line)
        parts = [
            Part(part["after"], part["status"], bytearray(base64.b64decode(part["body"]))) for part in loaded["parts"]
        ]
        return cls(loaded["stream"], loaded["count"], parts)


@dataclass(frozen=True, slots=True)
class Event:
    id: str
    name: str
    data: Any

    @property
    def number(self) -> int:
        return int(self.id.rpartition(".")[2])


def events(body: bytes) -> Iterator[Event]:
    """The whole events in `body`, as a browser would take them: what lacks its blank line does not count."""
    *blocks, _ = bytes(body).split(b"\n\n")
    for block in blocks:
        fields: dict[str, str] = {}
        for line in block.decode("utf-8").split("\n"):
            name, colon, value = line.partition(":")
            if name and colon:
                fields[name] = value.removeprefix(" ")
        if "data" in fields:
            yield Event(fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"]))


def problems(recording: Recording, ends: str = "done") -> list[str]:
    """What is wrong with the stream, a sentence each; [] if it came whole.

    ends   how it has to end: "done", "failed" (with any code), "failed:<code>", or "" where the end was not waited for
    """
    found: list[str] = []
    seen: list[Event] = []
    for number, part in enumerate(recording.parts):
        try:
            came = list((recording.read or events)(bytes(part.body)))
        except (ValueError, UnicodeDecodeError) as error:
            found.append(f"connection {number + 1} has an event that cannot be read: {error}")
            continue
        if recording.restarts:
            before, now = _said(seen), _said(came)
            if not (now.startswith(before) or before.startswith(now)):
                found.append(f"connection {number + 1} says something else than the one before")
            seen = came if len(came) >= len(seen) else seen
            continue
        if part.after != (seen[-1].id if seen else ""):
            found.append(f"connection {number + 1} asked for what is after {part.after!r}")
        seen += came
    if not seen:
        return [*found, "no event came"] if ends else found
    return found + _numbering(seen) + (_text(seen, recording) if recording.count else []) + _ending(seen, ends)


def _said(seen: list[Event]) -> str:
    return "".join(event.data["text"] for event in seen if event.name == "message")


def _numbering(seen: list[Event]) -> list[str]:
    answers = {event.id.rpartition(".")[0] for event in seen}
    if len(answers) != 1 or "" in answers:
        return [f"events of {len(answers)} answers: {sorted(answers)[:3]}"]
    numbers = [event.number for event in seen]
    if numbers == list(range(1, len(numbers) + 1)):
        return []
    wrong = next(n for n, number in enumerate(numbers) if number != n + 1)
    return [f"event {numbers[wrong]} stands where {wrong + 1} is due"]


def _text(seen: list[Event], recording: Recording) -> list[str]:
    text = _said(seen)
    found, numbers = [], []
    for stream, number in CHUNK.findall(text):
        if stream != recording.stream:
            found.append(f"a foreign chunk of {stream!r}")
        else:
            numbers.append(int(number))
    if foreign := CHUNK.sub("", text):
        found.append(f"foreign bytes: {foreign[:40]!r}")
    lost = set(range(1, (max(numbers) if numbers else 0) + 1)) - set(numbers)
    # What was stopped on request is whole as far as it goes.
    if seen[-1].name == "done" and seen[-1].data["finish_reason"] != "cancelled":
        lost |= set(range(1, recording.count + 1)) - set(numbers)
    if lost:
        found.append(f"lost: {len(lost)} chunks, the first is {min(lost)}")
    if len(set(numbers)) != len(numbers):
        found.append(f"repeated: {len(numbers) - len(set(numbers))} chunks")
    if any(after < before for before, after in itertools.pairwise(numbers)):
        found.append("reordered chunks")
    if numbers and max(numbers) > recording.count:
        found.append(f"chunk {max(numbers)} of {recording.count}")
    return found


def _ending(seen: list[Event], ends: str) -> list[str]:
    found = []
    if seen[0].name != "start" or sum(event.name == "start" for event in seen) != 1:
        found.append(f"it begins with {seen[0].name}, and has {sum(e.name == 'start' for e in seen)} start events")
    terminal = [n for n, event in enumerate(seen) if event.name in TERMINAL]
    if len(terminal) > 1:
        found.append(f"{len(terminal)} terminal events")
    if terminal and terminal[0] != len(seen) - 1:
        found.append(f"{len(seen) - 1 - terminal[0]} events after the terminal one")
    if ends and not terminal:
        found.append("no terminal event")
    elif ends and not ended(seen[-1]).startswith(ends):
        found.append(f"it ended with {ended(seen[-1])} instead of {ends}")
    return found


def ended(event: Event) -> str:
    """`done`, or `failed:<code>`; "" if the event is no terminal one."""
    if event.name == "failed":
        return f"failed:{event.data['code']}"
    return event.name if event.name == "done" else ""


def main(files: Iterable[str]) -> int:
    judged = wrong = 0
    for file in files:
        for line in Path(file).read_text("utf-8").splitlines():
            recording = Recording.from_json(line)
            judged += 1
            if found := problems(recording):
                wrong += 1
                print(f"{recording.stream}: {'; '.join(found)}")
    print(f"{judged} streams, {wrong} with a problem")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
