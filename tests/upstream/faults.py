"""The fault table, one row a fault and wire, and what a reader has of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent.pool
import yaml

from providers import Providers
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.errors import ProviderError
from providers.scripted import Upstream, reply
from providers.scripted.server import MODELS
from tests.ports import free_port
from tests.reliability.rig import at_most

TABLE = Path(__file__).parent.parent / "cases" / "faults.yaml"
# The wires that the scripted upstream speaks; an application of DashScope is read as DashScope is.
HOSTED = list(MODELS)
TEXT = "".join(reply.PIECES)
TIMEOUTS = {"connect": 2, "first_token": 0.5, "idle": 0.4, "total": 1.5}
PATIENT = {"connect": 5, "first_token": 10, "idle": 10, "total": 20}
CANARIES = {"api_key": "sk-canary-0123456789abcdef", "secret_key": "canary-secret-fedcba9876543210"}
QUESTION = "canary-question-5a5a5a"
CLOSED_WITHIN_S = at_most(0.2)
ALONE = 3


@dataclass
class Row:
    """One fault on one wire; see the head of faults.yaml."""

    group: str
    wire: str
    fault: str
    plan: str
    ends: str
    text: str
    asked: int = 1
    connection: str = "closed"
    where: str = "model"
    deadline: str = ""
    finish: str = "stop"
    retry_after: float | None = None
    says: int = 0
    provider: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.wire}: {self.fault} ({self.plan})"


@dataclass
class Outcome:
    """What came of one question."""

    text: str = ""
    ends: int = 0  # terminal outcomes: a finish_reason or a failure
    finish: str | None = None
    usage: Any = None
    failure: ProviderError | None = None
    asked: int = 0
    closed_after_s: float | None = None  # None: it was open when the question was over


def groups() -> dict[str, list[dict[str, Any]]]:
    """The table as it is written."""
    table: dict[str, list[dict[str, Any]]] = yaml.safe_load(TABLE.read_text("utf-8"))
    return table


def rows() -> list[Row]:
    """Every fault on every wire where it can happen."""
    return [
        Row(group=group, wire=wire, **{name: value for name, value in fault.items() if name != "wires"})
        for group, faults in groups().items()
        for fault in faults
        for wire in fault.get("wires", HOSTED)
    ]


_numbers = itertools.count()


def placed(row: Row, shared: Upstream) -> tuple[Upstream, dict[str, Any], Callable[[], None]]:
    """Where this row is asked, the provider's configuration for it, and what to call when it is over."""
    upstream, done = shared, lambda: None
    # A number, so that the ledger tells whose question it was.
    model = f"m{next(_numbers)}" + (f"@{row.plan}" if row.plan and row.where == "model" else "")
    if row.where == "before":
        upstream = Upstream(plan=row.plan)
        done = upstream.close
    elif row.says:
        upstream = Upstream(text="x" * row.says)
        done = upstream.close
    base_url = upstream.base_url(row.wire)
    if row.where == "nowhere":
        base_url = base_url.replace(f":{upstream.port}", f":{free_port()}")
    # What fails only once cannot be asked again, so no deadline may pass by itself.
    timeouts = PATIENT if "times=" in row.plan else TIMEOUTS
    provider = {"type": row.wire, "model": model, "base_url": base_url, "timeouts": timeouts, "retries": 1, **CANARIES}
    provider |= {"breaker": {"at_least": 100, "open_s": 1}, **row.provider}
    return upstream, provider, done


def judge(row: Row, outcome: Outcome) -> None:
    """Raise AssertionError where a row did not end as the table says."""
    assert outcome.ends == 1
    code = outcome.failure.code if outcome.failure else "done"
    assert code == row.ends, outcome.failure
    if outcome.failure is None:
        assert outcome.finish == row.finish
    if row.deadline:
        assert getattr(outcome.failure, "deadline", "") == row.deadline
    if row.retry_after is not None:
        assert getattr(outcome.failure, "retry_after", None) == row.retry_after
    whole = "x" * row.says if row.says else TEXT
    assert whole.startswith(outcome.text)
    assert {"all": outcome.text == whole, "none": not outcome.text, "some": bool(outcome.text)}[row.text], outcome.text
    assert outcome.asked == row.asked
    if row.connection == "closed":
        assert outcome.closed_after_s is not None, "the connection is still open"
        assert outcome.closed_after_s < CLOSED_WITHIN_S


def ask(row: Row, shared: Upstream) -> Outcome:
    """Ask one row's question at the floor of the providers."""
    upstream, provider, done = placed(row, shared)
    providers = Providers({"faulty": ProviderConfiguration(**provider)}, "faulty")
    outcome = Outcome()
    try:
        for batch in providers.stream(ChatRequest([{"role": "user", "content": QUESTION}])):
            for delta in batch:
                outcome.text += delta.text
                outcome.ends += delta.finish_reason is not None
                outcome.finish, outcome.usage = delta.finish_reason, delta.usage
    except ProviderError as error:
        outcome.ends += 1
        outcome.failure = error
    ended_at = time.monotonic()
    used = {asked.connection for asked in upstream.asked if asked.model == provider["model"]}
    if row.where == "before":
        used = {connection.number for connection in upstream.ledger.connections}
    outcome.asked = sum(asked.model == provider["model"] for asked in upstream.asked)
    if row.connection == "closed":
        outcome.closed_after_s = closed_after(upstream, used, ended_at)
    providers.close()
    done()
    return outcome


def closed_after(upstream: Upstream, numbers: Iterable[int], ended_at: float) -> float | None:
    """Seconds after `ended_at` at which the last of these connections was closed; None if one is still open."""
    mine = [connection for connection in upstream.ledger.connections if connection.number in set(numbers)]
    deadline = ended_at + CLOSED_WITHIN_S
    while any(connection.closed_at is None for connection in mine) and time.monotonic() < deadline:
        gevent.sleep(0.005)
    closed = [connection.closed_at for connection in mine]
    if None in closed:
        return None
    return max((at - ended_at for at in closed if at is not None), default=0.0)


def all_outcomes(
    ask_one: Callable[[Row], Outcome], wanted: list[Row] | None = None, at_once: int = 24
) -> dict[str, Outcome]:
    """The outcome of each row; several are asked at once, for most of them wait.

    What did not end as it should is asked again and alone: on a busy machine a deadline can pass by itself.
    """
    wanted = rows() if wanted is None else wanted
    outcomes = dict(zip(map(str, wanted), gevent.pool.Pool(at_once).map(ask_one, wanted), strict=True))
    for row in wanted:
        for _ in range(ALONE):
            if well(row, outcomes[str(row)]):
                break
            outcomes[str(row)] = ask_one(row)
    return outcomes


def well(row: Row, outcome: Outcome) -> bool:
    """Whether a row ended as the table says."""
    try:
        judge(row, outcome)
    except AssertionError:
        return False
    return True
