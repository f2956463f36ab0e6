"""What happened at the scripted upstream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Connection:
    """`closed_at` is when this side learned of it; times are seconds of time.monotonic()."""

    number: int
    opened_at: float
    closed_at: float | None = None
    closed_by: str = ""
    requests: int = 0


@dataclass(slots=True)
class Asked:
    """One chat request."""

    wire: str
    model: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int
    at: float
    events_sent: int = 0


@dataclass(slots=True)
class Ledger:
    """What happened, oldest first."""

    asked: list[Asked] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    tokens_given: int = 0
