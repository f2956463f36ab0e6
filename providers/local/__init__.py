"""The local provider: the engine is a separate process, reached over a Unix stream socket.

client.py       runs in the gateway's worker: sends requests, delivers each sequence's deltas
wire.py         the messages between worker and engine, and their frames
supervisor.py   starts the engine, watches its heartbeat, restarts it
engine/         the generator; nothing else imports torch
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
    """The folder of this server's sockets: $SLUICE_RUN_DIR, else one named after the user and the configuration."""
    if chosen := os.environ.get("SLUICE_RUN_DIR"):
        return Path(chosen)
    configuration = os.path.abspath(os.environ.get("SLUICE_CONFIG", "sluice.yaml"))
    name = hashlib.sha256(configuration.encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"sluice-{os.getuid()}-{name}"


def socket_path(provider_name: str, configuration: ProviderConfiguration, device: int = 0) -> Path:
    """The socket of a provider's engine; `device` is its number among the configured devices.

    The name is hashed because a socket's whole path may have at most 107 bytes.
    """
    identity = f"{provider_name}\0{configuration.model}\0{device}"
    return run_dir() / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.sock"
