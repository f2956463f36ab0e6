"""Rows as JSON can carry them, within a cap on their number and their bytes.

NULL                     null
booleans, text           as they are; U+0000 and lone surrogates in text become U+FFFD
integers                 numbers, beyond ±2^53 strings: JavaScript would round them
floats                   numbers; NaN and the infinities strings
decimals                 strings, digit for digit
dates, times             strings: 2024-03-01, 08:30:00, 2024-03-01T08:30:00+08:00, or as the server writes what Python
                         cannot hold (infinity, 0044-03-15 BC); intervals in seconds, with months as PostgreSQL has them
bytes                    strings in hex, after 0x
arrays, JSON             lists and objects of these
"""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import math
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

SAFE_INTEGER = 2**53


class Collected:
    """What a query gives, collected within the caps."""

    def __init__(self, row_limit: int, byte_limit: int) -> None:
        self.rows: list[list[Any]] = []
        self.truncated = False
        self._row_limit = row_limit
        self._bytes_left = byte_limit
        self._names: list[str] = []
        self._types: list[str] = []
        self._seen: list[set[str]] = []

    def describe(self, names: Sequence[str], types: Sequence[str] = ()) -> None:
        """Name the columns, with the words for their types where the driver tells them."""
        self._names = [text(name) for name in names]
        self._types = list(types)
        self._seen = [set() for _ in names]

    def columns(self) -> list[dict[str, str]]:
        """[{"name", "type"}], the type from the values themselves where the driver does not tell."""
        types = self._types or [_common(seen) for seen in self._seen]
        return [{"name": name, "type": word} for name, word in zip(self._names, types, strict=True)]

    def add(self, batch: Iterable[Sequence[Any]]) -> bool:
        """Take a batch of rows; False when a cap is reached and no more are wanted."""
        for row in batch:
            if not self._types:
                for seen, value in zip(self._seen, row, strict=True):
                    if value is not None:
                        seen.add(kind(value))
            values = [safe(value) for value in row]
            self._bytes_left -= sum(map(size, values))
            if len(self.rows) >= self._row_limit or self._bytes_left < 0:
                self.truncated = True
                return False
            self.rows.append(values)
        return True


def _common(kinds: set[str]) -> str:
    if kinds == {"integer", "number"}:
        return "number"
    return next(iter(kinds)) if len(kinds) == 1 else "text"


def size(value: Any) -> int:
    """About how many bytes a safe value takes in JSON."""
    if isinstance(value, str):
        return len(value) * 3 + 3
    if isinstance(value, list):
        return 2 + sum(map(size, value))
    if isinstance(value, dict):
        return 2 + sum(size(key) + size(item) for key, item in value.items())
    return 8


def safe(value: Any) -> Any:
    """`value` as JSON can carry it without losing a digit."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return value if -SAFE_INTEGER <= value <= SAFE_INTEGER else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, bytes | bytearray | memoryview):
        return "0x" + bytes(value).hex()
    if isinstance(value, list | tuple | set | frozenset):
        return [safe(item) for item in value]
    if isinstance(value, dict):
        return {text(str(key)): safe(item) for key, item in value.items()}
    if isinstance(value, uuid.UUID):
        return str(value)
    return text(str(value))


def text(value: str) -> str:
    """`value` without what JSON or a browser chokes on."""
    if value.isascii() and "\0" not in value:
        return value
    return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def csv_text(rows: dict[str, Any]) -> str:
    """A `rows` event's data as CSV (RFC 4180) with a line of names; NULL is empty, lists and objects are JSON."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow([column["name"] for column in rows["columns"]])
    for row in rows["rows"]:
        writer.writerow([_cell(value) for value in row])
    return written.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


# A column's type, in words that mean the same on every server.
KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (decimal.Decimal, "decimal"),
    (datetime.datetime, "datetime"),
    (datetime.date, "date"),
    (datetime.time, "time"),
    (datetime.timedelta, "interval"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((list, tuple, dict), "json"),
)


def kind(value: Any) -> str:
    """The word for a value's type."""
    return next((word for types, word in KINDS if isinstance(value, types)), "text")
