"""A step's masks of the tokens that its constraints allow.

While the model computes a step's logits, another thread computes the step's masks. The grammar library releases the
interpreter's lock meanwhile, so a mask costs a step only the time by which it is slower than the forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from providers.local.engine.constraint import Constraint

PendingMasks = Future[list[tuple[int, bytes]]]
"""Row and mask of each constrained row, while they are being computed."""


class Masks:
    """A step's masks, computed beside its forward pass."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masks")

    def begin(self, constraints: Sequence[Constraint | None]) -> PendingMasks | None:
        """Start on the masks of the rows that have a constraint."""
        wanted = [(row, each) for row, each in enumerate(constraints) if each is not None]
        return self._thread.submit(lambda: [(row, each.mask()) for row, each in wanted]) if wanted else None

    def apply(self, begun: PendingMasks | None, logits: Tensor) -> None:
        """Forbid in `logits` (rows, vocabulary) what the masks do not allow."""
        if begun is None:
            return
        rows, masks = zip(*begun.result(), strict=True)
        allowed = torch.frombuffer(bytearray(b"".join(masks)), dtype=torch.uint8).view(len(rows), -1)
        at = torch.tensor(rows, device=logits.device)
        forbidden = allowed.to(logits.device)[:, : logits.shape[1]] == 0
        logits.index_copy_(0, at, logits.index_select(0, at).masked_fill_(forbidden, float("-inf")))
