"""A secret that is drawn once per start: the master imports this module before it forks, so its workers share it."""

import secrets

START_SECRET = secrets.token_hex(32)
