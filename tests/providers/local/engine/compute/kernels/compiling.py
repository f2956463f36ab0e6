"""Compiles every kernel for the GPUs named on the command line, without one: prints a line for each.

In a process of its own: Triton decides when a kernel is defined whether it is compiled or interpreted.
"""

from __future__ import annotations

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from providers.local.engine.compute.kernels import activation, norms, products, rope, splitkv

B, F, L, I = "*bf16", "*fp32", "*i64", "i32"  # noqa: E741 - Triton's short names of types
HEAD = {"KV_HEADS": 4, "DIM": 128}
SPLIT = {"GROUP": 7, "ROWS": 16, "SLOTS": 16, "TILE": 64}
PRODUCT = {"ROWS": 16, "COLUMNS": 32, "DEEP": 128, "BIAS": True, "EXACT": False}
# sm_80 has no float8.
FROM = {"fp8": 89}
KERNELS: dict[str, tuple[Any, list[str], dict[str, Any]]] = {
    "add_norm": (norms.add_norm_kernel, [B, B, B, B, B, "fp32"],
                 {"SIZE": 3584, "WIDE": 4096, "DELTA": True, "POST": True}),
    "rotate": (rope.rotate_kernel, [B, B, B, L, L, B, B, "fp32"],
               HEAD | {"HEADS": 28, "HALF": 64, "TURNED": True, "NORM": True}),
    "rotate 80": (rope.rotate_kernel, [B, B, B, L, L, B, B, "fp32"],
                  {"HEADS": 32, "KV_HEADS": 32, "DIM": 80, "HALF": 64, "TURNED": True, "NORM": False}),
    "activate": (activation.activate_kernel, [B, B], {"SIZE": 18944, "WIDE": 1024}),
    "split": (splitkv.split_kernel, [B, B, L, L, F, F, "fp32", I, I],
              HEAD | SPLIT | {"WIDE": 128, "SPLITS": 64, "EXACT": False}),
    "split, whole": (splitkv.split_kernel, [B, B, L, L, B, B, "fp32", I, I],
                     HEAD | SPLIT | {"WIDE": 128, "SPLITS": 1, "EXACT": False}),
    "split 80, float32": (splitkv.split_kernel, [F, F, L, L, F, F, "fp32", I, I],
                          SPLIT | {"KV_HEADS": 4, "DIM": 80, "WIDE": 128, "SPLITS": 8, "EXACT": True}),
    "int8": (products.int8_kernel, [B, "*i8", F, B, B, I, I, I], PRODUCT),
    "int8, 64 rows": (products.int8_kernel, [B, "*i8", F, B, B, I, I, I], PRODUCT | {"ROWS": 64}),
    "int4": (products.int4_kernel, [B, "*u8", F, F, B, B, I, I, I, I], PRODUCT | {"GROUP": 128}),
    "int4, 64 rows": (products.int4_kernel, [B, "*u8", F, F, B, B, I, I, I, I], PRODUCT | {"GROUP": 128, "ROWS": 64}),
    "fp8": (products.int8_kernel, [B, "*fp8e4nv", F, B, B, I, I, I], PRODUCT),
    "join": (splitkv.join_kernel, [F, F, B], {"GROUP": 7, "DIM": 128, "WIDE": 128, "SPLITS": 64}),
}  # fmt: skip


def compiled(name: str, architecture: int) -> str:
    kernel, types, constants = KERNELS[name]
    arguments = [each for each in kernel.arg_names if each not in constants]
    signature = dict(zip(arguments, types, strict=True)) | dict.fromkeys(constants, "constexpr")
    made = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", architecture, 32))
    return f"{name} sm_{architecture}: {len(made.asm['cubin'])} bytes, {made.metadata.shared} shared"


if __name__ == "__main__":
    for architecture in map(int, sys.argv[1:]):
        for name in (name for name in KERNELS if architecture >= FROM.get(name, 0)):
            print(compiled(name, architecture), flush=True)
