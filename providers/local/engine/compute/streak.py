"""Decode steps that follow each other with the same rows: each is launched before the last one's ids are read.

What such a step needs is known without the ids: every row goes on by one token. So the host keeps two numbers per row,
and looks at a sequence only where it ends or needs a block. A row whose sequence has ended stays, as a row without a
sequence, until the next planned step; what it draws is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from providers.local.engine.compute.kvcache import BLOCK_TOKENS
from providers.local.engine.sequence import ScheduledTokens, Sequence


class Streak:
    """
    chunks   one per row, all of one token, as in the planned step that began it
    steps    how many may follow at most
    dead     rows that lost their sequence since the last step
    grown    rows and the blocks that they got since the last step: row, index in its table, block
    """

    def __init__(self, chunks: list[ScheduledTokens], steps: int) -> None:
        self.chunks = chunks
        self.steps = steps
        self.dead: list[int] = []
        self.grown: list[tuple[int, int, int]] = []
        sequences = [chunk.sequence for chunk in chunks]
        self._row = {sequence: row for row, sequence in enumerate(sequences)}
        # Tokens that a row may draw beyond the step in flight, and the slots that it has for their keys.
        self._left: Any = np.array([each.max_new_tokens - each.generated - 1 for each in sequences])
        self._room: Any = np.array([len(each.blocks) * BLOCK_TOKENS - len(each.tokens) for each in sequences])
        self._alive: Any = np.ones(len(chunks), dtype=bool)

    def drop(self, sequence: Sequence) -> None:
        """The sequence takes no part any more."""
        row = self._row.pop(sequence, None)
        if row is not None:
            self._alive[row] = False
            self.dead.append(row)

    def go_on(self, take: Callable[[Sequence], bool]) -> list[int] | None:
        """The rows that the next step draws for, or None if it must be planned.

        take   gives the sequence one more block, if there is one
        """
        self.grown = []
        for row in np.flatnonzero(self._alive & (self._left <= 0)).tolist():
            self.drop(self.chunks[row].sequence)
        count = int(self._alive.sum())
        if self.steps < 1 or not count or count * 2 < len(self.chunks):
            return None
        for row in np.flatnonzero(self._alive & (self._room <= 0)).tolist():
            sequence = self.chunks[row].sequence
            if not take(sequence):
                return None
            self.grown.append((row, len(sequence.blocks) - 1, sequence.blocks[-1]))
            self._room[row] += BLOCK_TOKENS
        self.steps -= 1
        self._left -= 1
        self._room -= 1
        rows: list[int] = np.flatnonzero(self._alive).tolist()
        return rows
