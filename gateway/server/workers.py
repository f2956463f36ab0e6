"""gunicorn's master and worker, changed so that no stream is cut and no question waits when workers are replaced.

A worker ends because of a reload, because it has served `max_requests`, or because the server stops. Only when the
server stops do its running answers have a deadline: `drain_s`, after which they end with `shutting_down`. Otherwise
they are finished. The worker accepts questions until as many younger workers serve. gunicorn 27 itself starts the
successor of a recycled worker only after that worker has ended, and after a reload it waits for old workers without
handling any signal.

SIGINT and SIGQUIT to the master stop at once: running answers end with `shutting_down`; a second signal kills. A
terminal sends both to the whole process group, so every process but the master ignores them.
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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import gevent
import gevent.event
from gevent.pool import Pool
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.workers.ggevent import GeventWorker

from gateway import gunicorn_reply
from gateway.bare_socket import bare
from gateway.observability.in_flight import InFlight
from gateway.server import chunked_body, refusals
from gateway.server.listener import Listener

log = logging.getLogger("sluice.workers")

# Worker and master share three bytes: the worker's state, the master's order, and whether the worker ended by itself.
# A signal alone would be lost on a worker that is still starting.
STARTING, SERVING, LEAVING = range(3)
STAY, LEAVE, STOP, HURRY = range(4)

# Seconds that a slow reader gets to take the rest after the last answer's end, or after drain_s.
LAST_S = 0.4
# A worker that has not ended LATE_S after drain_s and has sent no sign of life for STUCK_S is killed: the server ends
# within drain_s + 1 s even if an event loop hangs. A worker that is only slow has graceful_timeout.
LATE_S = 0.4
STUCK_S = 0.5
# A worker that is silent for SILENT_S while the server stops may hang: a running one gives a sign of life each 0.05 s.
SILENT_S = 0.3
# Seconds for which a worker that must stop while it starts accepts the connections that wait for it.
LET_IN_S = 0.1
# Seconds that an idle kept-alive connection is kept when connections are scarce.
SHORT_WAIT_S = 0.2


# Process ids of workers that the master killed because they were starting or hung.
KILLED: set[int] = set()


@dataclass(frozen=True, slots=True)
class Bound:
    """A listener's address, for connections that are still handled after the listener was closed."""

    address: Any

    def getsockname(self) -> Any:
        return self.address


class Master(Arbiter):
    """gunicorn's arbiter; `on_starting` turns the arbiter that gunicorn created into this class."""

    WORKERS: dict[int, Worker]
    num_workers: int
    # Set by the hooks in master.py: restart dead children, import what is needed when a worker was killed, list the
    # problems of addresses, and the seconds that running answers get when the server stops.
    check_children: Callable[[], None] = staticmethod(lambda: None)
    preload: Callable[[], None] = staticmethod(lambda: None)
    address_problems: Callable[[list[Any]], list[Any]] = staticmethod(lambda addresses: [])
    drain_s: Callable[[], float] = staticmethod(lambda: 0.0)
    _grace_s: int | None = None
    _order = STAY
    _ordered_at = float("inf")

    def setup(self, app: Any) -> None:
        bound = self.cfg.bind
        super().setup(app)
        # reload() would wait for graceful_timeout at its end; stop() needs the real value.
        self._grace_s = self.cfg.graceful_timeout
        self.cfg.set("graceful_timeout", 0)
        if problems := self.address_problems(self.cfg.address):
            log.error("bind: the new address is not usable, the old one stays: %s", "; ".join(map(str, problems)))
            self.cfg.set("bind", bound)

    def reload(self) -> None:
        # Several reloads in a row must not start more and more workers at the same time.
        self._kill_starting()
        super().reload()

    def handle_int(self) -> None:
        self._order = HURRY
        log.warning("the server stops at once and ends running answers; a second signal kills it")
        raise StopIteration

    handle_quit = handle_int

    def stop(self, graceful: bool = True) -> None:
        if self._grace_s is not None:
            self.cfg.set("graceful_timeout", self._grace_s)
        self._give_order(max(self._order, STOP))
        serving = any(worker.shared[0] == SERVING for worker in self.WORKERS.values())
        if serving or self._order == HURRY or not select.select(self.LISTENERS, [], [], 0)[0]:
            self._kill_starting()
        # Otherwise a client is connected that only a starting worker can answer.
        super().stop(True)

    def _give_order(self, order: int) -> None:
        self._order, self._ordered_at = order, time.monotonic()
        for worker in self.WORKERS.values():
            worker.shared[1] = order

    def kill_workers(self, sig: int) -> None:
        if sig == signal.SIGQUIT:
            # gunicorn's stop() received SIGINT or SIGQUIT while it waited. The workers themselves ignore both.
            if self._order != HURRY:
                self._give_order(HURRY)
                return
            sig = signal.SIGKILL
        super().kill_workers(sig)

    def _kill_starting(self) -> None:
        """Kill the workers that do not serve yet: they have nothing to finish and do not react to SIGTERM."""
        for worker in list(self.WORKERS.values()):
            if worker.shared[0] == STARTING:
                KILLED.add(worker.pid)
                self.kill_worker(worker.pid, signal.SIGKILL)

    @property
    def left_s(self) -> float:
        """Seconds until workers that have not ended are late; infinite before the server stops."""
        drain_s = 0.0 if self._order == HURRY else self.drain_s()
        return self._ordered_at + drain_s + LATE_S - time.monotonic()

    def _kill_stuck(self) -> None:
        """While the server stops: kill the workers that are late and give no sign of life."""
        now = time.monotonic()
        if now - self._ordered_at < SILENT_S:
            return
        silent_s = {worker: now - worker.tmp.last_update() for worker in self.WORKERS.values()}
        if any(s > SILENT_S for s in silent_s.values()):
            self.preload()
        if self.left_s > 0:
            return
        for worker, s in silent_s.items():
            if s > STUCK_S and worker.pid not in KILLED:
                KILLED.add(worker.pid)
                log.error("worker %d: hangs, and is killed", worker.pid)
                self.kill_worker(worker.pid, signal.SIGKILL)

    def reap_workers(self) -> None:
        self._kill_stuck()
        try:
            super().reap_workers()
        except HaltServer as error:
            # A worker could not start: those that serve go on, and manage_workers() tries again.
            if self._order == STAY and not any(worker.shared[0] == SERVING for worker in self.WORKERS.values()):
                raise
            log.error("a new worker cannot start (%s); those that serve go on", error.reason)

    def manage_workers(self) -> None:
        """Keep the num_workers youngest; order the others to leave once these serve."""
        self.check_children()
        workers = sorted(self.WORKERS.values(), key=lambda worker: worker.age, reverse=True)
        staying = [worker for worker in workers if worker.shared[0] != LEAVING]
        for _ in range(self.num_workers - len(staying)):
            try:
                self.spawn_worker()
            except OSError as error:
                if not any(worker.shared[0] == SERVING for worker in workers):
                    raise
                log.error("a new worker cannot start (%s); those that serve go on", error.strerror)
        kept = staying[: self.num_workers]
        if len(kept) == self.num_workers and all(worker.shared[0] == SERVING for worker in kept):
            for worker in workers:
                if worker not in kept and worker.shared[1] == STAY:
                    worker.shared[1] = LEAVE
                    self.kill_worker(worker.pid, signal.SIGTERM)


class HeadTimeout(gevent.Timeout):
    """In `with`: waits for a request's head for so many seconds, and ends in silence."""

    def __init__(self, worker: Worker, connection: Any, seconds: float) -> None:
        super().__init__(seconds, False)
        self._worker, self._connection = worker, connection

    def __exit__(self, *raised: Any) -> Any:
        self._worker.idle.discard(self._connection)
        self._worker.fresh.discard(self._connection)
        return super().__exit__(*raised)


class Worker(GeventWorker):
    """gunicorn's gevent worker; see the module for how it ends."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # Anonymous shared memory: after the fork the master's copy of this object and the worker's see the same bytes.
        self.shared = mmap.mmap(-1, 3)
        self.in_flight = InFlight(self.worker_connections)

    @property
    def killed(self) -> bool:
        """For the master, after the worker ended: whether it had served and did not end by itself."""
        return self.shared[0] != STARTING and not self.shared[2]

    def init_process(self) -> None:
        self.stopping = gevent.event.Event()
        chunked_body.install()
        gunicorn_reply.install()
        # Connections whose first request has not come yet; kept-alive connections that wait for a further request.
        self.fresh: set[Any] = set()
        self.idle: set[Any] = set()
        super().init_process()
        # Everything is written. An orderly exit of the interpreter would take half of the second that an exit may take.
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
            # The master was killed, and with it the engine.
            self.shared[1] = STOP
            self.handle_exit(signal.SIGTERM, None)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        gevent.getcurrent().connection = client
        self.fresh.add(client)
        try:
            super().handle(listener, client, addr)
        finally:
            self.fresh.discard(client)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that could not be read, or whose handling failed outside the application."""
        refusal = refusals.refusal(exc)
        if refusal is refusals.CRASHED:
            log.error("a request failed outside the application", exc_info=exc)
        else:
            log.warning("a request of %s was refused: %s", addr[0] if addr else "a unix socket", refusal.message)
        with contextlib.suppress(OSError):
            client.sendall(refusal.reply())

    def timeout_ctx(self) -> HeadTimeout:
        """gunicorn's deadline around the wait for a request's head."""
        connection = gevent.getcurrent().connection
        wait_s = self.cfg.keepalive
        if connection not in self.fresh:
            self.idle.add(connection)
            if self.answers.crowded:
                wait_s = SHORT_WAIT_S
        return HeadTimeout(self, connection, wait_s)

    def run(self) -> None:
        # gunicorn looks its settings up some thirty times for each question, through __getattr__ and their objects.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        pool = Pool(self.worker_connections)
        self.answers = self.wsgi.extensions["sluice"].answers
        self.answers.connections = pool
        servers = []
        for sock in self.sockets:
            sock.setblocking(1)
            bound = Bound(sock.getsockname())
            server = Listener(sock, handle=partial(self.handle, bound), spawn=pool)
            if self.cfg.workers > 1:
                server.max_accept = 1
            server.start()
            servers.append(server)
        # Without the freeze each full collection visits everything that was loaded: 65 ms in which no stream moves.
        gc.collect()
        gc.freeze()
        # With 2,000 streams of 140 objects each a full collection takes 130 ms, and finds nothing: they have no cycles.
        gc.set_threshold(700, 10, 1000)
        self.shared[0] = SERVING
        ordered_early = self.shared[1] != STAY
        while not self.stopping.is_set() and self.shared[1] == STAY:
            self.notify()
            if not self.alive:
                # max_requests: the master starts a successor, then orders this worker to leave.
                self.shared[0] = LEAVING
            self.stopping.wait(1.0)
        if ordered_early and self.shared[1] == STOP:
            # No other worker answers the clients that have connected meanwhile.
            gevent.sleep(LET_IN_S)
        self.shared[0] = LEAVING
        for server in servers:
            server.close()
        self.finish(pool)

    def finish(self, pool: Pool) -> None:
        """Return when every answer has ended and is written; the module's docstring has the deadline."""
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
                # Connections that have asked nothing so far.
                self.idle |= self.fresh
            for connection in self.idle:
                with contextlib.suppress(OSError):
                    # On the bare socket: gevent's shutdown would raise in the greenlet that waits.
                    bare(connection).shutdown(socket.SHUT_RD)
            self.notify()
            self.pause(pool)

    def pause(self, pool: Pool) -> None:
        """Wait a moment, or until the last connection has ended."""
        if len(pool):
            pool.join(0.05)
        else:
            gevent.sleep(0.05)

    def drain(self, sluice: Any) -> None:
        """The server stops: running answers finish within drain_s, then end with `shutting_down`."""
        began = time.monotonic()
        # Connections that were accepted before the listener closed are served.
        while self.fresh and time.monotonic() < began + 0.1:
            gevent.sleep(0.01)
        sluice.drain(max(0.0, sluice.settings.server.drain_s - (time.monotonic() - began)))
