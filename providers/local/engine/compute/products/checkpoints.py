"""AWQ's and GPTQ's int4 files, read as they are: eight numbers in each int32.

    AWQ     qweight (in, out / 8)     qzeros (groups, out / 8)     scales (groups, out)
            number i of an int32 is column ORDER[i] of its eight
    GPTQ    qweight (in / 8, out)     qzeros (groups, out / 8)     scales (groups, out)     g_idx (in,)
            zeros are stored less 1 (checkpoint_format gptq); g_idx is each input's group

    w[o, i] = (q[o, i] − z[o, g]) · s[o, g]       g = i // group_size, or g_idx[i]

Sources: the packing of AutoAWQ's GEMM kernels and of GPTQ's, as transformers loads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from providers.local.engine.compute.kernels.matrix import Matrix
from providers.local.engine.errors import CannotLoad

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
SHIFTS = torch.arange(0, 32, 4)


@dataclass(frozen=True, slots=True)
class Packing:
    """
    awq      as AWQ packs them; else as GPTQ does
    group    inputs that share a scale; −1: all
    offset   what is added to a stored zero
    """

    awq: bool
    group: int
    offset: int


def packing(config: dict[str, Any]) -> Packing | None:
    """How config.json says that the weights are packed; None if they are not. Raises CannotLoad for other ways."""
    quantised = config.get("quantization_config")
    if not quantised:
        return None
    method, bits = quantised.get("quant_method"), quantised.get("bits", quantised.get("w_bit"))
    version = str(quantised.get("version", "gemm")).lower()
    if method not in ("awq", "gptq") or bits != 4 or (method == "awq" and version != "gemm"):
        named = " ".join(
            str(each) for each in (method, bits and f"{bits} bits", version if method == "awq" else "") if each
        )
        raise CannotLoad(f"quantization_config: must be awq (gemm) or gptq of 4 bits, got {named}")
    group = quantised.get("group_size", quantised.get("q_group_size", 128))
    if not isinstance(group, int) or (group != -1 and (group < 32 or group % 32)):
        raise CannotLoad(f"quantization_config: group_size must be -1 or a multiple of 32, got {group}")
    return Packing(
        method == "awq", group, 0 if method == "awq" or quantised.get("checkpoint_format") == "gptq_v2" else 1
    )


def unpacked(packed: Tensor) -> Tensor:
    """(…, n) int32 → (…, n, 8): the eight numbers of each, from the lowest bits on."""
    return (packed.unsqueeze(-1) >> SHIFTS & 15).to(torch.uint8)


def read(
    take: Callable[..., Tensor], has: Callable[[str], bool], at: str, rows: int, wide: int, way: Packing
) -> Matrix:
    """The matrix (rows, wide) of the layer `at`.

    take   gives a tensor of the files by its name and shape
    """
    groups = 1 if way.group == -1 else -(-wide // way.group)
    zeros = unpacked(take(f"{at}.qzeros", groups, rows // 8))
    scale = take(f"{at}.scales", groups, rows).float().T.contiguous()
    order = None
    if way.awq:
        back = torch.tensor(ORDER).argsort()
        numbers = unpacked(take(f"{at}.qweight", wide, rows // 8))[..., back].flatten(1).T
        zeros = zeros[..., back]
    else:
        numbers = unpacked(take(f"{at}.qweight", wide // 8, rows)).permute(1, 0, 2).flatten(1)
        if has(f"{at}.g_idx"):
            of = take(f"{at}.g_idx", wide).long()
            if not torch.equal(of, of.sort().values):
                order = of.argsort(stable=True)
                numbers = numbers[:, order]
    zero = zeros.flatten(1).float().T.contiguous() + way.offset
    pairs = numbers.contiguous().view(rows, wide // 2, 2)
    return Matrix("int4", (pairs[..., 0] | pairs[..., 1] << 4, scale, zero), None, order)
