"""PostgreSQL's values that Python cannot hold, as the server writes them; without this, one stops the whole answer.

infinity, 0044-03-15 BC, 12024-01-01, 24:00:00   text, where a date or a time would be
intervals with months or years                   text, for a month is no number of seconds
1.10 in json                                     a decimal, where a float would lose a digit
"""

from __future__ import annotations

import decimal
import json
import re
from typing import Any

import psycopg
from psycopg.adapt import Buffer, Loader
from psycopg.types import datetime
from psycopg.types import json as json_types

# JSON that nests deeper stays text.
DEPTH = 100
_BRACKETS = re.compile(r"[\[\]{}]")
# rows.py writes arrays as JSON.
ARRAY = "json"


def _text(data: Buffer) -> str:
    return bytes(data).decode("utf-8", "replace")


def _or_text(loader: type[Loader]) -> type[Loader]:
    class OrText(loader):  # type: ignore[valid-type, misc]
        def load(self, data: Buffer) -> Any:
            try:
                return super().load(data)
            except (psycopg.DataError, ValueError, OverflowError):
                return _text(data)

    return OrText


class _Interval(datetime.IntervalLoader):
    def load(self, data: Buffer) -> Any:
        written = bytes(data)
        if b"mon" in written or b"year" in written:
            return _text(data)
        try:
            return super().load(data)
        except (psycopg.DataError, ValueError, OverflowError):
            return _text(data)


def _number(digits: str) -> float | decimal.Decimal:
    number = float(digits)
    return number if repr(number) == digits else decimal.Decimal(digits)


def _json(data: str | bytes) -> Any:
    """A JSON value; one that nests deeper than DEPTH is left as text, for readers of JSON give up on it."""
    written = data if isinstance(data, str) else data.decode("utf-8", "replace")
    if written.count("[") + written.count("{") > DEPTH and _depth(written) > DEPTH:
        return written
    return json.loads(written, parse_float=_number)


def _depth(written: str) -> int:
    """How deep brackets nest in `written`; those inside of texts count too, which only makes it more."""
    depth = deepest = 0
    for letter in _BRACKETS.findall(written):
        depth += 1 if letter in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


LOADERS: dict[str, type[Loader]] = {
    "date": _or_text(datetime.DateLoader),
    "time": _or_text(datetime.TimeLoader),
    "timetz": _or_text(datetime.TimetzLoader),
    "timestamp": _or_text(datetime.TimestampLoader),
    "timestamptz": _or_text(datetime.TimestamptzLoader),
    "interval": _Interval,
}


def load_into(connection: psycopg.Connection[Any]) -> None:
    """Let `connection` read values so."""
    for name, loader in LOADERS.items():
        connection.adapters.register_loader(name, loader)
    json_types.set_json_loads(_json, connection)
