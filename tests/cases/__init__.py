"""Recorded streams as data: the bytes an upstream sent, and the deltas or the failure that they give.

One YAML file a case, under a folder for its wire:

    case           what it shows
    why            where it was met
    wires          further wires on which the same bytes give the same
    configuration  keys of the provider, beside its type
    status, content_type, headers, connection (`cut`: the body's framing says that it is not complete)
    body           the body's text; body_bytes: the same with \\xNN for bytes that are no text
    gives          deltas, then finish_reason (and finish_reason_raw) and usage, or failure: its code, and what it says
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import yaml

from providers.catalogue import WIRES
from providers.delta import Delta, ToolCallDelta, Usage

FOLDER = Path(__file__).parent
SECRETS = {"api_key": "sk-key-of-the-case", "secret_key": "secret-of-the-case"}


@dataclass
class Case:
    wire: str
    name: str
    body: bytes
    configuration: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    deltas: list[Delta] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage | None = None
    failure: dict[str, Any] | None = None
    finish_reason_raw: str | None = None
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.wire}: {self.name}"

    @property
    def provider(self) -> dict[str, Any]:
        """A provider's configuration for this case."""
        known = {"type": self.wire, "model": "m", "base_url": "http://127.0.0.1:9", **SECRETS}
        return known | self.configuration


@cache
def recorded_cases() -> list[Case]:
    """Every case, in a steady order."""
    assert {path.name for path in FOLDER.iterdir() if path.is_dir() and path.name != "__pycache__"} <= set(WIRES)
    cases = [_case(path) for path in sorted(FOLDER.glob("*/*.yaml"))]
    return [one for case in cases for one in (case, *(replace(case, wire=wire, also=()) for wire in case.also))]


def _case(path: Path) -> Case:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    told = yaml.load(path.read_text("utf-8"), Loader=loader)  # noqa: S506 - a safe loader either way
    gives = told.pop("gives")
    case = Case(
        wire=path.parent.name,
        name=told.pop("case"),
        body=told.pop("body_bytes").encode("latin-1") if "body_bytes" in told else told.pop("body").encode(),
        cut=told.pop("connection", "") == "cut",
        deltas=[_delta(delta) for delta in gives.pop("deltas")],
        finish_reason=gives.pop("finish_reason", None),
        usage=Usage(**usage) if (usage := gives.pop("usage", None)) else None,
        failure=gives.pop("failure", None),
        finish_reason_raw=gives.pop("finish_reason_raw", None),
        **{name: told.pop(name) for name in ("configuration", "status", "content_type", "headers") if name in told},
    )
    told.pop("why", None)
    case.also = tuple(told.pop("wires", ()))
    assert not told and not gives, f"{path}: unknown members {[*told, *gives]}"
    assert (case.finish_reason is None) != (case.failure is None), f"{path}: it ends or it fails"
    return case


def _delta(told: dict[str, Any]) -> Delta:
    calls = [msgspec.convert(call, ToolCallDelta) for call in told.pop("tool_calls", [])]
    return Delta(tool_calls=calls, **told)
