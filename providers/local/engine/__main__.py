"""`python -m providers.local.engine --options JSON --listen FD --beat FD --epoch N --keeper PID`: so the keeper starts
it.

Over the beat pipe it tells the keeper, a line each: `loading` (still at it), `serving`, `beat`, or `cannot <one
sentence>`.
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


class Beat:
    """Tells the keeper that the engine lives. A pipe that is full or gone is the keeper's trouble, not the engine's."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._last = 0.0

    def tell(self, line: str) -> None:
        try:
            os.write(self._fd, line.replace("\n", " ").encode() + b"\n")
        except OSError:
            pass

    def __call__(self, word: str = "beat") -> None:
        """At most ten times a second."""
        now = time.monotonic()
        if now - self._last > 0.1:
            self._last = now
            self.tell(word)


def main() -> int:
    parser = argparse.ArgumentParser(prog="providers.local.engine")
    parser.add_argument("--options", required=True, type=lambda text: msgspec.json.decode(text, type=Options))
    parser.add_argument("--listen", required=True, type=int)
    parser.add_argument("--beat", required=True, type=int)
    parser.add_argument("--epoch", required=True, type=int)
    parser.add_argument("--keeper", required=True, type=int)
    arguments = parser.parse_args()
    # Dies with the keeper, whatever ends that, also where it ended before this line.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != arguments.keeper:
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    beat = Beat(arguments.beat)
    try:
        folder = open_folder(arguments.options.model)
        # Only now, because it takes a second, and what was wrong so far is told at once.
        from providers.local.engine.serving.assembly import assemble

        listener = socket.socket(fileno=arguments.listen)
        server = assemble(folder, arguments.options, listener, arguments.epoch, beat, arguments.keeper)
    except CannotLoad as error:
        log.error("%s", error)
        beat.tell(f"cannot {error}")
        return 2
    except BaseException as error:  # a Rust library's panic is no Exception
        # Only its kind is told: the message may name paths.
        name, kind = Path(arguments.options.model).name, type(error).__name__
        log.exception("%s could not be loaded", name)
        beat.tell(f"cannot {name} could not be loaded: {kind}; the engine's log tells more")
        return 2
    # A full collection would go through everything that was loaded: 150 ms in which no token comes.
    gc.collect()
    gc.freeze()
    beat.tell("serving")
    server.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
