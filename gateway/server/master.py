"""gunicorn's settings and hooks, the same for `sluice serve` and `deploy/gunicorn.conf.py`.

The master reads the configuration and hands it to the workers that it forks. The workers never read the file, so a bad
file at SIGHUP keeps the old configuration everywhere. The master also starts the processes of `children.py`.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import gevent
from gunicorn import glogging, util

from gateway import settings as configuration
from gateway.access import start_secret, valid_keys  # noqa: F401 - start_secret: drawn before workers are forked
from gateway.answers.headroom import raise_limit
from gateway.answers.retention import KEPT_BYTES
from gateway.observability import logs, metric_files
from gateway.server.children import ENDING_S, Children, run_dir
from gateway.server.workers import KILLED, Master
from gateway.settings import Problem, Settings, SettingsError

log = logging.getLogger("sluice.serving")

# Added to drain_s, so that the streams' last events are sent before gunicorn kills the workers.
GRACE_S = 5


# At the end of the server children get what is left of its time to end, and at least this many seconds.
ENDING_AT_LEAST_S = 0.2

_children = Children()
# Addresses that gunicorn listens on besides `server.bind`: from its option -b, or from systemd.
_other_binds: set[str] = set()


def read() -> Settings:
    """The configuration, read again; if the file has become bad, a log line and the running configuration."""
    try:
        settings = configuration.load()
        if bind := os.environ.get("SLUICE_BIND"):
            settings.server.bind = bind
        if problems := bind_problems(settings, [settings.server.bind, *_other_binds]):
            raise SettingsError(problems)
    except SettingsError as error:
        running = configuration.running()
        if running is None:
            print(f"sluice: the configuration cannot be used:\n{error.text(configuration.language())}", file=sys.stderr)
            sys.exit(2)
        log.error("the configuration is bad, the old one stays: %s", "; ".join(str(error).splitlines()))
        return running
    except Exception as error:
        # gunicorn would end, with every worker. The error's text may quote the file.
        running = configuration.running()
        if running is None:
            raise
        log.error("the configuration cannot be read (%s), the old one stays", type(error).__name__)
        return running
    for provider in settings.providers.values():
        logs.hide(provider.api_key, provider.secret_key)
    if configuration.running() is not None:
        log.info("the configuration was read again; new workers take over")
    configuration.run_with(settings)
    if folder := os.environ.get("SLUICE_RUN_DIR"):
        _publish_keys(settings, Path(folder))
    return settings


def _publish_keys(settings: Settings, folder: Path) -> None:
    try:
        valid_keys.publish(settings, folder)
    except OSError as error:
        log.error("auth.keys: old workers cannot learn which keys were revoked: %s", error.strerror)


def bind_problems(settings: Settings, binds: list[str]) -> list[Problem]:
    """Why these addresses must not be listened on with these settings."""
    problems: list[Problem] = []
    for bind in binds:
        server = settings.server.model_copy(update={"bind": bind})
        problems += settings.model_copy(update={"server": server}).problems()
    return problems


def address_problems(addresses: list[Any]) -> list[Problem]:
    """`bind_problems` for addresses as gunicorn or a socket has them, with the running configuration.

    Addresses besides `server.bind` are kept, and checked again at each reload.
    """
    settings = configuration.running() or read()
    binds = [_bind_of(address) for address in addresses if not isinstance(address, int)]
    if problems := bind_problems(settings, binds):
        return problems
    _other_binds.update(bind for bind in binds if bind != settings.server.bind)
    return []


def parsed_address(bind: str) -> tuple[str, int] | str | int | None:
    """What gunicorn listens on for `bind`: host and port, a socket's path, a descriptor; None if it cannot be read."""
    try:
        address: tuple[str, int] | str | int = util.parse_address(bind)
    except (RuntimeError, ValueError):
        return None
    if isinstance(address, tuple) and not (address[0] and 0 <= address[1] <= 65535):
        return None
    return address


def _bind_of(address: Any) -> str:
    """The address as `server.bind` writes it: HOST:PORT or unix:PATH."""
    if not isinstance(address, tuple):
        return f"unix:{os.fsdecode(address)}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def exit_if(problems: list[Problem]) -> None:
    """Print the problems, if there are any, and exit with 2."""
    if problems:
        print("sluice: " + "; ".join(map(str, problems)), file=sys.stderr)
        sys.exit(2)


def options(settings: Settings) -> dict[str, Any]:
    """gunicorn's settings for this configuration; see docs/deployment.md for the reason of each."""
    return {
        "bind": [settings.server.bind],
        "workers": settings.server.workers,
        "worker_class": "gateway.server.workers.Worker",
        "logger_class": "gateway.server.master.Logger",
        # Above our own limit, which answers 503: beyond its own limit gunicorn sends the caller no byte.
        "worker_connections": settings.server.max_streams * 2 + 1000,
        "keepalive": 5,
        "timeout": 30,
        # The longest that gunicorn accepts, because a question asked by GET is part of the line.
        "limit_request_line": 8190,
        "graceful_timeout": int(settings.server.drain_s) + GRACE_S,
        "control_socket_disable": True,
        # A unix socket is 0660: its owner's and its group's, so that of nginx.
        "umask": 0o117 if settings.server.bind.startswith("unix:") else 0,
        "accesslog": None,
        "loglevel": "warning",
    }


def on_starting(server: Any) -> None:
    """In the master, before the first fork."""
    server.__class__ = Master
    # Signals that come from here on are queued until the workers exist.
    server.init_signals()
    exit_if(address_problems(server.address))
    server.check_children, server.address_problems, server.preload = _children.check, address_problems, preload
    settings = configuration.running() or read()
    server.drain_s = lambda: (configuration.running() or settings).server.drain_s
    logs.configure(settings.folder)
    limit = raise_limit()
    for note in settings.notes(limit, KEPT_BYTES):
        print(f"sluice: note: {note.sentence(configuration.language())}", file=sys.stderr)
    metrics_dir = run_dir() / "metrics"
    metrics_dir.mkdir(exist_ok=True)
    for left_over in metrics_dir.glob("*.db"):
        left_over.unlink()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir)
    _children.follow(settings)


def when_ready(server: Any) -> None:
    """In the master, when it listens: descriptors inherited from systemd have an address only now."""
    if server.systemd or any(isinstance(address, int) for address in server.address):
        problems = address_problems([listener.sock.getsockname() for listener in server.LISTENERS])
        if problems:
            _children.stop()
        exit_if(problems)


def on_reload(server: Any) -> None:
    # gunicorn has just read its own configuration again, and ours with it.
    try:
        _children.follow(configuration.running() or read())
    except Exception:
        log.exception("reload: not every child process could follow the new configuration")


def post_fork(server: Any, worker: Any) -> None:
    _children.close_pipes()


def child_exit(server: Any, worker: Any) -> None:
    """In the master, when a worker has ended: account for answers that it did not end, and retire its metric files."""
    try:
        if worker.killed:
            _account_for(worker)
        metric_files.retire(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]), worker.pid)
    except Exception:
        # Called in the master's loop: an exception there would end the master and every worker.
        log.exception("worker %d: its unfinished answers could not be accounted for", worker.pid)


def _account_for(worker: Any) -> None:
    left = worker.in_flight.left()
    lost = {"worker": worker.pid, "cause": "worker_died", "message": "the worker that produced it was killed"}
    count = len(left)
    try:
        from gateway.observability import metrics

        # The metric file counts fewer if it is gone or could not be created.
        count = max(count, metrics.died(worker.pid))
    finally:
        for n in range(count):
            logs.answered((left[n] if n < len(left) else {}) | lost)


def preload() -> None:
    """Import what `child_exit` needs, which takes half a second, while the server waits for a worker that hangs."""
    import gateway.observability.metrics  # noqa: F401


def on_exit(server: Any) -> None:
    _children.stop(min(ENDING_S, max(ENDING_AT_LEAST_S, server.left_s)))
    if os.environ.get("SLUICE_RUN_DIR_IS_OURS") == str(os.getpid()):
        import shutil

        shutil.rmtree(os.environ["SLUICE_RUN_DIR"], ignore_errors=True)


def post_worker_init(worker: Any) -> None:
    """In a worker whose application is loaded; the first worker of all prints the URL once it can serve."""
    from gateway.access import revocation
    from gateway.observability import metrics

    sluice = worker.app.callable.extensions["sluice"]
    sluice.answers.observer.in_flight = worker.in_flight
    gevent.spawn(metrics.watch, sluice)
    gevent.spawn(revocation.watch, sluice.keys, sluice.answers, run_dir())
    # In each worker, because each one opens the databases; also after a reload. A database that is down is no reason
    # to stop.
    sluice.databases.check()
    if worker.age == 1:
        gevent.spawn(announce, worker)


def announce(worker: Any) -> None:
    """Wait until a question could be answered, then print the URL."""
    ready = worker.app.callable.extensions["sluice"].ready
    printed = ""
    while not (state := ready()).ok:
        if state.reason != printed:
            printed = state.reason
            print(f"sluice: not ready yet: {printed}", flush=True)
        gevent.sleep(0.1)
    # The address that was really bound: with port 0 the system chooses it.
    address = worker.sockets[0].getsockname()
    url = f"unix:{address}" if isinstance(address, str) else "http://{}:{}".format(*address[:2])
    print(f"sluice: ready on {url}", flush=True)


class Logger(glogging.Logger):
    """gunicorn's loggers with the handlers of logging.yaml only."""

    def setup(self, cfg: Any) -> None:
        self.error_log.setLevel(logging.WARNING)
        self.access_log.setLevel(logging.CRITICAL)

    def error(self, msg: Any, *values: Any, **more: Any) -> None:
        # Not gunicorn's "Worker (pid:%s) was sent %s!" for workers that the master killed on purpose.
        if not (values and values[0] in KILLED and "was sent" in msg):
            super().error(msg, *values, **more)


def master() -> None:
    """Become gunicorn's master; does not return."""
    from gunicorn.app.wsgiapp import WSGIApplication

    class Application(WSGIApplication):
        def chdir(self) -> None:
            # gunicorn's own puts the current folder before our packages: an application's `gateway` would be taken.
            os.chdir(self.cfg.chdir)

    # A file, not a module: gunicorn reads a file again at SIGHUP.
    sys.argv = ["sluice", "-c", str(Path(__file__).with_name("gunicorn_conf.py")), "wsgi:app"]
    Application("%(prog)s [OPTIONS]", prog="sluice").run()
