"""What whole parts do to streams when they are ended, stopped or started again: each scenario builds its own rig.

A scenario is a function of a folder and an ExitStack that asserts what must hold; the decorator says what it is about,
for the table in docs/reliability.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.reliability.rig import folder

Play = Callable[[Path, contextlib.ExitStack], None]
Own = TypeVar("Own", bound=Callable[..., None])


@dataclass(frozen=True)
class Scenario:
    """`full`: only in the full run."""

    at: str
    fault: str
    when: str
    must: str
    play: Play
    full: bool = False

    def __str__(self) -> str:
        return f"{self.at}, {self.fault}, {self.when}"

    def run(self) -> None:
        """Play it in a folder of its own; raises AssertionError or TimeoutError where something does not hold."""
        with folder() as where, contextlib.ExitStack() as stack:
            self.play(where, stack)


_found: list[Scenario] = []


def scenario(at: str, fault: str, when: str, must: str, full: bool = False) -> Callable[[Own], Own]:
    """Adds the function to the table."""

    def added(play: Own) -> Own:
        _found.append(Scenario(at, fault, when, must, play, full))
        return play

    return added


def scenarios() -> list[Scenario]:
    """All of them, in the order of the table."""
    from tests.reliability.scenarios import engines, fronts, hostile, stores, workers  # noqa: F401

    return list(_found)
