"""A matrix as it is kept: a few tensors, each with a row per output, so that rows are joined and reordered alike.

dense    w                         w (out, in)
int8     w ≈ q · s                 q (out, in) int8, s (out,)
fp8      w ≈ q · s                 q (out, in) float8_e4m3, s (out,)
int4     w = (q − z) · s           q (out, in / 2) uint8, two numbers a byte, the even column's in its lower half;
                                   s, z (out, in / group)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

FP8 = torch.float8_e4m3fn
# The largest number of each form.
LARGEST = {"int8": 127.0, "fp8": 448.0}
FORMS = ("int8", "fp8")


@dataclass(frozen=True, slots=True)
class Matrix:
    """
    form    dense, int8, fp8 or int4
    parts   its tensors, as above; s and z are float32
    bias    (out,), where it has one
    order   (in,) int64: which column of x each column belongs to, where a checkpoint has sorted them
    """

    form: str
    parts: tuple[Tensor, ...]
    bias: Tensor | None = None
    order: Tensor | None = None

    @property
    def rows(self) -> int:
        return len(self.parts[0])

    def pick(self, rows: slice | Tensor) -> Matrix:
        """These rows, copied."""
        bias = None if self.bias is None else self.bias[rows].clone()
        return replace(self, parts=tuple(part[rows].clone() for part in self.parts), bias=bias)

    def dense(self, dtype: torch.dtype, rows: slice = slice(None)) -> Tensor:
        """The rows' weights, (rows, in). With an order, their columns are those of x in that order."""
        parts = [part[rows] for part in self.parts]
        if self.form == "dense":
            return parts[0]
        if self.form != "int4":
            return (parts[0].float() * parts[1].unsqueeze(1)).to(dtype)
        q, s, z = parts
        numbers = torch.stack([q & 15, q >> 4], -1).view(len(q), s.shape[1], -1).float()
        return ((numbers - z.unsqueeze(-1)) * s.unsqueeze(-1)).flatten(1).to(dtype)

    def quantise(self, form: str) -> Matrix:
        """A dense matrix in another form: every row is scaled so that its largest number is the form's largest."""
        (weight,) = self.parts
        scale = (weight.abs().amax(1).float() / LARGEST[form]).clamp_(min=torch.finfo(torch.float32).tiny)
        scaled = weight.float() / scale.unsqueeze(1)
        q = scaled.round_().to(torch.int8) if form == "int8" else scaled.to(FP8)
        return replace(self, form=form, parts=(q, scale))


def joined(matrices: list[Matrix]) -> Matrix | None:
    """The rows of several matrices as one; None where their columns are in different orders."""
    first = matrices[0]
    for other in matrices[1:]:
        if (first.order is None) != (other.order is None):
            return None
        if first.order is not None and other.order is not None and not torch.equal(first.order, other.order):
            return None
    parts = tuple(torch.cat(part) for part in zip(*(each.parts for each in matrices), strict=True))
    biases = [each.bias for each in matrices if each.bias is not None]
    return replace(first, parts=parts, bias=torch.cat(biases) if biases else None)
