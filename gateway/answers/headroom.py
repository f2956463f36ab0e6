"""What a worker can still take: whether its event loop is late, and whether its file descriptors run out.

Both are limits of ours. A question that comes then is refused as overloaded, before an upstream could look at fault.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

# Above this many seconds new questions are refused as overloaded.
TOO_LATE_S = 0.25


class Lateness:
    """Measured by a timer that the loop should run at certain moments. Times are seconds, monotonic.

    Lateness counts as far as this thread was computing meanwhile: a loop that the system did not let run is late, but
    not busy. One late run is no overload either: a worker that imports a module is late once.
    """

    def __init__(self, cpu: Callable[[], float] = time.thread_time) -> None:
        self._cpu = cpu
        self._last_s = self._before_s = 0.0
        self._due_at = float("inf")
        self._cpu_at = cpu()

    def ran(self, late_s: float, due_at: float) -> None:
        """The timer ran `late_s` too late, and is due again at `due_at`."""
        cpu = self._cpu()
        self._before_s, self._last_s = self._last_s, min(late_s, cpu - self._cpu_at)
        self._due_at, self._cpu_at = due_at, cpu

    def seconds(self, now: float | None = None) -> float:
        """How late the loop has been twice in a row, its current turn included."""
        overdue_s = (time.monotonic() if now is None else now) - self._due_at
        busy_s = min(overdue_s, self._cpu() - self._cpu_at)
        return max(min(self._before_s, self._last_s), min(self._last_s, busy_s))

    @property
    def too_late(self) -> bool:
        return self.seconds() > TOO_LATE_S


# Seconds in which fewer than 7 * RESERVED descriptors are opened, two for each question.
ALONE_S = 0.02
# Descriptors kept for what admitted answers still open: upstream connections, statements, Redis.
RESERVED = 64
# Of these the listener takes none: a connection that is accepted takes a descriptor before its question is judged.
RESERVED_FROM_LISTENER = 16


class Descriptors:
    """The limit is read once. Where somebody lowers it later, no descriptor can be opened, which is `short` too."""

    def __init__(self) -> None:
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._look_at = 0.0

    @property
    def short(self) -> bool:
        """Whether fewer than RESERVED descriptors can be free.

        The system gives out the lowest free number, so a number near the limit means that all below it are taken.
        Where they were far from short, the next look is ALONE_S later: a question costs two system calls less.
        """
        now = time.monotonic()
        if now < self._look_at:
            return False
        try:
            lowest = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            return True
        os.close(lowest)
        if lowest < self._limit - 8 * RESERVED:
            self._look_at = now + ALONE_S
        return lowest >= self._limit - RESERVED


def raise_limit() -> int:
    """Raise this process's soft limit to its hard one, and return it: Linux's soft default is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft
