"""gunicorn's configuration, made from Sluice's: `sluice serve` runs with this, deploy/gunicorn.conf.py is the same."""

from gateway import serving
from gateway.serving import child_exit, on_exit, on_reload, on_starting, post_fork, post_worker_init, when_ready

globals().update(serving.options(serving.read()))

__all__ = ["child_exit", "on_exit", "on_reload", "on_starting", "post_fork", "post_worker_init", "when_ready"]
