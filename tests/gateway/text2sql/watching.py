"""What a database's server does for the gateway, seen from outside: how old its statements become, how much they take.

PostgreSQL  pg_stat_activity, and the anonymous memory of the backends' processes
MariaDB     its process list, with each statement's own count of memory
SQLite      the processes that run statements (sqlite_runner.py): how long one computes at a stretch, and its peak
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.gateway.text2sql import servers

EVERY_S = 0.03


class Watch:
    """`with Watch(server) as watch:` looks at the server in a thread; `oldest_s` and `most_kib` are what it saw."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._computing_since: dict[int, float] = {}
        self._known: dict[int, int] = {}  # memory that a SQLite process had when it was first seen
        self.oldest_s = 0.0
        self.oldest = ""  # what the server calls it
        self.most_kib = 0
        self.looks = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ends.set()
        self._thread.join()
        assert self.looks, "the server was never looked at"

    def _look(self) -> None:
        look = {"postgresql": self._postgresql, "mysql": self._mysql, "sqlite": self._sqlite}[self._server.dialect]
        with contextlib.ExitStack() as opened:
            while not self._ends.wait(EVERY_S):
                for age_s, kib, what in look(opened):
                    if age_s > self.oldest_s:
                        self.oldest_s, self.oldest = age_s, what
                    self.most_kib = max(self.most_kib, kib)
                self.looks += 1

    def _postgresql(self, opened: contextlib.ExitStack) -> list[tuple[float, int, str]]:
        if not self.looks:
            self._connection = opened.enter_context(self._server.connect())
        rows = self._connection.execute(
            "SELECT pid, extract(epoch FROM clock_timestamp() - query_start)::float8, query FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'sluice' AND state = 'active'"
        ).fetchall()
        return [(age_s, _anonymous_kib(pid), query) for pid, age_s, query in rows]

    def _mysql(self, opened: contextlib.ExitStack) -> list[tuple[float, int, str]]:
        if not self.looks:
            self._mariadb = opened.enter_context(self._server.connect())
        with self._mariadb.cursor() as cursor:
            cursor.execute(
                "SELECT time_ms / 1000, max_memory_used / 1024, info FROM information_schema.processlist "
                "WHERE db = %s AND command = 'Query'",
                (self._server.name,),
            )
            return [(float(age_s), int(kib), str(info)) for age_s, kib, info in cursor.fetchall()]

    def _sqlite(self, _opened: contextlib.ExitStack) -> list[tuple[float, int, str]]:
        found, now = [], time.monotonic()
        runners = servers.runners(self._server.path)
        for runner in runners:
            # One look at a process that is between two statements would make a new one of it; none is missed by that.
            since = self._computing_since.setdefault(runner.pid, now) if runner.state == "R" else now
            self._known.setdefault(runner.pid, runner.peak_kib)
            found.append((now - since, runner.peak_kib - self._known[runner.pid], f"process {runner.pid}"))
        computing = {runner.pid for runner in runners if runner.state == "R"}
        self._computing_since = {pid: at for pid, at in self._computing_since.items() if pid in computing}
        return found


def _anonymous_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0  # it has ended, or is on another machine
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)
