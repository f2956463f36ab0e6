"""The processes that the master runs beside its workers: a supervisor per local provider, and the metrics listener."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gateway.settings import Settings

log = logging.getLogger("sluice.serving")

METRICS_LISTENER = "the metrics listener"
# A child that died is started again after RESTART_S; the wait doubles each time that it dies within CALM_S.
RESTART_S, RESTART_AT_MOST_S = 0.5, 30.0
CALM_S = 60.0
# Seconds that a child gets to end after its standard input was closed; then it is killed.
ENDING_S = 3.0


class Child:
    """A supervised child process. `config` is compared on reload to decide whether to restart it."""

    def __init__(self, name: str, config: str, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.name, self.config = name, config
        self._start = start
        self._wait_s = RESTART_S
        self._restart_at: float | None = None
        self._run()

    def _run(self) -> None:
        self.process = _without_terminal_signals(self._start)
        self._began_at = time.monotonic()
        self._restart_at = None

    def check(self) -> None:
        """Start the process again if it has died; called about every second."""
        now = time.monotonic()
        if self._restart_at is not None:
            if now >= self._restart_at:
                try:
                    self._run()
                except OSError as error:
                    log.error("%s cannot be started: %s", self.name, error.strerror or type(error).__name__)
                    self._restart_at = now + RESTART_AT_MOST_S
        elif self.process.poll() is not None:
            if now - self._began_at >= CALM_S:
                self._wait_s = RESTART_S
            self._restart_at = now + self._wait_s
            log.error("%s has died; it is started again in %g s", self.name, self._wait_s)
            self._wait_s = min(2 * self._wait_s, RESTART_AT_MOST_S)


def _without_terminal_signals(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a process that ignores SIGINT and SIGQUIT: a terminal sends them to the group, but the master ends it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGQUIT})
    try:
        return start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Children:
    """All children of one master."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    def follow(self, settings: Settings) -> None:
        """Start the children that `settings` ask for and stop the others; an unchanged one keeps running."""
        wanted = {}
        for name, provider in settings.providers.items():
            if provider.type == "local":
                from providers.local import supervisor

                start = partial(supervisor.start, name, provider, run_dir())
                wanted[f"the supervisor of provider {name}"] = provider.model_dump_json(), start
        if bind := settings.server.metrics_bind:
            command = [sys.executable, "-P", "-m", "gateway.observability.metrics", bind]
            wanted[METRICS_LISTENER] = bind, partial(subprocess.Popen, command, stdin=subprocess.PIPE)
        unwanted = [child for name, child in self._children.items() if wanted.get(name, ("",))[0] != child.config]
        stop([child.process for child in unwanted])
        for child in unwanted:
            del self._children[child.name]
        for name, (config, start) in wanted.items():
            if name not in self._children:
                self._children[name] = Child(name, config, start)

    def check(self) -> None:
        """Start again the children that have died."""
        for child in self._children.values():
            try:
                child.check()
            except Exception:
                # Called in the master's loop: an exception there would end the master and every worker.
                log.exception("%s could not be checked", child.name)

    def close_pipes(self) -> None:
        """In a forked worker: close its copies of the children's standard inputs.

        A child takes the end of its standard input as the master's death; a copy in a worker would hide it.
        """
        for child in self._children.values():
            if child.process.stdin:
                child.process.stdin.close()

    def stop(self, within_s: float = ENDING_S) -> None:
        for child in self._children.values():
            if child.name == METRICS_LISTENER:
                # It has nothing to write down, so it is not waited for.
                child.process.kill()
        stop([child.process for child in self._children.values()], within_s)


def stop(processes: list[subprocess.Popen[bytes]], within_s: float = ENDING_S) -> None:
    """Close the processes' standard inputs, which asks them to end; kill those that have not ended within `within_s`.

    Returns when they have ended: then an engine's memory is free, which may take a while after its supervisor
    killed it.
    """
    for process in processes:
        if process.stdin:
            process.stdin.close()
    deadline = time.monotonic() + within_s
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_dir() -> Path:
    """This server's folder for sockets and metrics, mode 0700; its processes find it in $SLUICE_RUN_DIR."""
    folder = os.environ.get("SLUICE_RUN_DIR")
    if not folder:
        folder = tempfile.mkdtemp(prefix="sluice-")
        os.environ["SLUICE_RUN_DIR"] = folder
        os.environ["SLUICE_RUN_DIR_IS_OURS"] = str(os.getpid())
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(folder)
