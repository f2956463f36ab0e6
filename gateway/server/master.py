"""What runs around the application: gunicorn's settings and hooks, and the processes beside the workers.

The master starts a keeper for each local provider (it starts and watches the engine) and the metrics listener, reads
the configuration, and hands it to the workers it forks: they never read the file themselves, so a bad file at SIGHUP
keeps the old configuration everywhere. `deploy/gunicorn.conf.py` and `sluice serve` both use this module.
"""

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
from typing import Any

import gevent
import gevent.event
from gunicorn import glogging

from gateway import settings as configuration
from gateway.observability import logs
from gateway.server.workers import KILLED, Master
from gateway.settings import Settings, SettingsError

log = logging.getLogger("sluice.serving")

# Beside the gateway's own end of its streams (drain_s), so that their last events get out before workers are killed.
GRACE_S = 5


# A process beside the workers that died is started again after this, and after twice as long each time it dies again
# before it has lived for CALM_S.
AGAIN_S, AGAIN_AT_MOST_S = 0.5, 30.0
CALM_S = 60.0
# A process beside the workers has so long to end; when the whole server does, what is left of its time, and this.
ENDING_S, ENDING_AT_LEAST_S = 3.0, 0.2


class Child:
    """One process beside the workers; `told` is what it was started with."""

    def __init__(self, name: str, told: str, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self.name, self.told = name, told
        self._start = start
        self._wait_s = AGAIN_S
        self._again_at: float | None = None
        self._run()

    def _run(self) -> None:
        self.process = _deaf(self._start)
        self._began_at = time.monotonic()
        self._again_at = None

    def attend(self) -> None:
        """Start it again if it has died; called about every second."""
        now = time.monotonic()
        if self._again_at is not None:
            if now >= self._again_at:
                try:
                    self._run()
                except OSError as error:
                    log.error("%s cannot be started: %s", self.name, error)
                    self._again_at = now + AGAIN_AT_MOST_S
        elif self.process.poll() is not None:
            if now - self._began_at >= CALM_S:
                self._wait_s = AGAIN_S
            self._again_at = now + self._wait_s
            log.error("%s has died; it is started again in %g s", self.name, self._wait_s)
            self._wait_s = min(2 * self._wait_s, AGAIN_AT_MOST_S)


def _deaf(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a process that does not hear what a terminal sends to all: the master ends it when it ends itself."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGQUIT})
    try:
        return start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Beside:
    """The processes that the master runs beside its workers: a keeper for each engine, and the metrics listener."""

    def __init__(self) -> None:
        self._children: dict[str, Child] = {}

    def follow(self, settings: Settings) -> None:
        """Start what `settings` ask for, stop what they no longer do; what did not change is left running."""
        wanted = {}
        for name, provider in settings.providers.items():
            if provider.type == "local":
                from providers.local import supervisor

                start = partial(supervisor.start, name, provider, run_dir())
                wanted[f"the keeper of provider {name}"] = provider.model_dump_json(), start
        if bind := settings.server.metrics_bind:
            command = [sys.executable, "-m", "gateway.observability.metrics", bind]
            wanted["the metrics listener"] = bind, partial(subprocess.Popen, command, stdin=subprocess.PIPE)
        gone = [child for name, child in self._children.items() if wanted.get(name, ("",))[0] != child.told]
        stop([child.process for child in gone])
        for child in gone:
            del self._children[child.name]
        for name, (told, start) in wanted.items():
            if name not in self._children:
                self._children[name] = Child(name, told, start)

    def attend(self) -> None:
        """Start again what has died."""
        for child in self._children.values():
            try:
                child.attend()
            except Exception:
                # It is called in the master's loop, which must go on: it would end with every worker.
                log.exception("%s could not be looked after", child.name)

    def forget(self) -> None:
        """In a forked worker: let go of the pipes by which those processes notice that the master has died."""
        for child in self._children.values():
            if child.process.stdin:
                child.process.stdin.close()

    def stop(self, within_s: float = ENDING_S) -> None:
        for child in self._children.values():
            if child.name == "the metrics listener":
                # It holds nothing that would have to be written, so nobody waits for it.
                child.process.kill()
        stop([child.process for child in self._children.values()], within_s)


def stop(processes: list[subprocess.Popen[bytes]], within_s: float = ENDING_S) -> None:
    """End these processes: their standard input is closed, which they take as the gateway's end; else they are killed.

    An engine that its keeper has killed may take a while to give its memory back; whoever waits knows that it is free.
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


_beside = Beside()
# Addresses that gunicorn was told beside ours: by its own -b, or by systemd.
_others: set[str] = set()


def run_dir() -> Path:
    """This server's folder for sockets and metrics, mode 0700; workers and keepers find it in $SLUICE_RUN_DIR."""
    told = os.environ.get("SLUICE_RUN_DIR")
    if not told:
        told = tempfile.mkdtemp(prefix="sluice-")
        os.environ["SLUICE_RUN_DIR"] = told
        os.environ["SLUICE_RUN_DIR_IS_OURS"] = str(os.getpid())
    Path(told).mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(told)


def read() -> Settings:
    """The configuration, read anew; where the file has become bad, the one that is running, and a log line."""
    try:
        settings = configuration.load()
        if bind := os.environ.get("SLUICE_BIND"):
            settings.server.bind = bind
        if trouble := unsafe(settings, [settings.server.bind, *_others]):
            raise SettingsError("\n".join(trouble))
    except SettingsError as error:
        running = configuration.running()
        if running is None:
            print(f"sluice: the configuration cannot be used:\n{error}", file=sys.stderr)
            sys.exit(2)
        log.error("the configuration is bad, the old one stays: %s", "; ".join(str(error).splitlines()))
        return running
    for provider in settings.providers.values():
        logs.hide(provider.api_key, provider.secret_key)
    if configuration.running() is not None:
        log.info("the configuration was read again; new workers take over")
    configuration.run_with(settings)
    return settings


def unsafe(settings: Settings, binds: list[str]) -> list[str]:
    """Why these addresses must not be listened on with these settings, a sentence each."""
    found = []
    for bind in binds:
        server = settings.server.model_copy(update={"bind": bind})
        found += settings.model_copy(update={"server": server}).problems()
    return found


def judged(addresses: list[Any]) -> list[str]:
    """`unsafe` for addresses as gunicorn or a socket has them, with the running configuration.

    Those that are not the configuration's own are noted, and judged again at each reload.
    """
    settings = configuration.running() or read()
    binds = [_written(address) for address in addresses if not isinstance(address, int)]
    if trouble := unsafe(settings, binds):
        return trouble
    _others.update(bind for bind in binds if bind != settings.server.bind)
    return []


def _written(address: Any) -> str:
    """HOST:PORT or unix:PATH."""
    if not isinstance(address, tuple):
        return f"unix:{os.fsdecode(address)}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refuse(trouble: list[str]) -> None:
    """Say why the server cannot start, if there is a reason, and exit."""
    if trouble:
        print("sluice: " + "; ".join(trouble), file=sys.stderr)
        sys.exit(2)


def options(settings: Settings) -> dict[str, Any]:
    """gunicorn's settings for this configuration; see docs/deployment.md for the reason of each."""
    return {
        "bind": [settings.server.bind],
        "workers": settings.server.workers,
        "worker_class": "gateway.server.workers.Worker",
        "logger_class": "gateway.server.master.Logger",
        # Above our own admission limit, which answers 503; gunicorn's would leave the caller without a byte.
        "worker_connections": settings.server.max_streams * 2 + 1000,
        "keepalive": 5,
        "timeout": 30,
        # The longest that gunicorn takes: a question asked by GET is in it.
        "limit_request_line": 8190,
        "graceful_timeout": int(settings.server.drain_s) + GRACE_S,
        "control_socket_disable": True,
        "accesslog": None,
        "loglevel": "warning",
    }


def on_starting(server: Any) -> None:
    """In the master, before the first fork."""
    server.__class__ = Master
    # From here on: a signal that comes now waits until the workers are there to be told.
    server.init_signals()
    refuse(judged(server.address))
    server.attend, server.judge, server.prepare = _beside.attend, judged, prepare
    settings = configuration.running() or read()
    server.drain_s = lambda: (configuration.running() or settings).server.drain_s
    logs.configure(settings.folder)
    metrics_dir = run_dir() / "metrics"
    metrics_dir.mkdir(exist_ok=True)
    for left_over in metrics_dir.glob("*.db"):
        left_over.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir)
    _beside.follow(settings)


def when_ready(server: Any) -> None:
    """In the master, when it listens: descriptors that it was given, by systemd say, have an address only now."""
    if server.systemd or any(isinstance(address, int) for address in server.address):
        trouble = judged([listener.sock.getsockname() for listener in server.LISTENERS])
        if trouble:
            _beside.stop()
        refuse(trouble)


def on_reload(server: Any) -> None:
    # gunicorn has just read its own configuration anew, and ours with it.
    try:
        _beside.follow(configuration.running() or read())
    except Exception:
        log.exception("the processes beside the workers could not all follow the configuration")


def post_fork(server: Any, worker: Any) -> None:
    _beside.forget()


def child_exit(server: Any, worker: Any) -> None:
    """A worker has ended: its gauges must not be added up any more, and what it could not end itself is accounted for.

    The former is what prometheus_client.multiprocess.mark_process_dead does; importing it here would make every stop
    half a second longer.
    """
    try:
        if worker.killed:
            _account_for(worker)
        for gauges in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob(f"gauge_live*_{worker.pid}.db"):
            gauges.unlink(missing_ok=True)
    except Exception:
        # It is called in the master's loop, which must go on: it would end with every worker.
        log.exception("what worker %d left could not be accounted for", worker.pid)


def _account_for(worker: Any) -> None:
    left = worker.roll.left()
    lost = {"worker": worker.pid, "cause": "worker_died", "message": "the worker that made it was killed"}
    count = len(left)
    try:
        from gateway.observability import metrics

        # Fewer where its file is gone, or could not be made.
        count = max(count, metrics.died(worker.pid))
    finally:
        for n in range(count):
            logs.answered((left[n] if n < len(left) else {}) | lost)


def prepare() -> None:
    """While the server waits for a worker that hangs: what `child_exit` will need takes half a second to import."""
    import gateway.observability.metrics  # noqa: F401


def on_exit(server: Any) -> None:
    _beside.stop(min(ENDING_S, max(ENDING_AT_LEAST_S, server.left_s)))
    if os.environ.get("SLUICE_RUN_DIR_IS_OURS") == str(os.getpid()):
        import shutil

        shutil.rmtree(os.environ["SLUICE_RUN_DIR"], ignore_errors=True)


def post_worker_init(worker: Any) -> None:
    """In a worker whose application is loaded: the very first one says where the server is, once it can serve."""
    from gateway.observability import metrics

    sluice = worker.app.callable.extensions["sluice"]
    sluice.answers.observer.roll = worker.roll
    gevent.spawn(metrics.watch, sluice.providers)
    # In each worker, for each one opens the databases; also after a reload. A database that is down stops no gateway.
    sluice.databases.check()
    if worker.age == 1:
        gevent.spawn(announce, worker)


def announce(worker: Any) -> None:
    """Wait until a question could be answered, then print the URL."""
    ready = worker.app.callable.extensions["sluice"].ready
    said = ""
    while not (state := ready()).ok:
        if state.reason != said:
            said = state.reason
            print(f"sluice: not ready yet: {said}", flush=True)
        gevent.sleep(0.1)
    # What was really bound, which port 0 leaves to the system.
    address = worker.sockets[0].getsockname()
    url = f"unix:{address}" if isinstance(address, str) else "http://{}:{}".format(*address[:2])
    print(f"sluice: ready on {url}", flush=True)


class Logger(glogging.Logger):
    """gunicorn's loggers as logging.yaml has them: it adds no handler of its own."""

    def setup(self, cfg: Any) -> None:
        self.error_log.setLevel(logging.WARNING)
        self.access_log.setLevel(logging.CRITICAL)

    def error(self, msg: Any, *told: Any, **more: Any) -> None:
        # gunicorn's "Worker (pid:%s) was sent %s!"
        if not (told and told[0] in KILLED and "was sent" in msg):
            super().error(msg, *told, **more)


def master() -> None:
    """Become gunicorn's master; does not return."""
    from gunicorn.app.wsgiapp import run

    # A file, not a module: gunicorn reads a file anew at SIGHUP.
    sys.argv = ["sluice", "-c", str(Path(__file__).with_name("gunicorn_conf.py")), "wsgi:app"]
    run(prog="sluice")
