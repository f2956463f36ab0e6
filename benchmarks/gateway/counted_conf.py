"""The shipped gunicorn configuration for a worker under callgrind, which is always late: that must refuse nothing."""

import math

from gateway.answers import headroom
from gateway.server import gunicorn_conf

headroom.TOO_LATE_S = math.inf
globals().update({name: value for name, value in vars(gunicorn_conf).items() if not name.startswith("__")})
