"""Prometheus metrics, right over several workers, on a listener of their own.

The listener is `python -m gateway.observability.metrics HOST:PORT`.

The workers write into files below $PROMETHEUS_MULTIPROC_DIR (prometheus-client's multiprocess mode); the listener is a
process beside them that adds the files up when it is asked, so a scrape never delays a stream. Every stream that
started ends in exactly one cause: `streams_started_total` = sum of `streams_ended_total` + streams in flight.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from providers.delta import Usage

if TYPE_CHECKING:
    from providers import Providers

log = logging.getLogger("sluice.metrics")

# A process's file of one kind of metric has room for some hundred series, and grows.
FILE_BYTES = 64 << 10
# A scrape that meets a file in the making, or one that goes, is tried again.
TRIES, AGAIN_S = 4, 0.02


class Allocated(MmapedDict):
    """A file of metrics whose blocks are taken from the disk before anything is written into it.

    prometheus-client's own is sparse and mapped: on a full disk the next write would kill the process by SIGBUS.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        super().__init__(filename if read_mode else _made(filename), read_mode)

    def _init_value(self, key: str) -> None:
        if self._used + 4 * len(key) + 64 > self._capacity:
            # What is about to be added, should there be no room for it. Raises OSError on a full disk.
            os.posix_fallocate(self._f.fileno(), self._capacity, self._capacity)
        super()._init_value(key)


def _made(filename: str) -> str:
    """The file, made if it is not there; whoever reads it finds it whole. Where it cannot be, one that nobody reads."""
    if os.path.exists(filename):
        return filename
    try:
        with open(f"{filename}.new", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, FILE_BYTES)
        os.replace(f"{filename}.new", filename)
    except OSError as error:
        log.error("metrics of process %d are not counted: %s: %s", os.getpid(), filename, error.strerror)
        # Its descriptor stays open with the process.
        return f"/proc/self/fd/{os.memfd_create('metrics')}"
    return filename


if hasattr(os, "posix_fallocate") and hasattr(os, "memfd_create"):
    values.MmapedDict = Allocated  # type: ignore[attr-defined]

FIRST_TOKEN_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BETWEEN_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STALL_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

STARTED = Counter("sluice_streams_started", "Answers that were begun")
ENDED = Counter("sluice_streams_ended", "Answers that ended, by cause: a finish reason or a failure code", ["cause"])
IN_FLIGHT = Gauge("sluice_streams_in_flight", "Answers being produced", multiprocess_mode="livesum")
FIRST_TOKEN = Histogram(
    "sluice_first_token_seconds", "From the question to the first text", ["provider"], buckets=FIRST_TOKEN_S
)
BETWEEN = Histogram("sluice_inter_token_seconds", "Between two reads with text", ["provider"], buckets=BETWEEN_S)
TOKENS = Counter("sluice_tokens", "Tokens as the upstream counted them", ["provider", "kind"])
STALL = Histogram("sluice_event_loop_stall_seconds", "How late the event loop ran a timer", buckets=STALL_S)
BREAKER = Gauge(
    "sluice_breaker_open", "1 while the provider's breaker is open", ["provider"], multiprocess_mode="livemax"
)
ENGINE = Gauge("sluice_engine", "The local engine's own figures", ["provider", "figure"], multiprocess_mode="livemax")


class Pace:
    """The times between one stream's reads, counted in buckets as they happen and handed over once, at its end.

    One bisection a read instead of a shared histogram's update: this runs on the hot path.
    """

    __slots__ = ("counts", "last", "total")

    def __init__(self) -> None:
        self.last: float | None = None
        self.total = 0.0
        self.counts = [0] * (len(BETWEEN_S) + 1)

    def read(self, now: float) -> None:
        """Note a read with text at `now` (seconds, monotonic)."""
        if self.last is not None:
            gap = now - self.last
            self.total += gap
            self.counts[bisect_left(BETWEEN_S, gap)] += 1
        self.last = now

    def hand_over(self, provider: str) -> None:
        """Add what was counted to the shared histogram."""
        child = BETWEEN.labels(provider)
        # What child.observe() does for one value, for all of them at once.
        child._sum.inc(self.total)
        for bucket, count in zip(child._buckets, self.counts, strict=True):
            if count:
                bucket.inc(count)


def started() -> None:
    STARTED.inc()
    IN_FLIGHT.inc()


def ended(cause: str, provider: str, usage: Usage | None, first_token_s: float | None, pace: Pace) -> None:
    """Account for an answer's end; called exactly once for each `started`."""
    IN_FLIGHT.dec()
    ENDED.labels(cause).inc()
    if first_token_s is not None:
        FIRST_TOKEN.labels(provider).observe(first_token_s)
        pace.hand_over(provider)
    if usage is not None:
        TOKENS.labels(provider, "prompt").inc(usage.prompt_tokens)
        TOKENS.labels(provider, "completion").inc(usage.completion_tokens)
        if usage.cached_tokens:
            TOKENS.labels(provider, "cached").inc(usage.cached_tokens)


# Worker's process id → what was accounted for already, should another worker get the same one.
_died: dict[int, int] = {}


def died(pid: int) -> int:
    """For the master: a worker was killed. Counts what it had not ended as `worker_died`; returns how many that is."""
    file = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) / f"counter_{pid}.db"
    missing = -_died.get(pid, 0)
    if file.exists():
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
            sample = json.loads(key)[1]
            missing += int(value) * (
                (sample == "sluice_streams_started_total") - (sample == "sluice_streams_ended_total")
            )
    if missing > 0:
        _died[pid] = _died.get(pid, 0) + missing
        ENDED.labels("worker_died").inc(missing)
    return missing


def watch(providers: Providers, every_s: float = 0.1) -> None:
    """A worker's own greenlet: how late the loop runs, and what providers say of themselves. Never returns."""
    loop = gevent.get_hub().loop
    ticks = 0
    while True:
        before = loop.now()
        gevent.sleep(every_s)
        loop.update_now()
        STALL.observe(max(0.0, loop.now() - before - every_s))
        ticks += 1
        if ticks % 20 == 0:
            try:
                _describe(providers)
            except OSError as error:
                log.error("providers' figures are not counted: %s", error.strerror)


def _describe(providers: Providers) -> None:
    for provider in providers.described():
        BREAKER.labels(provider.name).set(provider.breaker == "open")
    for name, report in providers.engines().items():
        for figure, value in report.items():
            if isinstance(value, int | float):
                ENGINE.labels(name, figure).set(value)


class Collector(MultiProcessCollector):
    """Adds the files up; one that goes while they are read is no reason to answer nothing."""

    def collect(self) -> Any:
        for _ in range(TRIES - 1):
            try:
                return super().collect()
            except Exception:  # noqa: BLE001 - a scrape that met a file in the making is repeated
                time.sleep(AGAIN_S)
        return super().collect()


def main() -> None:
    """Serve /metrics until standard input ends, which is how the master's death is noticed."""
    host, _, port = sys.argv[1].rpartition(":")
    registry = CollectorRegistry()
    Collector(registry, os.environ["PROMETHEUS_MULTIPROC_DIR"])
    try:
        start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        print(f"sluice: metrics cannot listen on {sys.argv[1]}: {error.strerror}", file=sys.stderr)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
