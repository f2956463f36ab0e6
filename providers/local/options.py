"""How an engine runs: the options that the supervisor passes to it at its start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.configuration import ProviderConfiguration


ENVIRONMENT = {
    # How long OpenMP's threads spin before they sleep; it matters for `threads` > 1. With OpenMP's default, a second
    # thread on a busy core made the engine forty times slower than one thread. On two free cores decode steps of 4
    # sequences take 8.5 ms with this value and 10.7 with 1,000, of 16 sequences 14.0 and 15.2; more gains nothing.
    "GOMP_SPINCOUNT": "20000",
    # Weights in pages of 2 MB: a decode step of 4 sequences takes 8.5 ms instead of 9.4. Freed memory
    # is kept: to map and zero a step's large tensors again takes 5 % of a prompt's time.
    "GLIBC_TUNABLES": ":".join(
        ("glibc.malloc.hugetlb=1", "glibc.malloc.trim_threshold=1073741824", "glibc.malloc.mmap_threshold=33554432")
    ),
    # Prompts are tokenised beside the steps, which need the cores.
    "TOKENIZERS_PARALLELISM": "false",
}
"""Variables of an engine's process; those that are already set win."""


@dataclass(slots=True)
class Options:
    """None means "auto": the engine chooses by the machine and the model.

    model          a folder, or a hub name
    kv_cache_mb    MiB of keys and values
    max_context    tokens, prompt and reply together; at most what the model was made for
    weights        auto, int8 or fp8: what matrices are turned into when they are loaded
    graphs         whether a GPU's decode steps are captured as CUDA graphs
    threads        CPU threads; auto is cores − 1, at least 1
    """

    model: str
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    max_batch: int = 64
    max_queue: int = 256
    max_context: int | None = None
    kv_cache_mb: int | None = None
    graphs: bool = True
    weights: str = "auto"


def _number(value: int | str) -> int | None:
    return None if isinstance(value, str) else value


def of(configuration: ProviderConfiguration) -> list[Options]:
    """One engine's options per device that the provider's configuration lists."""
    return [
        Options(
            model=configuration.model,
            device=device,
            dtype=configuration.dtype,
            threads=_number(configuration.threads),
            max_batch=configuration.max_batch,
            max_queue=configuration.max_queue,
            max_context=_number(configuration.max_context),
            kv_cache_mb=_number(configuration.kv_cache_mb),
            graphs=configuration.graphs,
            weights=configuration.weights,
        )
        for device in configuration.device
    ]
