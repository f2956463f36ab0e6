"""How an engine is to run: what the keeper hands it, once, at its start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.configuration import ProviderConfiguration


@dataclass(slots=True)
class Options:
    """None means "auto": the engine chooses by what the machine and the model are.

    model          a folder, or a hub name that the user wrote
    kv_cache_mb    MiB of keys and values
    max_context    tokens, prompt and reply together
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
