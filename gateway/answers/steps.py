"""What an answer is made of: the steps that a flow yields and events.py writes out. A failure is raised, not a step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from providers.delta import Delta, ToolCallDelta, Usage


@dataclass(slots=True)
class Start:
    """Who answers; the first step of every flow, once that is certain: with the upstream's first batch.

    A flow that asks more than once (a correction) yields it only the first time.
    """

    provider: str
    model: str
    adjusted: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Text:
    """Text to append to the reply."""

    text: str
    logprobs: list[dict[str, Any]] | None = None


@dataclass(slots=True)
class Reasoning:
    """The model's thinking, to append; no part of the reply."""

    text: str


@dataclass(slots=True)
class ToolCalls:
    """Pieces of tool calls, to append by index."""

    pieces: list[ToolCallDelta]


@dataclass(slots=True)
class Sql:
    """A statement, after the guard judged it; `reason` says why where it was refused."""

    sql: str
    dialect: str
    tables: list[str]
    ok: bool
    reason: str | None = None


@dataclass(slots=True)
class Rows:
    """What the database gave: columns are {"name", "type"}, every value is safe in JSON.

    explanation   {"zh", "en"}: a sentence that says what the statement asked for; None where there is none
    """

    columns: list[dict[str, str]]
    rows: list[list[Any]]
    truncated: bool
    elapsed_ms: float
    explanation: dict[str, str] | None = None


@dataclass(slots=True)
class Correcting:
    """The model is asked again, for the `attempt`-th time after the first, because of `reason`. Makes no event."""

    reason: str
    attempt: int


@dataclass(slots=True)
class Done:
    """The reply is complete; always the last step. `timing` in ms: `prompt`, `sql`, and `queue` where it knows."""

    finish_reason: str
    usage: Usage | None = None
    timing: dict[str, float] = field(default_factory=dict)


Step = Start | Text | Reasoning | ToolCalls | Sql | Rows | Correcting | Done


def of(deltas: Iterable[Delta]) -> list[Step]:
    """The steps of one batch of deltas, as a plain chat passes them on; neighbours of one channel are one step."""
    steps: list[Step] = []
    last: Step | None = None
    for delta in deltas:
        if delta.reasoning:
            if type(last) is Reasoning:
                last.text += delta.reasoning
            else:
                steps.append(last := Reasoning(delta.reasoning))
        if delta.text or delta.logprobs:
            if type(last) is Text:
                last.text += delta.text
                if delta.logprobs:
                    last.logprobs = (last.logprobs or []) + delta.logprobs
            else:
                steps.append(last := Text(delta.text, delta.logprobs))
        if delta.tool_calls:
            steps.append(last := ToolCalls(delta.tool_calls))
        if delta.finish_reason is not None:
            steps.append(last := Done(delta.finish_reason, delta.usage))
    return steps
