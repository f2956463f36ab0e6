"""Frames of one reply that are equal but for their text: most servers repeat everything else in each of them.

    {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}
    └──────────────────── before ──────────────────────────────┘└ text ─┘└──────── after ───────┘

What stands between the same bytes, and is one JSON string, means the same chunk with another text: only that string is
decoded, for a fifth of what the whole chunk costs (`python -m benchmarks.normaliser`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Self

import msgspec

from providers.delta import Delta
from providers.stream.sse import Frame

# Words that no reply has, to see which of the chunk's strings is its text.
_PROBE = Delta("\x01probe\x02")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')

string = msgspec.json.Decoder(str).decode
_many = msgspec.json.Decoder(list[str]).decode


class Template:
    """
    before, after   the bytes of a frame's data around its text; neither has a line end
    """

    __slots__ = ("_least", "after", "before")

    def __init__(self, before: bytes, after: bytes) -> None:
        self.before = before
        self.after = after
        self._least = len(before) + len(after)

    @classmethod
    def of(cls, data: bytes, text: str, parse: Callable[[Frame], Delta | None]) -> Self | None:
        """The template of a frame whose delta is `text` alone; None where its place in `data` is not certain.

        parse   the wire's `parse_fast`: it has to find a probe that is put in the text's place, and nothing else
        """
        if b"\n" in data or b"\r" in data:
            return None
        for found in _STRING.finditer(data):
            try:
                if string(found[0]) != text:
                    continue
            except msgspec.MsgspecError:
                continue
            before, after = data[: found.start()], data[found.end() :]
            if after and parse(Frame(before + msgspec.json.encode(_PROBE.text) + after)) == _PROBE:
                return cls(before, after)
        return None

    def leading(self, frames: list[Frame]) -> list[str]:
        """The texts of the frames, from the first one on, that have this template; none where one is no JSON string."""
        before, after, least = self.before, self.after, self._least
        start, end = len(before), -len(after)
        strings: list[bytes] = []
        for frame in frames:
            data = frame.data
            if not (data.startswith(before) and data.endswith(after)) or len(data) < least or frame.event:
                break
            strings.append(data[start:end])
        if not strings:
            return []
        try:
            # A line end stands in no JSON string: what is none cannot become one together with its neighbour.
            texts = _many(b"[%b]" % b",\n".join(strings))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return []
        return texts if len(texts) == len(strings) else []
