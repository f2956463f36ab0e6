"""Starts the engine, listens for it, watches its heartbeat, and starts it again when it dies.

    gateway's master ──stdin pipe──▶ supervisor ──listening socket, heartbeat pipe──▶ engine

The supervisor binds the socket and passes it to the engine. So workers that connect while no engine runs wait in the
backlog instead of failing. The supervisor exits with its master (end of file on stdin), and the engine exits with the
supervisor. It imports nothing heavy.

    starting ──serving──▶ serving ──death, silence──▶ starting
        └──cannot …, or three deaths──▶ down ──30 s──▶ starting

While down, the supervisor accepts connections itself and answers each with the reason. Every further death before the
engine has served doubles the pause, up to eightfold: an engine that is killed for its memory must not take it again
and again.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from providers.local import socket_path
from providers.local.options import ENVIRONMENT, Options, of
from providers.local.wire import Down, frame

if TYPE_CHECKING:
    from providers.configuration import ProviderConfiguration

log = logging.getLogger("sluice.supervisor")

SILENCE_S = 15.0
LOADING_SILENCE_S = 120.0
DEATHS = 3
RETRY_AFTER_S = 30.0
MOST_DOUBLINGS = 3
BACKLOG = 512
PR_SET_PDEATHSIG = 1


class Engine:
    """One engine's socket and process. `clock` returns seconds."""

    def __init__(
        self,
        path: Path,
        options: Options,
        silence_s: float = SILENCE_S,
        retry_after_s: float = RETRY_AFTER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._options = options
        self._silence_s = silence_s
        self._retry_after_s = retry_after_s
        self._clock = clock
        # Consecutive deaths since the engine last served.
        self._deaths = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._heartbeat = -1
        self._unread = b""
        self._heard = 0.0
        self._epoch = 0
        self._serving = False
        self._reason = ""
        self._again = 0.0
        with suppress(FileNotFoundError):
            path.unlink()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)

    def start(self) -> None:
        """Start the process. Only it holds the write end of the heartbeat pipe, so its death ends the pipe."""
        self._epoch = time.time_ns()
        self._heartbeat, theirs = os.pipe()
        os.set_blocking(self._heartbeat, False)
        listen = self._listener.fileno()
        options = msgspec.json.encode(self._options).decode()
        # -P: nothing is imported from the current folder, which may hold packages of these names.
        command = [sys.executable, "-P", "-m", "providers.local.engine", "--options", options, "--listen", str(listen)]
        command += ["--heartbeat", str(theirs), "--epoch", str(self._epoch), "--supervisor", str(os.getpid())]
        environment = ENVIRONMENT | os.environ
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, pass_fds=(listen, theirs))
        os.close(theirs)
        self._heard = self._clock()
        self._serving = False
        self._reason = ""
        self._unread = b""

    def waits_for(self) -> list[int]:
        """File descriptors to select on: the engine's heartbeat, or the listener while the engine is down."""
        return [self._heartbeat] if self._process else [self._listener.fileno()]

    def attend(self) -> None:
        """Check the engine; called after each event and every second."""
        if self._process is None:
            self._answer_down()
            if self._clock() > self._again:
                self.start()
            return
        ended = self._listen()
        silent_s = self._clock() - self._heard
        allowed = self._silence_s if self._serving else max(self._silence_s, LOADING_SILENCE_S)
        if ended:
            self._restart()
        elif silent_s > allowed:
            log.error("the engine sent no heartbeat for %.0f s; it is killed and started again", silent_s)
            self._path.with_suffix(".silent").write_text(str(self._epoch))
            self._restart(silent=True)

    def stop(self) -> None:
        """Kill the engine and remove the socket."""
        if self._process:
            self._process.kill()
            self._process.wait()
        self._path.unlink(missing_ok=True)
        self._path.with_suffix(".silent").unlink(missing_ok=True)

    def _listen(self) -> bool:
        """Read the heartbeat pipe; True if it has ended, which means that the process has."""
        while True:
            try:
                data = os.read(self._heartbeat, 4096)
            except BlockingIOError:
                return False
            if not data:
                return True
            self._heard = self._clock()
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                word, _, rest = line.partition(b" ")
                if word == b"serving":
                    self._serving = True
                elif word == b"cannot":
                    self._reason = rest.decode("utf-8", "replace")

    def _restart(self, silent: bool = False) -> None:
        assert self._process is not None
        self._process.kill()
        status = self._process.wait()
        os.close(self._heartbeat)
        self._process = None
        log.error("the engine ended with status %d%s", status, "" if self._serving else " before it served")
        self._deaths = 0 if self._serving or self._reason else self._deaths + 1
        if self._deaths >= DEATHS:
            killed = status == -signal.SIGKILL and not silent
            memory = ", killed by the system: it may have too little memory" if killed else ""
            self._reason = f"the local engine died {self._deaths} times while loading{memory}; see its log"
        if self._reason:
            pause_s = self._retry_after_s * 2 ** min(max(0, self._deaths - DEATHS), MOST_DOUBLINGS)
            log.error("the engine is down for %.0f s: %s", pause_s, self._reason)
            self._again = self._clock() + pause_s
            self._answer_down()
        else:
            self.start()

    def _answer_down(self) -> None:
        down = frame(Down(self._reason, max(1.0, round(self._again - self._clock(), 1))))
        while True:
            try:
                worker, _ = self._listener.accept()
            except OSError:
                return
            with worker, suppress(OSError):
                worker.send(down)


def supervise(engines: Sequence[Engine], master: int) -> None:
    """Supervise the engines until end of file on `master`, a file descriptor."""
    for engine in engines:
        engine.start()
    while True:
        waiting = [fd for engine in engines for fd in engine.waits_for()]
        ready, _, _ = select.select([master, *waiting], [], [], 1.0)
        if master in ready and not os.read(master, 4096):
            return
        for engine in engines:
            engine.attend()


def start(name: str, configuration: ProviderConfiguration, run_dir: Path) -> subprocess.Popen[bytes]:
    """Start the supervisor of a local provider's engines. All of them exit when its stdin is closed or its parent dies.

    run_dir   the sockets' folder; created if missing, with mode 0700. Workers find it as $SLUICE_RUN_DIR.
    """
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    run_dir.chmod(0o700)
    command = [sys.executable, "-P", "-m", "providers.local.supervisor", "--silence-s", str(SILENCE_S)]
    for number, options in enumerate(of(configuration)):
        path = run_dir / socket_path(name, configuration, number).name
        command += ["--socket", str(path), "--options", msgspec.json.encode(options).decode()]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def refusal(model: str) -> str | None:
    """Why the engine would refuse the folder `model`, in one sentence; None if it would not, as far as files tell.

    Reads the folder's JSON files, without torch. Nothing is fetched: only a folder that is there is judged.
    """
    if not Path(model).exists():
        return None
    # By name: only `sluice check` needs it, and nothing above the engine is built on its modules.
    judged: str | None = importlib.import_module("providers.local.engine.serving.folder").refusal(model)
    return judged


def main() -> None:
    """`python -m providers.local.supervisor --socket PATH --options JSON [--socket PATH --options JSON …]`."""
    parser = argparse.ArgumentParser(prog="providers.local.supervisor")
    parser.add_argument("--socket", required=True, action="append", type=Path)
    parser.add_argument(
        "--options", required=True, action="append", type=lambda text: msgspec.json.decode(text, type=Options)
    )
    parser.add_argument("--silence-s", type=float, default=SILENCE_S)
    parser.add_argument("--retry-after-s", type=float, default=RETRY_AFTER_S)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # The master's workers hold the pipe's other end too and may outlive the master: exit with the parent, at once.
    # A stopped supervisor exits by this kill only; its socket file stays, and the next supervisor removes it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # A terminal's interrupt reaches the whole process group; only the master decides when the engine exits.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    engines = [
        Engine(path, options, arguments.silence_s, arguments.retry_after_s)
        for path, options in zip(arguments.socket, arguments.options, strict=True)
    ]
    try:
        supervise(engines, sys.stdin.fileno())
    finally:
        for engine in engines:
            engine.stop()


if __name__ == "__main__":
    main()
