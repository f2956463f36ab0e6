"""What fits: the machine's memory, the dtype, the number of KV blocks."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from providers.local.engine.compute.config import ModelConfig
from providers.local.engine.compute.graphs import graph_bytes
from providers.local.engine.compute.kvcache import BLOCK_TOKENS, block_bytes
from providers.local.engine.compute.products.checkpoints import packing
from providers.local.engine.compute.torch_private import packs_bfloat16
from providers.local.engine.errors import CannotLoad
from providers.local.engine.serving.folder import Folder
from providers.local.options import Options

log = logging.getLogger("sluice.engine")

MB = 1 << 20
CGROUP = Path("/sys/fs/cgroup")
# What a forward pass needs beside weights and cache: activations, logits, buffers.
WORKING_BYTES = 256 * MB
# From here on GPUs have float8.
FP8_CAPABILITY = (8, 9)
# Above, bf16 is faster on CPUs that multiply it: 577 against 420 tokens/s at 7 M parameters; about equal at 3 M.
BF16_PARAMETERS = 6_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model will lie in memory. blocks includes the null block; max_context is in tokens.

    form   what its matrices are turned into: int8, fp8, or None
    """

    device: torch.device
    dtype: torch.dtype
    weight_bytes: int
    block_bytes: int
    blocks: int
    max_context: int
    form: str | None = None


def choose_device(name: str) -> torch.device:
    """The device that `name` means. Raises CannotLoad if it is not there."""
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise CannotLoad(f"device: must be auto, cpu or cuda:0, cuda:1, …, got {name}") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise CannotLoad(f"device: this machine has {count} CUDA devices, got {name}")
        # Triton launches on the current device, and graphs capture its stream.
        torch.cuda.set_device(device)
        # cuDNN makes a new plan for every length, and prompts have all lengths.
        torch.backends.cuda.enable_cudnn_sdp(False)
    elif device.type != "cpu":
        raise CannotLoad(f"device: must be auto, cpu or cuda:0, cuda:1, …, got {name}")
    return device


def choose_dtype(name: str, device: torch.device, config: ModelConfig) -> torch.dtype:
    """The dtype that `name` means; auto is bfloat16 on a GPU, and for large models on a CPU that multiplies it."""
    without = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if without and name in ("auto", "bfloat16"):
        log.warning("this GPU has no bfloat16: float16 is used")
        return torch.float16
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16
    return torch.bfloat16 if config.parameters > BF16_PARAMETERS and _multiplies_bf16() else torch.float32


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
            # The system gives up pages of files, the weights among them, when memory is needed.
            files = int(counted["inactive_file"]) + int(counted["active_file"])
            free = min(free, int(limit) - int((CGROUP / "memory.current").read_text()) + files)
    except (OSError, ValueError, KeyError):
        pass
    return free


def plan(folder: Folder, config: ModelConfig, options: Options, shortest: int = 1) -> Plan:
    """Plan the weights first, then as many blocks as are configured or fit. Raises CannotLoad.

    shortest   tokens of the shortest possible prompt
    """
    max_context = config.max_context if options.max_context is None else options.max_context
    if max_context > config.max_context:
        raise CannotLoad(
            f"max_context: must be at most {config.max_context:,}, the context of {folder.name}, got {max_context}"
        )
    if max_context <= shortest:
        raise CannotLoad(
            f"max_context: must be more than {shortest}, the shortest prompt of {folder.name}, got {max_context}"
        )
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, device, config)
    packed = packing(folder.config)
    form = choose_form(options.weights, device, packed is not None)
    # oneDNN keeps a reordered copy of a tied embedding for the last product.
    copied = config.vocabulary * config.hidden if config.tied and device.type == "cpu" and not form else 0
    numbers = config.parameters + copied
    if form or packed:
        weight_bytes = _quantised_bytes(config, dtype, form)
    elif dtype == torch.bfloat16 and device.type == "cpu" and not packs_bfloat16():
        # Its products of bfloat16 are several times slower than those of float32.
        if numbers * torch.float32.itemsize + WORKING_BYTES < free_bytes(device):
            log.warning("this CPU has no AVX-512 to multiply bfloat16 with: float32 is used, twice the memory")
            dtype = torch.float32
        else:
            log.warning("this CPU has no AVX-512 to multiply bfloat16 with, and float32 does not fit: it will be slow")
    if not (form or packed):
        weight_bytes = numbers * dtype.itemsize
    working = WORKING_BYTES
    if device.type == "cuda":
        # Graphs and the sampler's buffers are allocated after the cache: 1.9 GB for 256 sequences and 152k tokens.
        working += graph_bytes(options.max_batch, max_context, config.vocabulary)
    free = free_bytes(device) - weight_bytes - working
    if free < 0:
        raise CannotLoad(
            f"{folder.name} does not fit: its weights take {weight_bytes / MB:,.0f} MB as {_name(dtype)}, "
            f"and {max(0, free + weight_bytes) / MB:,.0f} MB are free on {device}"
        )
    per_block = block_bytes(config, dtype)
    if options.kv_cache_mb is None:
        whole = options.max_batch * -(-max_context // BLOCK_TOKENS)
        # A GPU is ours alone; on a CPU other processes need memory too.
        blocks = min(whole, int(free * (0.9 if device.type == "cuda" else 0.5)) // per_block)
    else:
        blocks = options.kv_cache_mb * MB // per_block
        if blocks * per_block > free:
            raise CannotLoad(
                f"kv_cache_mb: must be at most {free / MB:,.0f}, the memory left on {device}, got {options.kv_cache_mb}"
            )
    if blocks < 2 or blocks * BLOCK_TOKENS <= shortest:
        raise CannotLoad(f"kv_cache_mb: too small, the KV cache would hold only {blocks * BLOCK_TOKENS} tokens")
    context = min(max_context, blocks * BLOCK_TOKENS)
    return Plan(device, dtype, weight_bytes, per_block, blocks + 1, context, form)


def choose_form(name: str, device: torch.device, packed: bool) -> str | None:
    """What matrices are turned into; None leaves them. Raises CannotLoad if that cannot be."""
    if name == "auto":
        return None
    if packed:
        raise CannotLoad(f"weights: must be auto, the model's weights have 4 bits already, got {name}")
    if name == "fp8" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < FP8_CAPABILITY):
        raise CannotLoad(f"weights: fp8 needs a GPU of compute capability 8.9 or more, {device} has none; use int8")
    return name


def _quantised_bytes(config: ModelConfig, dtype: torch.dtype, form: str | None) -> int:
    """Bytes of weights of fewer bits: the embedding stays dense, and so does the head beside int4 matrices."""
    embedding = config.vocabulary * config.hidden
    heads = 0 if config.tied else embedding
    matrices = config.parameters - embedding - heads
    if form is None:
        # 4 bits a number, and a scale and a zero in float32 for 128 of them.
        return matrices * 9 // 16 + (embedding + heads) * dtype.itemsize
    return matrices + embedding * (1 + dtype.itemsize)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
