"""What runs around the application: gunicorn's settings and hooks, and the processes beside the workers.

The master starts a keeper for each local provider (it starts and watches the engine) and the metrics listener, reads
the configuration, and hands it to the workers it forks: they never read the file themselves, so a bad file at SIGHUP
keeps the old configuration everywhere. `deploy/gunicorn.conf.py` and `sluice serve` both use this module.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gevent
import gevent.event
from gunicorn import glogging

from gateway import logs
from gateway import settings as configuration
from gateway.settings import Settings, SettingsError
from gateway.workers import Master

log = logging.getLogger("sluice.serving")

# Beside the gateway's own end of its streams (drain_s), so that their last events get out before workers are killed.
GRACE_S = 5


class Beside:
    """The processes that the master runs beside its workers."""

    def __init__(self) -> None:
        self.keepers: dict[str, tuple[str, list[subprocess.Popen[bytes]]]] = {}
        self.metrics: tuple[str, subprocess.Popen[bytes]] | None = None

    def follow(self, settings: Settings) -> None:
        """Start what `settings` ask for, stop what they no longer do; what did not change is left running."""
        wanted = {
            name: provider.model_dump_json()
            for name, provider in settings.providers.items()
            if provider.type == "local"
        }
        for name, (told, processes) in list(self.keepers.items()):
            if wanted.get(name) != told:
                stop(processes)
                del self.keepers[name]
        for name in wanted.keys() - self.keepers.keys():
            from providers.local import keeper

            self.keepers[name] = wanted[name], [keeper.start(name, settings.providers[name], run_dir())]
        bind = settings.server.metrics_bind
        if self.metrics and self.metrics[0] != bind:
            stop([self.metrics[1]])
            self.metrics = None
        if bind and self.metrics is None:
            command = [sys.executable, "-m", "gateway.metrics", bind]
            self.metrics = bind, subprocess.Popen(command, stdin=subprocess.PIPE)

    def processes(self) -> list[subprocess.Popen[bytes]]:
        found = [process for _, processes in self.keepers.values() for process in processes]
        return found + ([self.metrics[1]] if self.metrics else [])

    def forget(self) -> None:
        """In a forked worker: let go of the pipes by which those processes notice that the master has died."""
        for process in self.processes():
            if process.stdin:
                process.stdin.close()

    def stop(self) -> None:
        if self.metrics:
            # It holds nothing that would have to be written, so nobody waits for it.
            self.metrics[1].kill()
        stop(self.processes())


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End these processes: their standard input is closed, which they take as the gateway's end; killed after 3 s."""
    for process in processes:
        if process.stdin:
            process.stdin.close()
    deadline = time.monotonic() + 3
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_beside = Beside()


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
    except SettingsError as error:
        running = configuration.running()
        if running is None:
            print(f"sluice: the configuration cannot be used:\n{error}", file=sys.stderr)
            sys.exit(2)
        log.error("the configuration is bad, the old one stays: %s", "; ".join(str(error).splitlines()))
        return running
    if bind := os.environ.get("SLUICE_BIND"):
        settings.server.bind = bind
    for provider in settings.providers.values():
        logs.hide(provider.api_key, provider.secret_key)
    if configuration.running() is not None:
        log.info("the configuration was read again; new workers take over")
    configuration.run_with(settings)
    return settings


def options(settings: Settings) -> dict[str, Any]:
    """gunicorn's settings for this configuration; see docs/deployment.md for the reason of each."""
    return {
        "bind": [settings.server.bind],
        "workers": settings.server.workers,
        "worker_class": "gateway.workers.Worker",
        "logger_class": "gateway.serving.Logger",
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
    settings = configuration.running() or read()
    logs.configure(settings.folder)
    metrics_dir = run_dir() / "metrics"
    metrics_dir.mkdir(exist_ok=True)
    for left_over in metrics_dir.glob("*.db"):
        left_over.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir)
    _beside.follow(settings)


def on_reload(server: Any) -> None:
    # gunicorn has just read its own configuration anew, and ours with it.
    _beside.follow(configuration.running() or read())


def post_fork(server: Any, worker: Any) -> None:
    _beside.forget()


def child_exit(server: Any, worker: Any) -> None:
    """A worker has ended: its gauges must not be added up any more.

    What prometheus_client.multiprocess.mark_process_dead does; importing it here would make every stop half a second
    longer.
    """
    for gauges in (run_dir() / "metrics").glob(f"gauge_live*_{worker.pid}.db"):
        gauges.unlink(missing_ok=True)


def on_exit(server: Any) -> None:
    _beside.stop()
    if os.environ.get("SLUICE_RUN_DIR_IS_OURS") == str(os.getpid()):
        import shutil

        shutil.rmtree(os.environ["SLUICE_RUN_DIR"], ignore_errors=True)


def post_worker_init(worker: Any) -> None:
    """In a worker whose application is loaded: the very first one says where the server is, once it can serve."""
    from gateway import metrics

    gevent.spawn(metrics.watch, worker.app.callable.extensions["sluice"].providers)
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


def master() -> None:
    """Become gunicorn's master; does not return."""
    from gunicorn.app.wsgiapp import run

    # A file, not a module: gunicorn reads a file anew at SIGHUP.
    sys.argv = ["sluice", "-c", str(Path(__file__).with_name("gunicorn_conf.py")), "wsgi:app"]
    run(prog="sluice")
