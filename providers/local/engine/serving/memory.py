"""What fits: the machine's memory, the dtype, the number of KV blocks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from providers.local.engine.compute.config import Shape
from providers.local.engine.compute.graphs import graph_bytes
from providers.local.engine.compute.kvcache import BLOCK_TOKENS, block_bytes
from providers.local.engine.errors import CannotLoad
from providers.local.engine.serving.folder import Folder
from providers.local.options import Options

MB = 1 << 20
CGROUP = Path("/sys/fs/cgroup")
# What a forward pass needs beside weights and cache: activations, logits, buffers.
WORKING_BYTES = 256 * MB
# Above, bf16 is faster on CPUs that multiply it: 577 against 420 tokens/s at 7 M parameters; about equal at 3 M.
BF16_PARAMETERS = 6_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model will lie in memory. blocks includes the null block; max_context is in tokens."""

    device: torch.device
    dtype: torch.dtype
    weight_bytes: int
    block_bytes: int
    blocks: int
    max_context: int


def choose_device(told: str) -> torch.device:
    """The device that `told` names. Raises CannotLoad if it is not there."""
    if told == "auto":
        told = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(told)
    except RuntimeError:
        raise CannotLoad(f"device {told} is not known; it is auto, cpu or cuda:0, cuda:1, …") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise CannotLoad(f"device {told} is not there; this machine shows {count} CUDA devices")
        # Triton launches on the current device, and graphs capture its stream.
        torch.cuda.set_device(device)
        # It plans anew for every length that it sees, and prompts have all lengths.
        torch.backends.cuda.enable_cudnn_sdp(False)
    elif device.type != "cpu":
        raise CannotLoad(f"device {told} is not served; it is auto, cpu or cuda:0, cuda:1, …")
    return device


def choose_dtype(told: str, device: torch.device, shape: Shape) -> torch.dtype:
    """The dtype that `told` names; auto is bfloat16 on a GPU, and for large models on a CPU that multiplies it."""
    if told != "auto":
        dtype: torch.dtype = getattr(torch, told)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if shape.parameters > BF16_PARAMETERS and _multiplies_bf16() else torch.float32


def _multiplies_bf16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def free_bytes(device: torch.device) -> int:
    """Memory that this process could still have."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
        limit = (CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            counted = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
            # Pages of files that were read, the weights among them, are given up for whoever wants memory.
            files = int(counted["inactive_file"]) + int(counted["active_file"])
            free = min(free, int(limit) - int((CGROUP / "memory.current").read_text()) + files)
    except (OSError, ValueError, KeyError):
        pass
    return free


def plan(folder: Folder, shape: Shape, options: Options, shortest: int = 1) -> Plan:
    """Weights first, then as many blocks as are wanted or fit. Raises CannotLoad.

    shortest   tokens of the shortest prompt that there can be
    """
    max_context = shape.max_context if options.max_context is None else options.max_context
    if max_context > shape.max_context:
        raise CannotLoad(
            f"max_context {max_context} is more than the {shape.max_context:,} tokens that {folder.name} was made for"
        )
    if max_context <= shortest:
        raise CannotLoad(
            f"max_context {max_context} leaves no room for a reply: the shortest prompt of {folder.name} "
            f"has {shortest} tokens"
        )
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device, shape)
    weight_bytes = shape.parameters * dtype.itemsize
    if shape.tied and device.type == "cpu":
        # As the last product's matrix the embedding is there a second time, reordered.
        weight_bytes += shape.vocabulary * shape.hidden * dtype.itemsize
    working = WORKING_BYTES
    if device.type == "cuda":
        # Graphs are captured when the cache is there already; with them come the sampler's buffers: for 256 sequences
        # and 152k tokens 1.9 GB, 13 MB of which are the tokens that penalties fall on.
        working += graph_bytes(options.max_batch, max_context, shape.vocabulary)
    free = free_bytes(device) - weight_bytes - working
    if free < 0:
        raise CannotLoad(
            f"{folder.name} does not fit: its weights take {weight_bytes / MB:,.0f} MB as {_name(dtype)}, "
            f"and {max(0, free + weight_bytes) / MB:,.0f} MB are free on {device}"
        )
    per_block = block_bytes(shape, dtype)
    if options.kv_cache_mb is None:
        whole = options.max_batch * -(-max_context // BLOCK_TOKENS)
        # On a GPU nothing else wants the memory; on a CPU other processes do.
        blocks = min(whole, int(free * (0.9 if device.type == "cuda" else 0.5)) // per_block)
    else:
        blocks = options.kv_cache_mb * MB // per_block
        if blocks * per_block > free:
            raise CannotLoad(
                f"kv_cache_mb {options.kv_cache_mb} does not fit: {free / MB:,.0f} MB are left on {device}"
            )
    if blocks < 2 or blocks * BLOCK_TOKENS <= shortest:
        raise CannotLoad(f"the KV cache would hold {blocks * BLOCK_TOKENS} tokens; give it more memory (kv_cache_mb)")
    return Plan(device, dtype, weight_bytes, per_block, blocks + 1, min(max_context, blocks * BLOCK_TOKENS))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
