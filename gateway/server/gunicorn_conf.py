"""gunicorn's configuration, made from Sluice's: `sluice serve` runs with this, deploy/gunicorn.conf.py is the same."""

from gateway.server import master
from gateway.server.master import child_exit, on_exit, on_reload, on_starting, post_fork, post_worker_init, when_ready

globals().update(master.options(master.read()))

__all__ = ["child_exit", "on_exit", "on_reload", "on_starting", "post_fork", "post_worker_init", "when_ready"]
