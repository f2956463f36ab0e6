"""Figures of the operator's overview: percentiles from buckets, the last day by provider, database and key."""

from __future__ import annotations

import pytest

from gateway.observability.figures import percentiles
from gateway.observability.recent import FAILURES, HOURS, OTHER, ROWS, Recent

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("buckets", "p50", "p99"),
    [
        ([(1, 10), (2, 10), (INFINITE, 10)], 0.5, 0.99),
        ([(1, 0), (2, 100), (INFINITE, 100)], 1.5, 1.99),
        ([(1, 50), (2, 100), (INFINITE, 100)], 1.0, 1.98),
        ([(1, 0), (2, 0), (INFINITE, 4)], 2, 2),
    ],
)
def test_a_percentile_is_interpolated_within_its_bucket(buckets, p50, p99):
    found = percentiles(reversed(buckets))
    assert (found["p50"], found["p99"]) == pytest.approx((p50, p99))
    assert found["count"] == buckets[-1][1]


def test_a_histogram_without_values_has_no_percentiles():
    assert percentiles([(1, 0), (INFINITE, 0)]) == {"count": 0, "p50": None, "p95": None, "p99": None}


def ended(**more):
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    known = {
        "provider": "local",
        "database": "metro",
        "key": "team",
        "cause": "stop",
        "usage": usage,
        "request_id": "r",
    }
    return known | more


def test_a_day_is_counted_by_provider_database_and_key():
    now = [1_000_000.0]
    recent = Recent(lambda: now[0])
    recent.add(ended())
    now[0] += 3600 * (HOURS - 1)
    recent.add(ended(cause="upstream_error", message="it failed", usage=None, request_id="r-2"))
    recent.add(ended(database=None, key=None))
    assert recent.day() == [
        {"provider": "local", "database": "metro", "key": "team", "answers": 2, "failures": 1, "prompt_tokens": 10,
         "completion_tokens": 5},
        {"provider": "local", "database": None, "key": None, "answers": 1, "failures": 0, "prompt_tokens": 10,
         "completion_tokens": 5},
    ]  # fmt: skip
    assert [failure["request_id"] for failure in recent.failures()] == ["r-2"]
    now[0] += 3600
    assert recent.day()[0]["answers"] == 1  # the first answer is more than a day old


def test_memory_is_bounded():
    recent = Recent(lambda: 0.0)
    for n in range(ROWS + 10):
        recent.add(ended(key=f"k{n}", message="no"))
    rows = recent.day()
    assert len(rows) == ROWS + 1 and rows[0]["key"] == OTHER and rows[0]["answers"] == 10
    assert len(recent.failures()) == FAILURES
