"""The metrics as an overview shows them: sums over all workers, and percentiles from the histograms' buckets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from prometheus_client import REGISTRY

from gateway.observability import prometheus_files

PERCENTILES = (0.5, 0.95, 0.99)


def figures() -> dict[str, Any]:
    """Streams, and for each provider its latencies (seconds) and tokens, since the server started."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    registry = prometheus_files.registry(folder) if folder else REGISTRY
    ended: dict[str, int] = {}
    buckets: dict[tuple[str, str], list[tuple[float, float]]] = {}
    providers: dict[str, dict[str, Any]] = {}
    totals: dict[str, Any] = {"started": 0, "in_flight": 0, "ended": ended, "providers": providers}
    for metric in registry.collect():
        for sample in metric.samples:
            labels = sample.labels
            if sample.name == "sluice_streams_started_total":
                totals["started"] = int(sample.value)
            elif sample.name == "sluice_streams_in_flight":
                totals["in_flight"] += int(sample.value)
            elif sample.name == "sluice_streams_ended_total":
                ended[labels["cause"]] = int(sample.value)
            elif sample.name == "sluice_tokens_total":
                tokens = providers.setdefault(labels["provider"], {}).setdefault("tokens", {})
                tokens[labels["kind"]] = int(sample.value)
            elif sample.name in ("sluice_first_token_seconds_bucket", "sluice_inter_token_seconds_bucket"):
                name = sample.name.removeprefix("sluice_").removesuffix("_seconds_bucket")
                buckets.setdefault((labels["provider"], name), []).append((float(labels["le"]), sample.value))
    for (provider, name), counts in buckets.items():
        providers.setdefault(provider, {})[name] = percentiles(counts)
    return totals


def percentiles(buckets: Iterable[tuple[float, float]]) -> dict[str, float | int | None]:
    """{"count", "p50", "p95", "p99"} of a histogram: (upper bound, values up to it), interpolated within a bucket.

    A value above the last bound counts as that bound.
    """
    ordered = sorted(buckets)
    total = ordered[-1][1] if ordered else 0
    values: dict[str, float | int | None] = {"count": int(total)}
    for share in PERCENTILES:
        values[f"p{share * 100:g}"] = _percentile(ordered, share * total) if total else None
    return values


def _percentile(ordered: list[tuple[float, float]], rank: float) -> float:
    below, lower = 0.0, 0.0
    for bound, count in ordered:
        if count >= rank:
            if bound == float("inf"):
                return lower
            inside = (rank - below) / (count - below) if count > below else 1.0
            return round(lower + (bound - lower) * inside, 4)
        below, lower = count, bound
    return lower
