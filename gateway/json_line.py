"""JSON on one line, whatever a reader takes for the end of a line."""

from __future__ import annotations

from typing import Any

import msgspec

_to_json = msgspec.json.Encoder().encode


def encode(value: Any) -> bytes:
    """`value` as JSON on one line, also for readers that split lines where Python's str.splitlines does.

    U+2028, U+2029 and U+0085 are written as escapes: httpx and requests cut lines there. Nothing else is escaped.
    """
    data = _to_json(value)
    # Not `in`: for bytes it first tries the text as a number, and raises an exception inside, which costs more.
    if data.find(b"\xe2\x80") >= 0 or data.find(b"\xc2\x85") >= 0:
        for character, escape in _LINE_ENDS:
            data = data.replace(character, escape)
    return data


# UTF-8 has no such bytes across the border of two characters.
_LINE_ENDS = ((b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"), (b"\xc2\x85", rb"\u0085"))
