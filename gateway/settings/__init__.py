"""The configuration: one YAML file, checked as a whole at start.

`${VAR}` and `${VAR:-default}` come from the environment. An unknown key, a missing secret or a bad value stops the
start with the key's path, never with the value of a secret. Relative paths start at the file's own folder.
"""

from gateway.settings.loading import DEFAULT_FILE, load, parse, run_with, running
from gateway.settings.problems import Problem, SettingsError, language
from gateway.settings.sections import Auth, DatabaseSettings, Key, KeyLimits, Limits, Server, Settings, TextToSql

__all__ = [
    "DEFAULT_FILE",
    "Auth",
    "DatabaseSettings",
    "Key",
    "KeyLimits",
    "Limits",
    "Problem",
    "Server",
    "Settings",
    "SettingsError",
    "TextToSql",
    "language",
    "load",
    "parse",
    "run_with",
    "running",
]
