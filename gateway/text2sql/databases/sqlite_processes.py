"""The processes that run one SQLite file's statements: started when needed, killed with a statement that is over time.

    no process ──a statement──▶ busy ──its last message──▶ idle ──IDLE_S──▶ ended
                                 └──time, memory, the client left──▶ killed; the next statement starts another

A process runs one statement at a time (sqlite_runner.py). Starting one takes about 20 ms, so idle ones are kept for a
while. Nothing that a statement does in one can reach another statement: not its memory, and not its time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Generator
from typing import Any

import gevent
from gevent import socket as gevent_socket
from gevent.lock import BoundedSemaphore
from gevent.monkey import get_original

from gateway.text2sql.databases import sqlite_runner
from gateway.text2sql.databases.sqlite_runner import HEAD
from gateway.text2sql.errors import SqlFailed, SqlLimit

IDLE_S = 60
# A message has at most about MESSAGE_BYTES of rows, and one row more, which `byte_limit` bounds.
MESSAGE_LIMIT = 1 << 30
# What a process needs of the environment: its libraries, where temporary files go, and what local time is.
ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TMPDIR", "SQLITE_TMPDIR", "TZ")


# gevent's own would watch for the end of every child, which here is a closed socket.
_posix_spawn, _waitpid = get_original("os", ["posix_spawn", "waitpid"])


class Ended(Exception):
    """The process ended in the middle of a statement."""


class _Process:
    def __init__(self, path: str, timezone: str) -> None:
        ours, its = socket.socketpair()
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        if timezone:
            environment["TZ"] = timezone
        try:
            # A fork would copy the worker's page tables. In a patched process subprocess.Popen can do nothing else.
            self._pid: int = _posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", sqlite_runner.__file__, path],
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, its.fileno(), 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                ],
                setsid=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            its.close()
        self._ended = False
        self._socket = gevent_socket.socket(fileno=ours.detach())
        self.rights: bytes | None = None  # those that it was given
        self.idle_since = 0.0

    def is_alive(self) -> bool:
        """Whether it runs; one that has ended is reaped here."""
        if not self._ended:
            try:
                self._ended = _waitpid(self._pid, os.WNOHANG)[0] == self._pid
            except ChildProcessError:
                # The event loop reaps every child once something has asked it to watch one.
                self._ended = True
        return not self._ended

    def send(self, message: bytes) -> None:
        """Raises Ended."""
        try:
            self._socket.sendall(HEAD.pack(len(message)) + message)
        except OSError:
            raise Ended from None

    def receive(self) -> dict[str, Any]:
        """The next message; raises Ended."""
        (length,) = HEAD.unpack(self._read(HEAD.size))
        if length > MESSAGE_LIMIT:
            raise Ended
        message: dict[str, Any] = json.loads(self._read(length), object_hook=_bytes)
        return message

    def _read(self, count: int) -> bytearray:
        read = bytearray()
        try:
            while len(read) < count:
                piece = self._socket.recv(min(count - len(read), 1 << 16))
                if not piece:
                    raise Ended
                read += piece
        except OSError:
            raise Ended from None
        return read

    def kill(self) -> None:
        """End it now, whatever it does; does not wait."""
        self._socket.close()
        if self.is_alive():
            os.kill(self._pid, signal.SIGKILL)
            gevent.spawn(self._reap)

    def _reap(self) -> None:
        while self.is_alive():
            gevent.sleep(0.005)


class Processes:
    """At most `most` processes for the file at `path`.

    limit_s   the time limit of a statement, for what is said of one that is over it
    timezone  local time in SQLite, as TZ has it; "" for the gateway's own
    """

    def __init__(self, path: str, most: int, limit_s: float, timezone: str = "") -> None:
        self._path = path
        self._limit_s = limit_s
        self._timezone = timezone
        self._slots = BoundedSemaphore(most)
        self._idle: list[_Process] = []
        self._sweeping: gevent.Greenlet | None = None
        # The message with the rights that statements have; see sqlite_runner.authorizer.
        self._rights = b""

    def allow(self, rights: dict[str, Any]) -> None:
        """The rights of the statements that begin from now on."""
        message = json.dumps({"rights": rights}).encode()
        if message != self._rights:
            self._rights = message

    def run(self, asked: dict[str, Any], timeout_s: float) -> Generator[dict[str, Any], None, None]:
        """The messages of one statement, up to the one that ends it; raises SqlLimit, SqlFailed.

        Closing the iterator before its end kills the process, and with it the statement.
        """
        began = time.monotonic()
        # Those that wait are not killed with the ones that run: their time ends here.
        if not self._slots.acquire(timeout=timeout_s):
            raise SqlLimit("the database is busy: the statement's time was over before its turn came")
        try:
            yield from self._run(asked, began + timeout_s)
        finally:
            self._slots.release()

    def _run(self, asked: dict[str, Any], deadline: float) -> Generator[dict[str, Any], None, None]:
        process = self._taken()
        is_whole = False
        try:
            if process.rights is not self._rights:
                process.send(self._rights)
                process.rights = self._rights
            # setitimer takes 0 for "never".
            process.send(json.dumps({**asked, "seconds": max(0.001, deadline - time.monotonic())}).encode())
            while not is_whole:
                message = process.receive()
                is_whole = message.get("end") in ("rows", "error")
                if message.get("end") == "memory":
                    raise SqlLimit(f"the statement needs more than {sqlite_runner.MEMORY_BYTES >> 20} MiB of memory")
                yield message
        except Ended:
            if time.monotonic() < deadline - 0.05:
                raise SqlFailed("the statement ended the process that ran it") from None
            raise SqlLimit(f"the statement ran longer than {self._limit_s:g} s and was cancelled") from None
        finally:
            if is_whole:
                self._put_back(process)
            else:
                process.kill()

    def _taken(self) -> _Process:
        while self._idle:
            process = self._idle.pop()
            if process.is_alive():
                return process
            process.kill()
        try:
            return _Process(self._path, self._timezone)
        except OSError as error:
            raise SqlFailed("no process can be started for the statement", retryable=True, detail=str(error)) from None

    def _put_back(self, process: _Process) -> None:
        process.idle_since = time.monotonic()
        self._idle.append(process)
        if not self._sweeping:
            self._sweeping = gevent.spawn(self._sweep)

    def _sweep(self) -> None:
        """End processes that had no statement for IDLE_S."""
        while self._idle:
            gevent.sleep(IDLE_S / 2)
            before = time.monotonic() - IDLE_S
            for process in [one for one in self._idle if one.idle_since < before]:
                self._idle.remove(process)
                process.kill()

    def close(self) -> None:
        """End the idle processes; one that runs a statement ends with it."""
        if self._sweeping:
            self._sweeping.kill(block=False)
            self._sweeping = None
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().kill()


def _bytes(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["hex"]) if value.keys() == {"hex"} else value
