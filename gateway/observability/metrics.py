"""Prometheus metrics, summed over the workers, on a listener of their own.

The listener is `python -m gateway.observability.metrics HOST:PORT`.

The workers write into files below $PROMETHEUS_MULTIPROC_DIR (prometheus-client's multiprocess mode). The listener is a
separate process that sums the files at each scrape, so a scrape never delays a stream. Every stream that started ends
with exactly one cause: `streams_started_total` = sum of `streams_ended_total` + streams in flight.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import gevent
from prometheus_client import Counter, Gauge, Histogram, start_http_server

from gateway.observability import prometheus_files
from providers.delta import Usage

if TYPE_CHECKING:
    from providers import Providers

log = logging.getLogger("sluice.metrics")

prometheus_files.allocate_blocks()

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
DATABASE = Gauge(
    "sluice_database_up",
    "1 while the database could be asked at the last try",
    ["database"],
    multiprocess_mode="livemin",
)
DESCRIPTORS = Gauge("sluice_open_descriptors", "Open files and sockets of all workers", multiprocess_mode="livesum")
ENGINE = Gauge("sluice_engine", "The local engine's own figures", ["provider", "figure"], multiprocess_mode="livemax")


@functools.cache
def _redis() -> Gauge:
    """Made in a worker that has a Redis: a gauge without labels is 0 in every process that makes it, the master too."""
    return Gauge("sluice_redis_up", "1 while answers are shared over Redis", multiprocess_mode="livemin")


# labels() checks its arguments and takes a lock: a tenth of what an answer costs beside its text. The labels are few:
# providers and causes.
@functools.lru_cache(maxsize=1024)
def _ended(cause: str) -> Counter:
    return ENDED.labels(cause)


@functools.lru_cache(maxsize=1024)
def _first_token(provider: str) -> Histogram:
    return FIRST_TOKEN.labels(provider)


@functools.lru_cache(maxsize=1024)
def _between(provider: str) -> Histogram:
    return BETWEEN.labels(provider)


@functools.lru_cache(maxsize=1024)
def _tokens(provider: str, kind: str) -> Counter:
    return TOKENS.labels(provider, kind)


class Pace:
    """The times between one stream's reads, counted in buckets as they happen and added to the histogram at its end.

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
        """Add the counts to the shared histogram."""
        prometheus_files.add_observations(_between(provider), self.counts, self.total)


def started() -> None:
    STARTED.inc()
    IN_FLIGHT.inc()


def ended(cause: str, provider: str, usage: Usage | None, first_token_s: float | None, pace: Pace) -> None:
    """Count an answer's end; called exactly once for each `started`."""
    IN_FLIGHT.dec()
    _ended(cause).inc()
    if first_token_s is not None:
        _first_token(provider).observe(first_token_s)
        pace.hand_over(provider)
    if usage is not None:
        _tokens(provider, "prompt").inc(usage.prompt_tokens)
        _tokens(provider, "completion").inc(usage.completion_tokens)
        if usage.cached_tokens:
            _tokens(provider, "cached").inc(usage.cached_tokens)


# Process id of a killed worker → answers counted already, in case another worker gets the same id.
_died: dict[int, int] = {}


def died(pid: int) -> int:
    """For the master, when a worker was killed: count its unfinished answers as `worker_died`; returns how many."""
    file = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]) / f"counter_{pid}.db"
    missing = -_died.get(pid, 0)
    if file.exists():
        for sample, value in prometheus_files.samples(file):
            missing += int(value) * (
                (sample == "sluice_streams_started_total") - (sample == "sluice_streams_ended_total")
            )
    if missing > 0:
        _died[pid] = _died.get(pid, 0) + missing
        ENDED.labels("worker_died").inc(missing)
    return missing


class Watched(Protocol):
    """What a worker's gateway says of itself; context.Sluice."""

    providers: Providers
    databases: Iterable[Any]
    answers: Any


# The loop's timer, and how many of its ticks pass between two looks at providers, databases and Redis.
TICK_S, DESCRIBE_EVERY = 0.1, 20
# Ticks between two new tries to reach a database that could not be asked.
RETRY_EVERY = 300


def watch(sluice: Watched) -> None:
    """A worker's greenlet: measures how late the loop runs, and records the worker's own figures. Never returns."""
    loop = gevent.get_hub().loop
    ticks = 0
    while True:
        before = loop.now()
        gevent.sleep(TICK_S)
        loop.update_now()
        late_s = max(0.0, loop.now() - before - TICK_S)
        sluice.answers.lateness.ran(late_s, time.monotonic() + TICK_S)
        STALL.observe(late_s)
        ticks += 1
        if ticks % DESCRIBE_EVERY == 0:
            try:
                _describe(sluice)
            except OSError as error:
                log.error("metrics: the worker's own figures are not counted: %s", error.strerror)
        if ticks % RETRY_EVERY == 0:
            for database in sluice.databases:
                if database.trouble:
                    gevent.spawn(database.check)


def _describe(sluice: Watched) -> None:
    for provider in sluice.providers.described():
        BREAKER.labels(provider.name).set(provider.breaker == "open")
    for name, report in sluice.providers.engines().items():
        for figure, value in report.items():
            if isinstance(value, int | float):
                ENGINE.labels(name, figure).set(value)
    for database in sluice.databases:
        DATABASE.labels(database.name).set(database.trouble is None)
    if sluice.answers.shared is not None:
        _redis().set(sluice.answers.shared.up)
    with contextlib.suppress(OSError):
        DESCRIPTORS.set(len(os.listdir("/proc/self/fd")))


def main() -> None:
    """Serve /metrics until standard input ends, which is how the master's death is noticed."""
    host, _, port = sys.argv[1].rpartition(":")
    registry = prometheus_files.registry(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    try:
        start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        print(f"sluice: server.metrics_bind: cannot listen on {sys.argv[1]}: {error.strerror}", file=sys.stderr)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
