"""The local provider: a generator in a process of its own, reached over a Unix stream socket.

client.py   in the gateway's worker: asks, and delivers each sequence's deltas
wire.py     the messages between the two, and their frames
keeper.py   starts the engine, watches its beat, restarts it
engine/     the generator; the only place that imports torch
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from providers.configuration import ProviderConfiguration


def run_dir() -> Path:
    """Where this server's sockets lie: $SLUICE_RUN_DIR, or a folder that follows from user and configuration."""
    if told := os.environ.get("SLUICE_RUN_DIR"):
        return Path(told)
    configuration = os.path.abspath(os.environ.get("SLUICE_CONFIG", "sluice.yaml"))
    name = hashlib.sha256(configuration.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"sluice-{os.getuid()}-{name}"


def socket_path(provider_name: str, configuration: ProviderConfiguration, device: int = 0) -> Path:
    """The socket of a provider's engine; of its `device`-th one where the configuration lists several devices.

    The name is hashed because a socket's whole path may have at most 107 bytes.
    """
    told = f"{provider_name}\0{configuration.model}\0{device}"
    return run_dir() / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.sock"
