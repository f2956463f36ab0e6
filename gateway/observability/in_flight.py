"""Which answers a worker is producing, in memory that it shares with its master: who knows them when it was killed."""

from __future__ import annotations

import mmap
from typing import Any

import msgspec

# One answer's place: the length of what is written in it, 0 where it is free, and the JSON itself.
SLOT_BYTES = 512
LENGTH_BYTES = 2


class Roll:
    """Made in the master, before the fork. The worker enters and strikes out, the master reads what was left.

    slots   answers at once; whoever comes beyond them is not entered
    """

    def __init__(self, slots: int) -> None:
        # Anonymous: pages that no answer has touched take no memory.
        self._memory = mmap.mmap(-1, slots * SLOT_BYTES)
        # The lowest first, so that few pages are touched.
        self._free = list(range(slots - 1, -1, -1))
        self._taken: dict[str, int] = {}

    def enter(self, answer_id: str, fields: dict[str, Any]) -> None:
        """An answer is begun; `fields` is what the master shall know of it beside its id."""
        if not self._free:
            return
        told = msgspec.json.encode({"id": answer_id} | fields)
        if len(told) > SLOT_BYTES - LENGTH_BYTES:
            told = msgspec.json.encode({"id": answer_id})
        slot = self._taken[answer_id] = self._free.pop()
        at = slot * SLOT_BYTES
        self._memory[at + LENGTH_BYTES : at + LENGTH_BYTES + len(told)] = told
        # Last, so that no half an entry is ever read.
        self._memory[at : at + LENGTH_BYTES] = len(told).to_bytes(LENGTH_BYTES, "little")

    def strike(self, answer_id: str) -> None:
        """The answer has ended."""
        if (slot := self._taken.pop(answer_id, None)) is not None:
            self._memory[slot * SLOT_BYTES : slot * SLOT_BYTES + LENGTH_BYTES] = bytes(LENGTH_BYTES)
            self._free.append(slot)

    def left(self) -> list[dict[str, Any]]:
        """The answers that were entered and not struck out: their id, and their fields."""
        return [
            msgspec.json.decode(self._memory[at + LENGTH_BYTES : at + LENGTH_BYTES + length])
            for at in range(0, len(self._memory), SLOT_BYTES)
            if (length := int.from_bytes(self._memory[at : at + LENGTH_BYTES], "little"))
        ]
