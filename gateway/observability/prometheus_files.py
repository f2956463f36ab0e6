"""prometheus-client's metric files: everything here that its documentation does not promise.

tests/contracts/test_prometheus_client.py names each attribute used here, and says what to look at when a new version
lacks one.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.observability.metric_files import ENDED, SUMMED

log = logging.getLogger("sluice.metrics")

# The size of a process's new file for one kind of metric: room for some hundred series. It grows.
FILE_BYTES = 64 << 10
_folding = threading.Lock()
# A scrape that meets a file while it is created or removed is repeated: how often, and after how many seconds.
TRIES, AGAIN_S = 4, 0.02


class Allocated(MmapedDict):
    """A metric file whose blocks are allocated on the disk before anything is written into it.

    prometheus-client's own file is sparse and mapped: on a full disk the next write would kill the process by SIGBUS.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        super().__init__(filename if read_mode else _created(filename), read_mode)

    def _init_value(self, key: str) -> None:
        if self._used + 4 * len(key) + 64 > self._capacity:
            # The base class is about to double the file. Raises OSError on a full disk.
            os.posix_fallocate(self._f.fileno(), self._capacity, self._capacity)
        super()._init_value(key)


def _created(filename: str) -> str:
    """The file's name, created with its blocks if it does not exist; a reader never sees it half made.

    Where it cannot be created: the name of an anonymous file, so that the process goes on without being counted.
    """
    if os.path.exists(filename):
        return filename
    try:
        with open(f"{filename}.new", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
        os.replace(f"{filename}.new", filename)
    except OSError as error:
        log.error("metrics: process %d is not counted: %s", os.getpid(), error.strerror)
        # Its descriptor stays open with the process.
        return f"/proc/self/fd/{os.memfd_create('metrics')}"
    return filename


def allocate_blocks() -> None:
    """Have prometheus-client use `Allocated`, on systems that can."""
    if hasattr(os, "posix_fallocate") and hasattr(os, "memfd_create"):
        values.MmapedDict = Allocated  # type: ignore[attr-defined]


def add_observations(child: Any, counts: Sequence[int], total: float) -> None:
    """Add many observations to a histogram's labelled child at once; its observe() takes one.

    counts   observations by bucket, the last one being +Inf
    total    the sum of the observed values
    """
    child._sum.inc(total)
    for bucket, count in zip(child._buckets, counts, strict=True):
        if count:
            bucket.inc(count)


def samples(file: Path) -> Iterator[tuple[str, float]]:
    """Name and value of each sample in a metric file, whatever its labels."""
    for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
        yield json.loads(key)[1], value


def fold(folder: Path) -> None:
    """Add the files of ended processes to one file for each kind, and remove them: a scrape reads only what is left.

    Called by the one process that reads the files, before it reads them. Raises OSError.
    """
    for kind in SUMMED:
        ended = list(folder.glob(f"{kind}_{ENDED}*.db"))
        if not ended:
            continue
        folded = folder / f"{kind}_folded.db"
        sums: dict[str, float] = {}
        for file in [*ended, *([folded] if folded.exists() else [])]:
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
                sums[key] = sums.get(key, 0.0) + value
        new = folder / f"{kind}_folded.new"
        new.unlink(missing_ok=True)
        written = MmapedDict(str(new))
        for key, value in sums.items():
            written.write_value(key, value, 0.0)
        written.close()
        os.replace(new, folded)
        for file in ended:
            file.unlink(missing_ok=True)


class Collector(MultiProcessCollector):
    """Sums the files; a file that is removed while they are read must not fail the scrape."""

    def collect(self) -> Any:
        with _folding:
            try:
                fold(Path(self._path))
            except (OSError, ValueError) as error:
                log.error("metrics: files of ended workers are not folded: %s", type(error).__name__)
        for _ in range(TRIES - 1):
            try:
                return super().collect()
            except Exception:  # noqa: BLE001 - a scrape that met a file in the making is repeated
                time.sleep(AGAIN_S)
        return super().collect()


def registry(folder: str) -> CollectorRegistry:
    """What a scrape reads: the sum of the metric files in `folder`."""
    files = CollectorRegistry()
    Collector(files, folder)
    return files
