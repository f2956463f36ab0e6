"""The answers that a worker is producing, in memory shared with its master, for the case that the worker is killed."""

from __future__ import annotations

import mmap
from typing import Any

import msgspec

# One answer's slot: the length of its JSON (0: the slot is free), then the JSON.
SLOT_BYTES = 512
LENGTH_BYTES = 2


class InFlight:
    """Made in the master, before the fork. The worker adds and removes answers, the master reads what is left.

    slots   answers at once; those beyond them are not recorded
    """

    def __init__(self, slots: int) -> None:
        # Anonymous: pages that no answer has touched take no memory.
        self._memory = mmap.mmap(-1, slots * SLOT_BYTES)
        # The lowest first, so that few pages are touched.
        self._free = list(range(slots - 1, -1, -1))
        self._taken: dict[str, int] = {}

    def add(self, answer_id: str, fields: dict[str, Any]) -> None:
        """Record an answer that begins; `fields` go into the log line if the worker is killed."""
        if not self._free:
            return
        entry = msgspec.json.encode({"id": answer_id} | fields)
        if len(entry) > SLOT_BYTES - LENGTH_BYTES:
            entry = msgspec.json.encode({"id": answer_id})
        slot = self._taken[answer_id] = self._free.pop()
        at = slot * SLOT_BYTES
        self._memory[at + LENGTH_BYTES : at + LENGTH_BYTES + len(entry)] = entry
        # The length last, so that the master never reads half an entry.
        self._memory[at : at + LENGTH_BYTES] = len(entry).to_bytes(LENGTH_BYTES, "little")

    def remove(self, answer_id: str) -> None:
        """Forget an answer that has ended."""
        if (slot := self._taken.pop(answer_id, None)) is not None:
            self._memory[slot * SLOT_BYTES : slot * SLOT_BYTES + LENGTH_BYTES] = bytes(LENGTH_BYTES)
            self._free.append(slot)

    def left(self) -> list[dict[str, Any]]:
        """The answers that were added and not removed: id and fields of each."""
        return [
            msgspec.json.decode(self._memory[at + LENGTH_BYTES : at + LENGTH_BYTES + length])
            for at in range(0, len(self._memory), SLOT_BYTES)
            if (length := int.from_bytes(self._memory[at : at + LENGTH_BYTES], "little"))
        ]
