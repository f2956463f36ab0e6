"""Every fault of the table, on every wire where it can happen, against a real server."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Iterator

import gevent
import pytest

from providers import Providers
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.scripted import Upstream
from tests.upstream.faults import (
    CANARIES,
    CLOSED_WITHIN_S,
    HOSTED,
    QUESTION,
    TIMEOUTS,
    Outcome,
    Row,
    all_outcomes,
    ask,
    judge,
    rows,
)
from tests.waiting import eventually


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


class Kept(logging.Handler):
    """Everything that any logger says."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(logging.Formatter().format(record))


@pytest.fixture(scope="module")
def log() -> Iterator[list[str]]:
    handler, root = Kept(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler.said
    root.removeHandler(handler)
    root.setLevel(level)


def greenlets() -> int:
    gc.collect()
    # The types, for some things of others' warn when they are asked for their class.
    return sum(issubclass(type(thing), gevent.Greenlet) and not thing.dead for thing in gc.get_objects())


@pytest.fixture(scope="module")
def left(upstream: Upstream) -> dict[str, int]:
    gevent.sleep(0)
    return {"greenlets": greenlets(), "descriptors": len(os.listdir("/proc/self/fd"))}


@pytest.fixture(scope="module")
def outcomes(upstream: Upstream, left: dict[str, int], log: list[str]) -> dict[str, Outcome]:
    return all_outcomes(lambda row: ask(row, upstream))


@pytest.mark.parametrize("row", rows(), ids=str)
def test_a_fault_ends_in_one_outcome_with_what_came_before_it(row: Row, outcomes: dict[str, Outcome]):
    judge(row, outcomes[str(row)])


def test_nothing_is_left_of_all_the_faults(outcomes: dict[str, Outcome], upstream: Upstream, left: dict[str, int]):
    assert upstream.wait_until(lambda: not upstream.open_connections())
    # The upstream's threads close their own ends a moment later.
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= left["descriptors"], 5, sleep=gevent.sleep)
    assert greenlets() <= left["greenlets"]


def test_no_message_and_no_log_line_tells_a_key_or_the_question(outcomes: dict[str, Outcome], log: list[str]):
    told = [str(outcome.failure) + repr(vars(outcome.failure)) for outcome in outcomes.values() if outcome.failure]
    for secret in (*CANARIES.values(), QUESTION, "24.token"):
        assert not [line for line in told + log if secret in line]
    assert not [line for line in told if "<html" in line.lower() or "http://" in line]


@pytest.mark.parametrize("plan", ["hang=head", "hang=first", "hang=between", "pace=0.05", "silence"])
@pytest.mark.parametrize("wire", HOSTED)
def test_the_upstream_sees_at_once_that_the_reader_left(wire: str, plan: str, upstream: Upstream):
    model = f"left@{plan}"
    provider = {"type": wire, "model": model, "base_url": upstream.base_url(wire), "timeouts": TIMEOUTS, **CANARIES}
    providers = Providers({"p": ProviderConfiguration(**provider)}, "p")
    stream = providers.stream(ChatRequest([{"role": "user", "content": QUESTION}]))
    asked_before = len(upstream.asked)
    reader = gevent.spawn(list, stream)
    while len(upstream.asked) == asked_before:
        gevent.sleep(0.002)
    gevent.sleep(0.05)
    left_at = time.monotonic()
    reader.kill()
    connection = upstream.ledger.connections[upstream.asked[-1].connection - 1]
    while connection.closed_at is None and time.monotonic() < left_at + 2 * CLOSED_WITHIN_S:
        gevent.sleep(0.002)
    assert connection.closed_at is not None and connection.closed_at - left_at < CLOSED_WITHIN_S
    assert connection.closed_by == "client"
    providers.close()
