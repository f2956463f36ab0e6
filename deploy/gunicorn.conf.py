# gunicorn's configuration for Sluice: `gunicorn -c deploy/gunicorn.conf.py wsgi:app` is the server of `sluice serve`.
# bind, workers and the time to drain come from Sluice's own configuration ($SLUICE_CONFIG, or sluice.yaml).
from gateway.server import master
from gateway.server.master import child_exit, on_exit, on_reload, on_starting, post_fork, post_worker_init, when_ready  # noqa: F401

globals().update(master.options(master.read()))

# What you may want to set yourself comes here, after the line above. Keep in mind:
#   max_requests         a worker that has had so many goes on until its successor serves, then finishes what it has
#   worker_connections   stays above server.max_streams: beyond it gunicorn is silent, where Sluice answers 503
#   graceful_timeout     stays above server.drain_s: at that moment workers are killed without a word
