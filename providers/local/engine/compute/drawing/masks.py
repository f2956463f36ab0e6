"""What a step changes in its logits before it draws: masks of the tokens that constraints allow, and edits.

Masks have one bit per token, all rows in one piece; edits are rows, tokens and what is added, likewise.

While the model computes a step's logits, other threads compute the step's masks, several rows in parallel. The grammar
library releases the interpreter's lock meanwhile, so a mask costs a step only the time by which it is slower than the
forward pass.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from providers.local.engine.compute.drawing.inputs import sent
from providers.local.engine.constraint import Constraint
from providers.local.engine.sequence import Sequence

WORD = 32
PendingMasks = Future[tuple[list[int], Tensor]]
"""The constrained rows and their masks (rows, words) int32, while they are being computed."""


class Masks:
    """A step's masks, computed beside its forward pass. `vocabulary` is the width of the logits."""

    def __init__(self, vocabulary: int) -> None:
        self._words = -(-vocabulary // WORD)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masks")
        self._executor: Any = None

    def begin(self, constraints: list[Constraint | None]) -> PendingMasks | None:
        """Start on the masks of the rows that have a constraint, and are not free just now."""
        constrained = [(row, each) for row, each in enumerate(constraints) if each is not None and not each.free]
        return self._thread.submit(self._compute, constrained) if constrained else None

    def _compute(self, constrained: list[tuple[int, Constraint]]) -> tuple[list[int], Tensor]:
        from llguidance import LLExecutor

        # Not llguidance.torch: to import it compiles, which takes seconds in which no step ends.
        from llguidance.numpy import fill_next_token_bitmask_par

        self._executor = self._executor or LLExecutor()
        bits = torch.zeros(len(constrained), self._words, dtype=torch.int32)
        sound = [(each.matcher, i) for i, (_, each) in enumerate(constrained) if not each.failed]
        if sound:
            # The library refuses an empty list.
            fill_next_token_bitmask_par(self._executor, sound, bits.numpy())
        for i, (_, each) in enumerate(constrained):
            if each.failed:
                bits[i] = 0
            elif each.also is not None:
                bits[i, each.also // WORD] |= torch.tensor(1 << each.also % WORD).to(torch.int32)
        return [row for row, _ in constrained], bits

    def apply(self, pending: PendingMasks | None, logits: Tensor) -> None:
        """Forbid in `logits` (rows, vocabulary) what the masks do not allow."""
        if pending is None:
            return
        rows, bits = pending.result()
        device = logits.device
        if device.type == "cuda":
            bits = bits.pin_memory()
        shifts = torch.arange(WORD, dtype=torch.int32, device=device)
        allowed = (bits.to(device, non_blocking=True).unsqueeze(-1) >> shifts & 1).flatten(1)[:, : logits.shape[1]]
        at = sent(rows, device)
        logits.index_copy_(0, at, logits.index_select(0, at).masked_fill_(allowed == 0, float("-inf")))


Edited = tuple[Tensor, Tensor, Tensor]
"""Rows, tokens, and what is added to their logits."""


def edits(sequences: list[Sequence], generated: list[int], device: torch.device) -> Edited | None:
    """The changes that the rows' sequences ask for, see edits.py; None where there are none."""
    entries = [
        (row, token, value)
        for row, (sequence, count) in enumerate(zip(sequences, generated, strict=True))
        if sequence.edits is not None and sequence.edits.active(count)
        for token, value in sequence.edits.entries(sequence.tokens, count)
    ]
    if not entries:
        return None
    rows, tokens, values = zip(*entries, strict=True)
    at = sent([list(rows), list(tokens)], device)
    return at[0], at[1], torch.tensor(values, dtype=torch.float32).to(device, non_blocking=True)


def edit(logits: Tensor, edited: Edited | None) -> None:
    """Add to `logits` (rows, vocabulary) what `edits` said."""
    if edited is not None:
        logits.index_put_(edited[:2], edited[2].to(logits.dtype), accumulate=True)
