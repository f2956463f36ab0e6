"""The digests of the keys that are valid now: the master writes them at each start and reload, its workers read them.

So old workers, which finish their answers with the configuration they began with, learn which keys were revoked.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from gateway.settings import Settings

FILE = "keys.json"


def publish(settings: Settings, folder: Path) -> None:
    """Write the digests into the run folder, whole or not at all. Raises OSError."""
    new = folder / f"{FILE}.new"
    new.write_text(json.dumps([key.sha256 for key in settings.auth.keys]), "utf-8")
    os.replace(new, folder / FILE)


class ValidKeys:
    """A worker's view of that file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._read_at = 0

    def news(self) -> list[str] | None:
        """The digests, if the file was written since the last call; else None."""
        try:
            written_at = self._file.stat().st_mtime_ns
            if written_at == self._read_at:
                return None
            digests: list[str] = json.loads(self._file.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        self._read_at = written_at
        return digests
