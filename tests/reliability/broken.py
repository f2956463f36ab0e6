"""The matrix can fail: promises broken on purpose (inside/), and the rows that have to turn red for it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.reliability.matrix import Row, play
from tests.reliability.rig import Chain, changed, folder
from tests.reliability.scenarios import engines

LEFT_IN_SILENCE = Row("client", "leaves", "in silence", "cut", closed=True)
PAUSE = Row("upstream", "count=9,lull=1.9", "in silence", "done")
RESET = Row("gateway–upstream", "reset", "between tokens", "failed:truncated")
WHOLE = Row("gateway–upstream", "slices", "throughout", "done")


@dataclass(frozen=True)
class Broken:
    """A mutation, the rows that it turns red, and some that it must not touch."""

    mutation: str
    red: tuple[Row, ...] = ()
    green: tuple[Row, ...] = ()
    server: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.mutation

    @property
    def must(self) -> str:
        rows = [f"“{row}”" for row in self.red] or ["“worker–engine, a question for a dead engine”"]
        return f"red: {', '.join(rows)}"

    def run(self) -> None:
        """Raises AssertionError if a row that should be red is green, or the other way round."""
        with folder() as where, contextlib.ExitStack() as stack:
            if not self.red:
                self._engine(where, stack)
                return
            chain = Chain(where, stack, server=self.server, environ=changed(self.mutation))
            for row in self.red:
                assert play(row, chain), f"{row} is green"
            for row in self.green:
                assert play(row, chain) == [], f"{row} is red"

    def _engine(self, where: Path, stack: contextlib.ExitStack) -> None:
        try:
            engines.stale_epoch(where, stack, changed(self.mutation))
        except AssertionError as error:
            assert "it was run" in str(error)
        else:
            raise AssertionError("a question for a dead engine was refused all the same")


BROKEN = (
    Broken("no watcher", (LEFT_IN_SILENCE,), (WHOLE, RESET), {"resume_window_s": 0, "heartbeat_s": 10}),
    Broken("no heartbeat", (PAUSE,), (WHOLE, RESET), {"resume_window_s": 2}),
    Broken("no terminal event", (RESET, WHOLE), (), {"resume_window_s": 2}),
    Broken("no epoch check"),
)
