"""An answer in a terminal: text as it comes, then the statement's verdict and the rows as a table.

Text of models and of databases never reaches the terminal as it is: what would steer it is shown as \\x1b and the like.
"""

from __future__ import annotations

import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import click
import msgspec

from gateway.answers.steps import EventName
from gateway.printable import printable
from providers.stream.sse import Decoder

_KEYWORDS = re.compile(
    r"\b(?:select|from|where|group|by|order|having|limit|offset|join|left|right|inner|outer|full|cross|on|using|and|or"
    r"|not|in|is|null|as|with|recursive|union|all|distinct|case|when|then|else|end|between|like|exists|asc|desc|over"
    r"|partition)\b",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^\s*```\s*(\w*)")
# A column is folded when the table is wider than the terminal, but never below this width.
NARROWEST = 8


@dataclass(frozen=True, slots=True)
class Printer:
    """`show(reads)` prints a reply's bytes as they come and returns the exit code."""

    accept: str
    show: Callable[[Iterable[bytes]], int]


def write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def raw(reads: Iterable[bytes]) -> int:
    """The reply as the server wrote it, but on a terminal without what would steer it."""
    rest = b""
    for data in reads:
        if not sys.stdout.isatty():
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            continue
        # Whole lines, so that no character is cut.
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            write(printable(line.decode("utf-8", "replace").rstrip("\r")) + "\n")
    if rest:
        write(printable(rest.decode("utf-8", "replace")))
    return 0


def raw_object(reads: Iterable[bytes]) -> int:
    """A JSON object as the server wrote it, on a line of its own; 1 where its statement was refused."""
    pieces: list[bytes] = []

    def watched() -> Iterator[bytes]:
        for data in reads:
            pieces.append(data)
            yield data

    raw(watched())
    write("\n")
    try:
        sql = msgspec.json.decode(b"".join(pieces)).get("sql")
    except (msgspec.DecodeError, AttributeError):
        return 1
    return int(bool(sql) and not sql["ok"])


def raw_events(reads: Iterable[bytes]) -> int:
    """Events as the server wrote them; 1 unless the answer was completed and its statement ran."""
    decoder, last, refused = Decoder(), "", False

    def watched() -> Iterator[bytes]:
        nonlocal last, refused
        for data in reads:
            for frame in decoder.feed(data):
                if frame.event == EventName.SQL:
                    refused = _refused(msgspec.json.decode(frame.data))
                if frame.data:
                    last = frame.event
            yield data

    raw(watched())
    return 0 if last == EventName.DONE and not refused else 1


def raw_lines(reads: Iterable[bytes]) -> int:
    """NDJSON as the server wrote it; 1 unless the answer was completed and its statement ran."""
    last, rest = b"{}", b""

    def watched() -> Iterator[bytes]:
        nonlocal last, rest
        for data in reads:
            *lines, rest = (rest + data).split(b"\n")
            last = next((line for line in reversed(lines) if line), last)
            yield data

    raw(watched())
    ended = msgspec.json.decode(last)
    sql = ended.get("sql")
    return 0 if ended.get("done") and not (sql and not sql["ok"]) else 1


def _refused(verdict: dict[str, Any]) -> bool:
    return not verdict["ok"] and verdict.get("final", True)


@dataclass
class Reading:
    """One answer as a person reads it.

    thinking   show the model's reasoning too, dim
    text       the reply so far, for a conversation that goes on
    id         the answer's id
    """

    thinking: bool = False
    text: str = ""
    id: str = ""
    colours: bool = field(default_factory=lambda: sys.stdout.isatty())
    _waits: bool = False
    _refused: bool = False
    _thought: bool = False

    def show(self, reads: Iterable[bytes]) -> int:
        """Print the events; 1 if the answer failed, never ended, or its statement was refused."""
        decoder = Decoder()
        self._wait("…")
        sql = SqlColours(self.colours)
        for data in reads:
            for frame in decoder.feed(data):
                if not frame.data:
                    continue
                end = self._event(frame.event or EventName.MESSAGE, msgspec.json.decode(frame.data), sql)
                if end is not None:
                    return end
        self._wait("")
        print("\nsluice: the connection ended before the answer did", file=sys.stderr)
        return 1

    def _wait(self, sign: str) -> None:
        """A sign of life in the terminal while nothing is there to show; "" takes it away."""
        if sys.stderr.isatty() and (sign or self._waits):
            sys.stderr.write(f"\r\x1b[2m{sign}\x1b[0m" if sign else "\r\x1b[K")
            sys.stderr.flush()
        self._waits = bool(sign)

    def _event(self, event: str, data: dict[str, Any], sql: SqlColours) -> int | None:
        if event == EventName.START:
            self.id = data["id"]
            return None
        if event == EventName.REASONING:
            if self.thinking:
                self._wait("")
                self._thought = True
                write(click.style(printable(data["text"]), dim=True) if self.colours else printable(data["text"]))
            elif not self.text:
                self._wait("thinking …")
            return None
        self._wait("")
        if event == EventName.MESSAGE:
            if self._thought:
                self._thought = False
                write("\n\n")
            self.text += data["text"]
            write(sql.feed(printable(data["text"])))
        elif event == EventName.CORRECTING:
            write(sql.rest() + "\n\n")
        elif event == EventName.SQL:
            self._refused = _refused(data)
            write(sql.rest() + ("\n" if data["ok"] else f"\n\n✗ {printable(data['reason'])}\n"))
        elif event == EventName.ROWS:
            write("\n" + table([column["name"] for column in data["columns"]], data["rows"], self._width()))
            more = ", more were cut off" if data["truncated"] else ""
            count = len(data["rows"])
            write(f"({count} row{'' if count == 1 else 's'}{more}, {data['elapsed_ms']:.0f} ms)\n")
        elif event == EventName.DONE:
            write(sql.rest() + "\n")
            return int(self._refused)
        elif event == EventName.FAILED:
            write(sql.rest())
            print(f"\nsluice: {printable(data['message'])} ({data['code']})", file=sys.stderr)
            return 1
        return None

    def _width(self) -> int | None:
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def readable(reads: Iterable[bytes]) -> int:
    """Events as a person reads them; 1 if the answer failed, never ended, or its statement was refused."""
    return Reading().show(reads)


class SqlColours:
    """Colours the keywords of ```sql blocks in text that streams; a line inside a block is held until it is whole."""

    def __init__(self, on: bool) -> None:
        self._on = on
        self._line = ""
        self._inside = False

    def feed(self, text: str) -> str:
        """What can be shown now."""
        if not self._on:
            return text
        shown = ""
        for piece in text.splitlines(keepends=True):
            self._line += piece
            if piece.endswith("\n"):
                shown += self._whole()
            elif not self._inside and "`" not in self._line:
                shown += self._line
                self._line = ""
        return shown

    def rest(self) -> str:
        """What was held, at the end."""
        return self._whole() if self._line else ""

    def _whole(self) -> str:
        line, self._line = self._line, ""
        if found := _FENCE.match(line):
            self._inside = not self._inside and found[1].lower() == "sql"
            return line
        if not self._inside:
            return line
        return _KEYWORDS.sub(lambda word: click.style(word[0], fg="cyan", bold=True), line)


def width(text: str) -> int:
    """Columns that `text` takes in a terminal: Chinese characters take two (Unicode's East Asian Width)."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def table(columns: list[str], rows: list[list[Any]], columns_wide: int | None = None) -> str:
    """Rows under their columns: numbers to the right, NULL apart from empty text.

    columns_wide   the terminal's width: wider columns are folded
    """
    names = [_cell(name) for name in columns]
    cells = [["NULL" if value is None else _cell(value) for value in row] for row in rows]
    numeric = [_is_numeric(row[n] for row in rows) for n in range(len(columns))]
    widths = [max(width(row[n]) for row in [names, *cells]) for n in range(len(columns))]
    if columns_wide is not None:
        widths = _fitted(widths, columns_wide - 2 * (len(widths) - 1))

    def lines(row: list[str]) -> str:
        folded = [_folded(cell, w) for cell, w in zip(row, widths, strict=True)]
        text = ""
        for n in range(max(map(len, folded), default=1)):
            parts = [cell[n] if n < len(cell) else "" for cell in folded]
            padded = (
                " " * (w - width(part)) + part if right else part + " " * (w - width(part))
                for part, w, right in zip(parts, widths, numeric, strict=True)
            )
            text += "  ".join(padded).rstrip() + "\n"
        return text

    return lines(names) + lines(["─" * w for w in widths]) + "".join(map(lines, cells))


def _cell(value: Any) -> str:
    return printable(str(value)).replace("\n", "\\n").replace("\t", "\\t")


def _is_numeric(values: Iterable[Any]) -> bool:
    there = [value for value in values if value is not None]
    numbers = (isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in there)
    return bool(there) and all(numbers)


def _fitted(widths: list[int], room: int) -> list[int]:
    """The widths, the widest ones reduced until they fit into `room`, or all are narrow."""
    fitted = list(widths)
    while sum(fitted) > room and max(fitted) > NARROWEST:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted


def _folded(text: str, columns: int) -> list[str]:
    """`text` in pieces of at most so many columns."""
    if width(text) <= columns:
        return [text]
    pieces, piece = [], ""
    for character in text:
        if width(piece + character) > columns and piece:
            pieces.append(piece)
            piece = ""
        piece += character
    return [*pieces, piece]


PRINTERS = {
    "text": Printer("text/event-stream", readable),
    "sse": Printer("text/event-stream", raw_events),
    "ndjson": Printer("application/x-ndjson", raw_lines),
    "json": Printer("application/json", raw_object),
    "csv": Printer("text/csv", raw),
}
