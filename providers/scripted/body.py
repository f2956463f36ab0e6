"""A reply's events, and a plan, become the bytes that go out, write by write."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from providers.scripted.plan import EVENTS_BEFORE, Plan

BLOCK = b"x" * 65536
# What a flood repeats, and how many bytes of it make one chunk of the body.
FLOODS = {"comments": (b": ping\n\n", 65536), "events": (b"data: null\n\n", 65536), "bytes": (b":", 1)}
CHUNKS_A_WRITE = 8192


@dataclass(slots=True)
class Body:
    """
    writes   one piece of the body each
    stop     what happens after the last one: "" a clean end, cut, reset, halfclose, hang
    endless  bytes that follow for ever, unless the connection ends: "" none, "line", "silence", a key of FLOODS
    """

    writes: list[bytes] = field(default_factory=list)
    stop: str = ""
    endless: str = ""


def body(events: list[bytes], plan: Plan, failed: list[bytes]) -> Body:
    """`events` with everything that `plan` does to them; `failed` stands for an error in mid-stream."""
    written = Body(_said(events, plan, failed))
    first = sum(map(len, _written(written.writes[:EVENTS_BEFORE], plan)))
    written.writes = _written(written.writes, plan)
    if plan.gzip or plan.corrupt:
        written.writes = _compressed(written.writes, plan.corrupt)
        first = sum(map(len, written.writes[:EVENTS_BEFORE]))
    for name in ("cut", "reset", "end", "halfclose"):
        position = getattr(plan, name)
        if position is not None:
            written.writes = _up_to(written.writes, position if position > 0 else first)
            written.stop = "" if name == "end" else name
    if plan.hang in ("first", "between"):
        written.writes = written.writes[:EVENTS_BEFORE] if plan.hang == "between" else []
        written.stop = "hang"
    elif plan.hang == "end":
        written.stop = "hang"
    if plan.endless or plan.silence or plan.flood:
        written.writes = written.writes[:EVENTS_BEFORE]
        written.endless = "line" if plan.endless else "silence" if plan.silence else plan.flood or ""
    if plan.bytewise or plan.trickle is not None:
        written.writes = [bytes([byte]) for write in written.writes for byte in write]
    elif plan.onewrite:
        written.writes = [b"".join(written.writes)]
    return written


def _said(events: list[bytes], plan: Plan, failed: list[bytes]) -> list[bytes]:
    """The events in the order in which they are said, whatever the lines look like."""
    if plan.fail and plan.after:
        events = events[: plan.after] + failed
    if plan.garbage:
        events = [*events[:EVENTS_BEFORE], *[b"data: \x93\xff\xfe%d\x80\n\n" % n for n in range(40)]]
    if plan.halfjson:
        third = events[EVENTS_BEFORE].rstrip(b"\n")
        events = [*events[:EVENTS_BEFORE], third[: len(third) // 2] + b"\n\n"]
    if plan.pings:
        events = [*events[:EVENTS_BEFORE], *[b"data: ping\n\n"] * plan.pings, *events[EVENTS_BEFORE:]]
    if plan.comments:
        events = [b": keep-alive\n\n" + event for event in events]
    return events


def _written(events: list[bytes], plan: Plan) -> list[bytes]:
    """The same events as the lines of this plan."""
    events = list(events)
    if plan.unfinished and events:
        events[-1] = events[-1].rstrip(b"\n")
    if plan.single:
        events = [event.replace(b"\n\n", b"\n") for event in events]
    if plan.crlf or plan.cr:
        events = [event.replace(b"\n", b"\r\n" if plan.crlf else b"\r") for event in events]
    if plan.bom and events:
        events[0] = b"\xef\xbb\xbf" + events[0]
    return events


def _compressed(writes: list[bytes], corrupt: bool) -> list[bytes]:
    """Each write flushed by itself, so that it can be read when it comes."""
    packer = zlib.compressobj(wbits=31)
    packed = [packer.compress(write) + packer.flush(zlib.Z_SYNC_FLUSH) for write in writes]
    packed.append(packer.flush())
    if corrupt:
        packed[EVENTS_BEFORE:] = [b"\xff" * 64]
    return packed


def _up_to(writes: list[bytes], position: int) -> list[bytes]:
    kept: list[bytes] = []
    for write in writes:
        kept.append(write[:position])
        position -= len(write)
        if position <= 0:
            break
    return kept


def endless(kind: str, chunk: Callable[[bytes], bytes]) -> Iterator[tuple[bytes, float]]:
    """Bytes for the socket, and seconds to wait after them.

    chunk   frames one piece of the body as the response's transfer coding wants it
    """
    if kind == "line":
        yield chunk(b"data: "), 0
        while True:
            yield chunk(BLOCK), 0
    if kind in FLOODS:
        unit, chunk_bytes = FLOODS[kind]
        data = chunk(unit * (chunk_bytes // len(unit)))
        if chunk_bytes == 1:
            data *= CHUNKS_A_WRITE
        while True:
            yield data, 0
    while True:
        yield chunk(b": still here\n\n"), 0.05
