"""How an engine is to run: what the keeper hands it, once, at its start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.configuration import ProviderConfiguration


ENVIRONMENT = {
    # How long OpenMP's threads spin before they sleep; it matters where `threads` > 1. With its default, a second
    # thread on a core that somebody else wants made the engine forty times slower than one thread alone. On two free
    # cores decode steps of 4 sequences take 8.5 ms with this and 10.7 with 1,000, of 16 14.0 and 15.2; more gains
    # nothing.
    "GOMP_SPINCOUNT": "20000",
    # Weights in pages of 2 MB: a decode step of 4 sequences takes 8.5 ms instead of 9.4. And memory that was had is
    # kept: a step's large tensors would be mapped and zeroed again, 5 % of a prompt's time.
    "GLIBC_TUNABLES": ":".join(
        ("glibc.malloc.hugetlb=1", "glibc.malloc.trim_threshold=1073741824", "glibc.malloc.mmap_threshold=33554432")
    ),
    # A prompt is tokenised beside the steps, and the cores are theirs.
    "TOKENIZERS_PARALLELISM": "false",
}
"""What an engine's process is started with, where the environment does not say otherwise."""


@dataclass(slots=True)
class Options:
    """None means "auto": the engine chooses by what the machine and the model are.

    model          a folder, or a hub name that the user wrote
    kv_cache_mb    MiB of keys and values
    max_context    tokens, prompt and reply together; at most what the model was made for
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


def _told(value: int | str) -> int | None:
    return None if isinstance(value, str) else value


def of(configuration: ProviderConfiguration) -> list[Options]:
    """One engine's options per device that the provider's configuration lists."""
    return [
        Options(
            model=configuration.model,
            device=device,
            dtype=configuration.dtype,
            threads=_told(configuration.threads),
            max_batch=configuration.max_batch,
            max_queue=configuration.max_queue,
            max_context=_told(configuration.max_context),
            kv_cache_mb=_told(configuration.kv_cache_mb),
        )
        for device in configuration.device
    ]
