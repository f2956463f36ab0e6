"""The steps that a flow yields, and the names of the events that events.py writes for them. A failure is raised.

CONTRIBUTING.md lists the places of a new event. A format that shows it reads it by name; every other format ignores
names that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from providers.delta import Delta, ToolCallDelta, Usage


class EventName(StrEnum):
    """The names of an answer's events, declared here alone: formats, the terminal and tests read them.

    MESSAGE   carries no `event:` line on the wire: it is what a browser calls an unnamed event
    """

    START = "start"
    MESSAGE = "message"
    REASONING = "reasoning"
    SQL = "sql"
    TOOL_CALLS = "tool_calls"
    EXTRAS = "extras"
    CORRECTING = "correcting"
    ROWS = "rows"
    DONE = "done"
    FAILED = "failed"


# One of these is the last event of every answer.
TERMINAL = frozenset({EventName.DONE, EventName.FAILED})


@dataclass(slots=True)
class Start:
    """The provider that really answers: the first step of every flow, with the upstream's first batch.

    A flow that asks more than once (a correction) yields it only the first time.
    """

    provider: str
    model: str
    adjusted: list[str] = field(default_factory=list)


class Text(msgspec.Struct, gc=False):
    """Text to append to the reply."""

    text: str
    logprobs: list[dict[str, Any]] | None = None


class Reasoning(msgspec.Struct, gc=False):
    """The model's thinking, to append; not part of the reply."""

    text: str


@dataclass(slots=True)
class ToolCalls:
    """Pieces of tool calls, to append by index."""

    pieces: list[ToolCallDelta]


@dataclass(slots=True)
class Extras:
    """Members of the reply that are neither text nor calls, such as images and annotations; /v1 passes them on."""

    members: dict[str, Any]


@dataclass(slots=True)
class Sql:
    """A statement and the guard's verdict; `reason` says why it was refused.

    final   the last query of the reply, to which the rows belong
    """

    sql: str
    dialect: str
    tables: list[str]
    ok: bool
    reason: str | None = None
    final: bool = False


@dataclass(slots=True)
class Rows:
    """The rows of the final statement: columns are {"name", "type"}; every value can be written as JSON.

    explanation   {"zh", "en"}: a sentence that says what the statement asked for; None where there is none
    """

    columns: list[dict[str, str]]
    rows: list[list[Any]]
    truncated: bool
    elapsed_ms: float
    explanation: dict[str, str] | None = None


@dataclass(slots=True)
class Correcting:
    """The model is asked again because of `reason`; `attempt` counts from 1."""

    reason: str
    attempt: int


@dataclass(slots=True)
class Done:
    """The reply is complete; always the last step. `timing` in ms: `prompt`, `sql`, and `queue` where known.

    finish_reason_raw  the upstream's word, where it is not one that we know
    """

    finish_reason: str
    usage: Usage | None = None
    timing: dict[str, float] = field(default_factory=dict)
    sql_found: bool | None = None  # False where the reply looked like SQL and no statement was taken
    finish_reason_raw: str | None = None


Step = Start | Text | Reasoning | ToolCalls | Extras | Sql | Rows | Correcting | Done


def merged(batch: Iterable[Step]) -> list[Step]:
    """The batch with neighbouring texts, and neighbouring reasonings, as one step each."""
    steps: list[Step] = []
    last: Step | None = None
    for step in batch:
        if type(step) is Text and type(last) is Text:
            last.text += step.text
            if step.logprobs:
                last.logprobs = (last.logprobs or []) + step.logprobs
        elif type(step) is Reasoning and type(last) is Reasoning:
            last.text += step.text
        else:
            steps.append(last := step)
    return steps


def of(deltas: Iterable[Delta]) -> list[Step]:
    """The steps of one batch of deltas; neighbouring deltas of one channel become one step."""
    steps: list[Step] = []
    texts: list[str] = []
    for delta in deltas:
        more = delta.reasoning or delta.logprobs or delta.tool_calls or delta.extras or delta.finish_reason is not None
        if not more:
            # The usual delta; neighbours are joined at the end of their run.
            texts.append(delta.text)
            continue
        if texts:
            steps.append(Text("".join(texts)))
            texts.clear()
        if delta.reasoning:
            steps.append(Reasoning(delta.reasoning))
        if delta.text or delta.logprobs:
            steps.append(Text(delta.text, delta.logprobs))
        if delta.tool_calls:
            steps.append(ToolCalls(delta.tool_calls))
        if delta.extras:
            steps.append(Extras(delta.extras))
        if delta.finish_reason is not None:
            steps.append(Done(delta.finish_reason, delta.usage, finish_reason_raw=delta.finish_reason_raw))
    if texts and (text := "".join(texts)):
        steps.append(Text(text))
    return merged(steps) if len(steps) > 1 else steps
