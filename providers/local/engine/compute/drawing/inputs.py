"""What rows are drawn by, as tensors on the device, and how numbers come there."""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor

from providers.sampling import OFF

# The lines of Inputs.numbers: each parameter of providers/sampling.py that a draw depends on, then what is kept for it.
# A seed is two lines, because float64 holds 53 bits.
NUMBERS = (*OFF, "seen", "position", "seed_low", "seed_high")
LINE = {name: line for line, name in enumerate(NUMBERS)}


class Inputs:
    """What rows are drawn by, as tensors.

    numbers   (lines, rows)   float64   NUMBERS, a line each
    seen      (rows, tokens)  int64     the tokens that penalties fall on, in the first `seen` columns
    times     (rows, tokens)  float32   how often each was generated
    """

    def __init__(self, rows: int, tokens: int, device: torch.device) -> None:
        # A captured size reads the first len(NUMBERS) · size of it as its lines, so that they come in one copy.
        self._flat = torch.zeros(len(NUMBERS) * rows, dtype=torch.float64, device=device)
        self.numbers = self._flat.view(len(NUMBERS), rows)
        self.seen = torch.zeros(rows, tokens, dtype=torch.int64, device=device)
        self.times = torch.zeros(rows, tokens, dtype=torch.float32, device=device)

    def first(self, rows: int) -> Inputs:
        """The first rows: of a captured size's tensors, those that hold a sequence."""
        part = copy(self)
        part.numbers, part.seen, part.times = self.numbers[:, :rows], self.seen[:rows], self.times[:rows]
        return part

    def part(self, rows: int) -> Inputs:
        """The same memory for fewer rows."""
        part = copy(self)
        part.numbers = self._flat[: len(NUMBERS) * rows].view(len(NUMBERS), rows)
        part.seen, part.times = self.seen[:rows], self.times[:rows]
        return part

    def note(self, tokens: Tensor) -> None:
        """Every row has drawn one more token, (rows,): penalties fall on it from now on."""
        wide = self.seen.shape[1]
        count = self.numbers[LINE["seen"]].long()
        here = (self.seen == tokens.unsqueeze(1)) & (torch.arange(wide, device=tokens.device) < count.unsqueeze(1))
        known, at = here.max(1)
        at = torch.where(known, at, count.clamp(max=wide - 1)).unsqueeze(1)
        fresh = torch.where(known.unsqueeze(1), self.times.gather(1, at), 0)
        self.seen.scatter_(1, at, tokens.unsqueeze(1))
        self.times.scatter_(1, at, fresh + 1)
        self.numbers[LINE["seen"]] += ~known


def sent(values: list[int] | list[list[int]], device: torch.device) -> Tensor:
    """Whole numbers on the device, without waiting for what runs there."""
    pinned = torch.tensor(values, dtype=torch.int64, pin_memory=device.type == "cuda")
    return pinned.to(device, non_blocking=True)
