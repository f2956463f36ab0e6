"""Masks of the tokens with which a constrained reply may go on.

While the model computes a step's logits, the step's masks are computed in another thread (the grammar library lets go
of the interpreter's lock), so a mask costs the step only what it takes longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

Begun = Future[list[tuple[int, bytes]]]
"""A step's masks in the making, by row."""


class Constraint:
    """One reply's place in its grammar."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def advance(self, token: int) -> None:
        """The reply goes on with `token`."""
        self._matcher.consume_token(token)

    def mask(self) -> bytes:
        """One byte per token, 0 where the reply may not go on with it; all are 0 where the grammar failed."""
        allowed: bytes = self._matcher.compute_logit_bias()
        return bytes(len(allowed)) if self._matcher.is_error() else allowed


class Masks:
    """A step's masks, computed beside its forward pass."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masks")

    def begin(self, constraints: Sequence[Constraint | None]) -> Begun | None:
        """Start on the masks of the rows that have a constraint."""
        wanted = [(row, each) for row, each in enumerate(constraints) if each is not None]
        return self._thread.submit(lambda: [(row, each.mask()) for row, each in wanted]) if wanted else None

    def apply(self, begun: Begun | None, logits: Tensor) -> None:
        """Forbid in `logits` (rows, vocabulary) what the masks do not allow."""
        if begun is None:
            return
        rows, masks = zip(*begun.result(), strict=True)
        allowed = torch.frombuffer(bytearray(b"".join(masks)), dtype=torch.uint8).view(len(rows), -1)
        at = torch.tensor(rows, device=logits.device)
        forbidden = allowed.to(logits.device)[:, : logits.shape[1]] == 0
        logits.index_copy_(0, at, logits.index_select(0, at).masked_fill_(forbidden, float("-inf")))
