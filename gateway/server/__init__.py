"""gunicorn's master and workers, and the processes beside them."""
