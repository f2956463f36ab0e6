"""The engine's process, as the supervisor starts it:

    python -m providers.local.engine --options JSON --listen FD --heartbeat FD --epoch N --supervisor PID

Lines on the heartbeat pipe: `loading` (still loading), `serving`, `heartbeat`, or `cannot <one sentence>`.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec

from providers.local.engine.errors import CannotLoad
from providers.local.engine.serving.folder import open_folder
from providers.local.options import Options

PR_SET_PDEATHSIG = 1
log = logging.getLogger("sluice.engine")


class Heartbeat:
    """Writes to the supervisor's pipe that the engine lives. A full or closed pipe is ignored."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._last = 0.0

    def send(self, line: str) -> None:
        try:
            os.write(self._fd, line.replace("\n", " ").encode() + b"\n")
        except OSError:
            pass

    def __call__(self, word: str = "heartbeat") -> None:
        """Send `word`, at most ten times a second."""
        now = time.monotonic()
        if now - self._last > 0.1:
            self._last = now
            self.send(word)


def main() -> int:
    parser = argparse.ArgumentParser(prog="providers.local.engine")
    parser.add_argument("--options", required=True, type=lambda text: msgspec.json.decode(text, type=Options))
    parser.add_argument("--listen", required=True, type=int)
    parser.add_argument("--heartbeat", required=True, type=int)
    parser.add_argument("--epoch", required=True, type=int)
    parser.add_argument("--supervisor", required=True, type=int)
    arguments = parser.parse_args()
    # Exit with the supervisor, however that ends, also if it ended before this line.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != arguments.supervisor:
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    heartbeat = Heartbeat(arguments.heartbeat)
    try:
        folder = open_folder(arguments.options.model, lambda: heartbeat("loading"))
        # Imported here because it takes a second; errors of the folder are reported before.
        from providers.local.engine.serving.assembly import assemble

        listener = socket.socket(fileno=arguments.listen)
        server = assemble(folder, arguments.options, listener, arguments.epoch, heartbeat, arguments.supervisor)
    except CannotLoad as error:
        log.error("%s", error)
        heartbeat.send(f"cannot {error}")
        return 2
    except BaseException as error:  # a Rust library's panic is not an Exception
        # The reason names only the kind: the message may have paths.
        name, kind = Path(arguments.options.model).name, type(error).__name__
        log.exception("%s could not be loaded", name)
        heartbeat.send(f"cannot {name} could not be loaded: {kind}; see the engine's log")
        return 2
    # A full collection would visit all loaded objects: 150 ms without a token.
    gc.collect()
    gc.freeze()
    heartbeat.send("serving")
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
