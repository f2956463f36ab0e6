"""The small steps of a decoder layer, each as one operation: Triton kernels for a GPU, and their twins in plain torch.

    add_norm    residual + norm                       norms.py
    rotate      norms of q and k, rope, KV write      rope.py
    decode      attention of one query per row        splitkv.py
    activate    silu(gate) · up of one product        activation.py
    product     with weights of 8 or 4 bits           products.py

`plain` has the same functions and is the judge of each kernel; it runs on every device. A module of functions is what
the model is given (`Kernels`): `plain` or `fused`. No kernel was measured on a GPU yet: they are judged in Triton's
interpreter and compiled for sm_80, sm_89 and sm_90 by the tests.
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Protocol

import torch
from torch import Tensor

from providers.local.engine.compute.kernels.matrix import Matrix

log = logging.getLogger("sluice.engine")


class Kernels(Protocol):
    """What `plain` and `fused` offer; shapes are in `plain`."""

    def add_norm(self, x: Tensor, delta: Tensor | None, post: Tensor | None, weight: Tensor, eps: float) -> Tensor: ...

    def rotate(
        self, qkv: Tensor, heads: int, turns: tuple[Tensor, Tensor] | None, positions: Tensor, slots: Tensor,
        kv: Tensor, qk_norm: Tensor | None, eps: float,
    ) -> Tensor: ...  # fmt: skip

    def decode(self, q: Tensor, kv: Tensor, tables: Tensor, lengths: Tensor) -> Tensor: ...

    def activate(self, gate_up: Tensor) -> Tensor: ...

    def product(self, x: Tensor, matrix: Matrix) -> Tensor: ...


def available(device: torch.device, dtype: torch.dtype) -> Kernels | None:
    """The kernels that work on this device: None on a CPU, and where Triton or a C compiler is missing."""
    if device.type != "cuda":
        return None
    if not importlib.util.find_spec("triton"):
        log.warning("no kernels and no CUDA graphs: Triton is not installed")
        return None
    try:
        from providers.local.engine.compute.kernels import fused

        x = torch.zeros(1, 32, device=device, dtype=dtype)
        fused.activate(fused.add_norm(x, None, None, x[0], 1e-6))
    except Exception as error:  # noqa: BLE001 - Triton raises many kinds
        log.warning("no kernels and no CUDA graphs: Triton compiles nothing (%s); is there a C compiler?", error)
        return None
    return fused
