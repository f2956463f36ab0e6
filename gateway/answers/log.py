"""An answer's log in the worker's memory: the bytes of its events in one buffer, and the offset where each ends."""

from __future__ import annotations

from array import array
from bisect import bisect_right

from gateway.answers.events import Batch


class Full(Exception):
    """The log has reached its limit in bytes."""


class Log:
    """Events 1 … `count`. Each costs 4 bytes beside its own bytes: a worker holds thousands of logs."""

    __slots__ = ("_data", "_ends", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._data: bytearray | bytes = bytearray()
        self._ends = array("Q" if limit_bytes >= 1 << 32 else "I")

    @property
    def count(self) -> int:
        return len(self._ends)

    @property
    def size_bytes(self) -> int:
        return len(self._data) + self._ends.itemsize * len(self._ends)

    def append(self, batch: Batch, *, final: bool = False) -> None:
        """Add the next events; raises Full, except for `final` ones: every answer needs its end."""
        start, ends = len(self._data), batch.ends
        if start + len(batch.sse) > self.limit_bytes and not final:
            raise Full
        self._data += batch.sse
        if len(ends) == 1:
            self._ends.append(start + ends[0])
        else:
            self._ends.extend([start + end for end in ends])
        if final:
            # Nothing is appended after this: free the array's reserve.
            self._data = bytes(self._data)

    def after(self, n: int, limit_bytes: int | None = None, until: int | None = None) -> Batch | None:
        """The events after the n-th, `until` one (the last), of about `limit_bytes` at most; None if there are none."""
        last = len(self._ends) if until is None else until
        if n >= last:
            return None
        start = self._ends[n - 1] if n else 0
        if limit_bytes is not None and self._ends[last - 1] - start > limit_bytes:
            # At least one event, even if it is longer than the limit.
            last = max(n + 1, bisect_right(self._ends, start + limit_bytes, n, last))
        return Batch(
            n + 1, bytes(self._data[start : self._ends[last - 1]]), [end - start for end in self._ends[n:last]]
        )
