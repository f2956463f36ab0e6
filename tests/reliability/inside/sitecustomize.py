"""Changes one thing in every process that is started with this folder on PYTHONPATH, right after its module's import.

$SLUICE_CHANGE names it: a promise that is broken on purpose, for the harness to notice, or a probe. Nothing of the
product reads that variable.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


def no_watcher(presence: Any) -> None:
    """The client's socket is not watched: a disconnect shows at the second write after it."""
    presence.Client.watch = lambda self, on_gone: None


def no_heartbeat(presence: Any) -> None:
    """Nothing is sent in silence."""
    pieces = presence.Reader.pieces
    presence.Reader.pieces = lambda self, heartbeat_s, write_timeout_s: pieces(self, 1e9, write_timeout_s)


def no_terminal_event(forms: Any) -> None:
    """The reply just ends."""
    write = forms.Sse.write

    def without(self: Any, batch: Any) -> bytes:
        frames: list[bytes] = write(self, batch).split(b"\n\n")
        return b"\n\n".join(
            frame for frame in frames if b"\nevent: done" not in frame and b"\nevent: failed" not in frame
        )

    forms.Sse.write = without


def no_epoch_check(server: Any) -> None:
    """The engine runs what was meant for its predecessor."""
    take = server.Server._take

    def taken(self: Any, connection: Any, message: Any) -> None:
        if hasattr(message, "epoch"):
            message.epoch = self._hello.epoch
        take(self, connection, message)

    server.Server._take = taken


def probe(workers: Any) -> None:
    """At SIGWINCH, which gunicorn's workers have no use for, a worker writes how many greenlets it has."""

    def winched(self: Any, sig: int, frame: Any) -> None:
        import gc

        import greenlet

        gc.collect()
        count = sum(isinstance(found, greenlet.greenlet) and not found.dead for found in gc.get_objects())
        with open(os.path.join(os.environ["SLUICE_RUN_DIR"], f"greenlets-{self.pid}"), "w") as file:
            file.write(f"{count}\n")

    workers.Worker.handle_winch = winched


def no_start(app: Any) -> None:
    """Workers cannot start while there is a file `no-start` in the run folder."""
    create = app.create_app

    def created(*arguments: Any) -> Any:
        if os.path.exists(os.path.join(os.environ["SLUICE_RUN_DIR"], "no-start")):
            raise RuntimeError("this worker must not start")
        return create(*arguments)

    app.create_app = created


CHANGES = {
    "no start": ("gateway.app", no_start),
    "probe": ("gateway.server.workers", probe),
    "no watcher": ("gateway.answers.client", no_watcher),
    "no heartbeat": ("gateway.answers.reader", no_heartbeat),
    "no terminal event": ("gateway.formats.native", no_terminal_event),
    "no epoch check": ("providers.local.engine.serving.server", no_epoch_check),
}


class Changed(importlib.abc.MetaPathFinder):
    """Finds one module as ever, and changes it when it was loaded."""

    def __init__(self, name: str, change: Callable[[Any], None]) -> None:
        self._name, self._change = name, change

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != self._name:
            return None
        spec: Any = importlib.machinery.PathFinder.find_spec(name, path)
        execute, change = spec.loader.exec_module, self._change

        def executed(module: ModuleType) -> None:
            execute(module)
            change(module)

        spec.loader.exec_module = executed
        return spec


if change := os.environ.get("SLUICE_CHANGE"):
    sys.meta_path.insert(0, Changed(*CHANGES[change]))
