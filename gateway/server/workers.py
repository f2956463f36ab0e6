"""gunicorn's master and worker, with other manners where workers come and go: no stream is cut, and no question waits.

A worker leaves because of a reload, because it has had its `max_requests`, or because the server stops. Only then do
its running answers have a deadline, `drain_s`, and end with `shutting_down` after it; else they are finished. And it
goes on taking questions until as many younger ones serve. gunicorn 27 itself starts the successor of a recycled worker
when that has ended, and after a reload waits for old workers, deaf to every signal.

SIGINT and SIGQUIT to the master stop at once: running answers end with `shutting_down` without a deadline; a second one
kills. A terminal sends them to the whole process group, so nobody but the master listens to them.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import mmap
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gevent
import gevent.event
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.workers.ggevent import GeventWorker

from gateway.observability.in_flight import Roll

log = logging.getLogger("sluice.workers")

# What a worker tells its master in the first byte that they share, and is told in the second one; the third says that
# it has ended by itself. A signal alone would be lost on a worker that is still starting.
STARTING, SERVING, LEAVING = range(3)
STAY, LEAVE, STOP, HURRY = range(4)

# After the last answer's end, or drain_s, a reader that lags has so long to take the rest.
LAST_S = 0.4
# A worker that has not ended so long after drain_s, and has not told for STUCK_S that it lives, is killed: the server
# ends within drain_s + 1 s also where an event loop hangs. One that is only slow has graceful_timeout.
LATE_S = 0.4
STUCK_S = 0.5
# One that has been silent for so long while the server stops may come to that: a running worker tells each 0.05 s.
SILENT_S = 0.3
# A worker that is told to stop while it starts has so long to let in whoever waits for it.
LET_IN_S = 0.1
# Where connections are short, one that waits for a further request is kept no longer than this.
SHORT_WAIT_S = 0.2


# Workers that the master itself has killed, while they started or hung: nothing to do with memory.
KILLED: set[int] = set()


@dataclass(frozen=True, slots=True)
class Bound:
    """A listener's address, for connections that are handled after the listener was closed."""

    address: Any

    def getsockname(self) -> Any:
        return self.address


class Master(Arbiter):
    """gunicorn's arbiter; the one that gunicorn has made becomes this one in `on_starting`."""

    WORKERS: dict[int, Worker]
    num_workers: int
    # What the hooks in serving.py do: look after the processes beside the workers, load what is needed when a worker is
    # killed, judge addresses (a sentence for each that must not be listened on), and tell how long answers have at the
    # end.
    attend: Callable[[], None] = staticmethod(lambda: None)
    prepare: Callable[[], None] = staticmethod(lambda: None)
    judge: Callable[[list[Any]], list[str]] = staticmethod(lambda addresses: [])
    drain_s: Callable[[], float] = staticmethod(lambda: 0.0)
    _grace_s: int | None = None
    _told = STAY
    _told_at = float("inf")

    def setup(self, app: Any) -> None:
        bound = self.cfg.bind
        super().setup(app)
        # reload() would wait so long at its end; stop() needs the real one.
        self._grace_s = self.cfg.graceful_timeout
        self.cfg.set("graceful_timeout", 0)
        if trouble := self.judge(self.cfg.address):
            log.error("the new address cannot be, the old one stays: %s", "; ".join(trouble))
            self.cfg.set("bind", bound)

    def reload(self) -> None:
        # Reloads that follow one another closely shall not have ever more workers starting at once.
        self._kill_starting()
        super().reload()

    def handle_int(self) -> None:
        self._told = HURRY
        log.warning("the server stops at once, and ends what is running; a second signal kills")
        raise StopIteration

    handle_quit = handle_int

    def stop(self, graceful: bool = True) -> None:
        if self._grace_s is not None:
            self.cfg.set("graceful_timeout", self._grace_s)
        self._tell(max(self._told, STOP))
        serving = any(worker.shared[0] == SERVING for worker in self.WORKERS.values())
        if serving or self._told == HURRY or not select.select(self.LISTENERS, [], [], 0)[0]:
            self._kill_starting()
        # Else somebody has connected whom only a worker that is starting can answer.
        super().stop(True)

    def _tell(self, what: int) -> None:
        self._told, self._told_at = what, time.monotonic()
        for worker in self.WORKERS.values():
            worker.shared[1] = what

    def kill_workers(self, sig: int) -> None:
        if sig == signal.SIGQUIT:
            # gunicorn's stop() has met SIGINT or SIGQUIT while it waited. The workers themselves are deaf to both.
            if self._told != HURRY:
                self._tell(HURRY)
                return
            sig = signal.SIGKILL
        super().kill_workers(sig)

    def _kill_starting(self) -> None:
        """End the workers that do not serve yet: they have nothing to finish, and are deaf to a soft signal."""
        for worker in list(self.WORKERS.values()):
            if worker.shared[0] == STARTING:
                KILLED.add(worker.pid)
                self.kill_worker(worker.pid, signal.SIGKILL)

    @property
    def left_s(self) -> float:
        """How long it is until what has not ended is late; infinite before the server stops."""
        drain_s = 0.0 if self._told == HURRY else self.drain_s()
        return self._told_at + drain_s + LATE_S - time.monotonic()

    def _kill_stuck(self) -> None:
        """While the server stops: end the workers that are late and give no sign of life."""
        now = time.monotonic()
        if now - self._told_at < SILENT_S:
            return
        silent_s = {worker: now - worker.tmp.last_update() for worker in self.WORKERS.values()}
        if any(s > SILENT_S for s in silent_s.values()):
            self.prepare()
        if self.left_s > 0:
            return
        for worker, s in silent_s.items():
            if s > STUCK_S and worker.pid not in KILLED:
                KILLED.add(worker.pid)
                log.error("worker %d hangs, and is killed", worker.pid)
                self.kill_worker(worker.pid, signal.SIGKILL)

    def reap_workers(self) -> None:
        self._kill_stuck()
        try:
            super().reap_workers()
        except HaltServer as error:
            # A worker that could not start: no reason to end those that serve. manage_workers() tries again.
            if self._told == STAY and not any(worker.shared[0] == SERVING for worker in self.WORKERS.values()):
                raise
            log.error("a new worker cannot start (%s); those that serve go on", error.reason)

    def manage_workers(self) -> None:
        """Keep num_workers that stay; the others are sent away when these serve."""
        self.attend()
        known = sorted(self.WORKERS.values(), key=lambda worker: worker.age, reverse=True)
        staying = [worker for worker in known if worker.shared[0] != LEAVING]
        for _ in range(self.num_workers - len(staying)):
            try:
                self.spawn_worker()
            except OSError as error:
                if not any(worker.shared[0] == SERVING for worker in known):
                    raise
                log.error("a new worker cannot start (%s); those that serve go on", error.strerror)
        kept = staying[: self.num_workers]
        if len(kept) == self.num_workers and all(worker.shared[0] == SERVING for worker in kept):
            for worker in known:
                if worker not in kept and worker.shared[1] == STAY:
                    worker.shared[1] = LEAVE
                    self.kill_worker(worker.pid, signal.SIGTERM)


class Worker(GeventWorker):
    """gunicorn's gevent worker; see the module for how it ends."""

    def __init__(self, *told: Any) -> None:
        super().__init__(*told)
        # Anonymous and shared over the fork: the master's copy of this object and the worker's see the same bytes.
        self.shared = mmap.mmap(-1, 3)
        self.roll = Roll(self.worker_connections)

    @property
    def killed(self) -> bool:
        """For the master, when it is no more: whether it has served and has not ended by itself."""
        return self.shared[0] != STARTING and not self.shared[2]

    def init_process(self) -> None:
        self.stopping = gevent.event.Event()
        # Connections whose first request has not come yet, and kept-alive ones that wait for a further request.
        self.fresh: set[Any] = set()
        self.idle: set[Any] = set()
        super().init_process()
        # Everything is written. To take the interpreter down would cost half of the second that an exit may take.
        logging.shutdown()
        self.shared[2] = True
        os._exit(0)

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.alive = False
        self.stopping.set()

    def notify(self) -> None:
        self.tmp.notify()
        if self.ppid != os.getppid():
            # The master was killed, and the engine with it.
            self.shared[1] = STOP
            self.handle_exit(signal.SIGTERM, None)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        gevent.getcurrent().connection = client
        self.fresh.add(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self.fresh.discard(client)

    @contextlib.contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Around the wait for a request's head."""
        connection = gevent.getcurrent().connection
        wait_s = self.cfg.keepalive
        if connection not in self.fresh:
            self.idle.add(connection)
            if self.answers.crowded:
                wait_s = SHORT_WAIT_S
        try:
            with gevent.Timeout(wait_s, False):
                yield
        finally:
            self.idle.discard(connection)
            self.fresh.discard(connection)

    def run(self) -> None:
        pool = Pool(self.worker_connections)
        self.answers = self.wsgi.extensions["sluice"].answers
        self.answers.connections = pool
        servers = []
        for sock in self.sockets:
            sock.setblocking(1)
            bound = Bound(sock.getsockname())
            server = StreamServer(sock, handle=partial(self.handle, bound), spawn=pool)
            if self.cfg.workers > 1:
                server.max_accept = 1
            server.start()
            servers.append(server)
        # A full collection would go through everything that was loaded, each time: 65 ms in which no stream moves.
        gc.collect()
        gc.freeze()
        # And one with 2,000 streams, of 140 objects each, 130 ms; they are no garbage, and leave none in cycles.
        gc.set_threshold(700, 10, 1000)
        self.shared[0] = SERVING
        told_early = self.shared[1] != STAY
        while not self.stopping.is_set() and self.shared[1] == STAY:
            self.notify()
            if not self.alive:
                # max_requests: the master starts a successor, and then sends this one away.
                self.shared[0] = LEAVING
            self.stopping.wait(1.0)
        if told_early and self.shared[1] == STOP:
            # Nobody else answers whoever has connected meanwhile.
            gevent.sleep(LET_IN_S)
        self.shared[0] = LEAVING
        for server in servers:
            server.close()
        self.finish(pool)

    def finish(self, pool: Pool) -> None:
        """Return when every answer has ended and was written; see the module for the deadline."""
        sluice = self.wsgi.extensions["sluice"]
        draining: gevent.Greenlet | None = None
        hurried = False
        last = float("inf")
        while (len(pool) or not sluice.settled) and time.monotonic() < last:
            if draining is None and self.shared[1] == STOP:
                draining = gevent.spawn(self.drain, sluice)
            elif not hurried and self.shared[1] == HURRY:
                hurried, draining = True, gevent.spawn(sluice.drain, 0.0)
            if draining is not None and draining.ready() and last == float("inf"):
                last = time.monotonic() + LAST_S
                # Whoever has connected and asked nothing so far.
                self.idle |= self.fresh
            for connection in self.idle:
                with contextlib.suppress(OSError):
                    # The bare socket's: gevent's own would raise in the greenlet that waits.
                    connection._sock.shutdown(socket.SHUT_RD)
            self.notify()
            self.woken(pool)

    def woken(self, pool: Pool) -> None:
        """Wait a moment, or until the last connection has ended."""
        if len(pool):
            pool.join(0.05)
        else:
            gevent.sleep(0.05)

    def drain(self, sluice: Any) -> None:
        """The server stops: running answers finish within drain_s, then end with `shutting_down`."""
        began = time.monotonic()
        # Who was let in before the listener closed is served.
        while self.fresh and time.monotonic() < began + 0.1:
            gevent.sleep(0.01)
        sluice.drain(max(0.0, sluice.settings.server.drain_s - (time.monotonic() - began)))
