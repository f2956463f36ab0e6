"""An answer in a terminal: text as it comes, then the statement's verdict and the rows as a table."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.answers.steps import EventName
from providers.stream.sse import Decoder


@dataclass(frozen=True, slots=True)
class Printer:
    """`show(reads)` prints a reply's bytes as they come and returns the exit code."""

    accept: str
    show: Callable[[Iterable[bytes]], int]


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def raw(reads: Iterable[bytes]) -> int:
    """The reply as the server wrote it; a failure came as a status before."""
    for data in reads:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    return 0


def raw_object(reads: Iterable[bytes]) -> int:
    """A JSON object as the server wrote it, on a line of its own."""
    raw(reads)
    write("\n")
    return 0


def raw_events(reads: Iterable[bytes]) -> int:
    """Events as the server wrote them; 1 unless the answer was completed."""
    decoder, last = Decoder(), ""

    def watched() -> Iterator[bytes]:
        nonlocal last
        for data in reads:
            for frame in decoder.feed(data):
                last = frame.event
            yield data

    raw(watched())
    return 0 if last == EventName.DONE else 1


def raw_lines(reads: Iterable[bytes]) -> int:
    """NDJSON as the server wrote it; 1 unless the answer was completed."""
    last, rest = b"{}", b""

    def watched() -> Iterator[bytes]:
        nonlocal last, rest
        for data in reads:
            *lines, rest = (rest + data).split(b"\n")
            last = next((line for line in reversed(lines) if line), last)
            yield data

    raw(watched())
    return 0 if msgspec.json.decode(last).get("done") else 1


def readable(reads: Iterable[bytes]) -> int:
    """Events as a person reads them; 1 if the answer failed or never ended."""
    decoder = Decoder()
    for data in reads:
        for frame in decoder.feed(data):
            if not frame.data:
                continue
            end = _show(frame.event or EventName.MESSAGE, msgspec.json.decode(frame.data))
            if end is not None:
                return end
    print("\nsluice: the connection ended before the answer did", file=sys.stderr)
    return 1


def _show(event: str, data: dict[str, Any]) -> int | None:
    if event == EventName.MESSAGE:
        write(data["text"])
    elif event == EventName.SQL:
        write("\n" if data["ok"] else f"\n\n✗ {data['reason']}\n")
    elif event == EventName.ROWS:
        write("\n" + table([column["name"] for column in data["columns"]], data["rows"]))
        more = ", more were cut off" if data["truncated"] else ""
        count = len(data["rows"])
        write(f"({count} row{'' if count == 1 else 's'}{more}, {data['elapsed_ms']:.0f} ms)\n")
    elif event == EventName.DONE:
        write("\n")
        return 0
    elif event == EventName.FAILED:
        print(f"\nsluice: {data['message']} ({data['code']})", file=sys.stderr)
        return 1
    return None


def width(text: str) -> int:
    """Columns that `text` takes in a terminal: Chinese characters take two (Unicode's East Asian Width)."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def table(columns: list[str], rows: list[list[Any]]) -> str:
    """Rows under their columns, padded by width."""
    cells = [columns] + [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(width(row[n]) for row in cells) for n in range(len(columns))]

    def line(row: list[str]) -> str:
        return "  ".join(cell + " " * (w - width(cell)) for cell, w in zip(row, widths, strict=True)).rstrip() + "\n"

    return line(cells[0]) + line(["─" * w for w in widths]) + "".join(map(line, cells[1:]))


PRINTERS = {
    "text": Printer("text/event-stream", readable),
    "sse": Printer("text/event-stream", raw_events),
    "ndjson": Printer("application/x-ndjson", raw_lines),
    "json": Printer("application/json", raw_object),
    "csv": Printer("text/csv", raw),
}
