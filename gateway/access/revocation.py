"""Keys that stop being valid while their answers run: they expire, or a reload no longer lists them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import gevent

from gateway.access.auth import Keys
from gateway.access.valid_keys import ValidKeys
from gateway.errors import Failure

log = logging.getLogger("sluice.keys")

CHECK_S = 0.5


class Running(Protocol):
    """The answers of a worker."""

    def end_of(self, owners: frozenset[str], failure: Failure) -> int:
        """End the running answers of these owners; returns how many."""


def watch(keys: Keys, answers: Running, folder: Path) -> None:
    """A worker's greenlet: end the answers of keys that are no longer valid. Never returns.

    folder   the run folder, where the master writes the valid keys
    """
    valid = ValidKeys(folder)
    while True:
        if (digests := valid.news()) is not None:
            keys.revoke_all_but(digests)
        end_invalid(keys, answers)
        gevent.sleep(CHECK_S)


def end_invalid(keys: Keys, answers: Running) -> None:
    """End the running answers of keys that expired or were revoked."""
    if invalid := keys.ended():
        failure = Failure("unauthorized", "Authorization: this key expired or was revoked while its answer ran")
        if count := answers.end_of(invalid, failure):
            log.warning("auth.keys: %d running answers ended, because their key is no longer valid", count)
