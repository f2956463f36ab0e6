"""The configuration: one YAML file, checked as a whole at start.

`${VAR}` and `${VAR:-default}` come from the environment. An unknown key, a missing secret or a bad value stops the
start with the key's path, never with the value of a secret. Relative paths start at the file's own folder.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from providers.configuration import ProviderConfiguration, Seconds, Section

DEFAULT_FILE = "sluice.yaml"


class SettingsError(Exception):
    """The configuration cannot be used; the message names the key and says why, in one sentence a line."""


class Server(Section):
    bind: str = "127.0.0.1:9001"
    """HOST:PORT, or unix:PATH. One that other machines reach needs at least one key in `auth`."""
    workers: int = Field(1, ge=1, le=64)
    """Processes; each serves thousands of streams on one core."""
    heartbeat_s: Seconds = 10
    """Silence after which a comment is sent, so that nobody between takes the stream for dead."""
    commit_after_s: float = Field(2, ge=0)
    """The reply's head is held back so long for the first text or a failure, which is then a real HTTP status."""
    resume_window_s: float = Field(5, ge=0)
    """An answer that nobody reads any more goes on so long; 0 stops it at once."""
    write_timeout_s: Seconds = 30
    """A reader that takes nothing for so long is dropped."""
    max_streams: int = Field(2000, ge=1)
    """Answers being produced at once, per worker; one more is 503 with Retry-After."""
    drain_s: float = Field(20, ge=0)
    """At the end of a worker, running answers have so long to finish."""
    redis_url: str | None = None
    """Keep answers in Redis, so that every worker on every machine can resume and stop any of them."""
    log_bytes: int = Field(16 << 20, ge=1024)
    """Cap on what is kept of one answer."""
    log_age_s: Seconds = 600
    """How long a finished answer can still be read."""
    metrics_bind: str | None = "127.0.0.1:9002"
    """The listener of /metrics; null turns it off."""
    cors: list[str] = []
    """Origins whose pages may ask; none by default."""

    @field_validator("bind", "metrics_bind")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value is None or value.startswith("unix:"):
            return value
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ValueError('it is HOST:PORT, such as "127.0.0.1:9001"')
        return value

    @field_validator("redis_url")
    @classmethod
    def _a_redis(cls, value: str | None) -> str | None:
        if not value:
            return None
        # Judged here, not by redis: it takes names from ssl, and would take them before gevent has changed it.
        try:
            url = urlsplit(value)
            if url.scheme == "unix":
                known = bool(url.path)
            else:
                place = url.path.strip("/")
                known = url.scheme in ("redis", "rediss") and bool(url.hostname) and url.port != 0
                known = known and (not place or place.isdecimal())
        except ValueError:
            known = False
        if not known:
            # What is wrong may be beside a password, so that only ours is told.
            raise ValueError("it is no URL of a Redis; expected redis://HOST:PORT/0, rediss://… or unix:///PATH")
        return value

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach `bind`."""
        if self.bind.startswith("unix:"):
            return True
        host = self.bind.rpartition(":")[0].strip("[]")
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


class DatabaseSettings(Section):
    """A database that may be asked; only `tables` are ever shown or read (all, where it is left out)."""

    url: str
    """SQLAlchemy's form, such as postgresql://role@host/name, mysql://… or sqlite:///file.db."""
    tables: list[str] | None = None
    """The tables (or views) that may be shown to the model and read; all if left out."""
    execute: bool = True
    """Run the statements that pass; false only shows them."""
    row_limit: int = Field(200, ge=1, le=100_000)
    """Rows of one result."""
    byte_limit: int = Field(4 << 20, ge=1024)
    """Bytes of one result."""
    timeout_s: Seconds = 5
    """A statement that runs longer is cancelled."""
    columns: dict[str, list[str]] = {}
    """Table → the columns that may be read; a table that is not named is open whole."""
    samples: dict[str, Annotated[int, Field(ge=1, le=20)]] = {}
    """`table.column` → how many of its most frequent values the prompt shows; none unless named here."""
    connections: int = Field(8, ge=1, le=1000)
    """Statements that run at the same time in one worker; the next ones wait within their time limit."""
    refresh_s: Seconds = 300
    """How old the schema may be before it is read again."""
    unsafe_role: str = ""
    """Why a role that can do more than read is accepted, in writing: who decided it, and why."""
    examples: str = ""
    """A YAML file of confirmed pairs of question and SQL."""
    memory: str = ""
    """A file for the pairs that feedback confirms; kept by the gateway. Nothing is remembered without it."""

    @field_validator("unsafe_role")
    @classmethod
    def _in_writing(cls, value: str) -> str:
        if value and len(value.strip()) < 20:
            raise ValueError("say in a sentence who accepts the role's rights, and why")
        return value

    @field_validator("url")
    @classmethod
    def _a_url(cls, value: str) -> str:
        try:
            make_url(value)
        except ArgumentError:
            raise ValueError("it is no database URL; expected one such as postgresql://role@host/name") from None
        if make_url(value).get_backend_name() not in ("sqlite", "postgresql", "mysql", "mariadb"):
            raise ValueError("it is neither PostgreSQL, MySQL, MariaDB nor SQLite")
        return value


class Key(Section):
    """A caller's key."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The key's SHA-256 digest in hex; the key itself is nowhere on the server."""
    name: str = ""
    """What logs and limits call it."""


class Auth(Section):
    keys: list[Key] = []
    """Digests, or {sha256, name}; with none, everybody who reaches the server may ask."""

    @field_validator("keys", mode="before")
    @classmethod
    def _digests(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"sha256": item} if isinstance(item, str) else item for item in value]
        return value


class Limits(Section):
    requests: str | None = None
    """Questions per key (or address, without keys), such as "60/minute"."""
    streams_per_key: int | None = Field(None, ge=1)
    """Answers being produced at once per key."""

    @field_validator("requests")
    @classmethod
    def _a_rate(cls, value: str | None) -> str | None:
        from limits import parse_many

        if value is not None:
            try:
                parse_many(value)
            except ValueError:
                raise ValueError('it is a rate such as "60/minute"') from None
        return value


class TextToSql(Section):
    corrections: int = Field(1, ge=0, le=5)
    """How often the model is asked again, with the reason, when its statement was refused or failed."""
    prompt_tokens: int = Field(6000, ge=200)
    """Budget of the prompt; a larger schema is narrowed to the tables that the question needs."""
    language: Literal["zh", "en"] = "zh"
    """The prompt's language where the question does not say."""
    log_sql: bool = False
    """The log line of an answer has its statements' text, which may hold words of the question."""


class Settings(Section):
    """The whole file."""

    server: Server = Server()
    default: str = ""
    fallbacks: list[str] = []
    providers: dict[str, ProviderConfiguration]
    databases: dict[str, DatabaseSettings] = {}
    auth: Auth = Auth()
    limits: Limits = Limits()
    text2sql: TextToSql = TextToSql()
    # Where the file was read from; relative paths start at its folder.
    folder: Path = Field(Path("."), exclude=True)

    def problems(self) -> list[str]:
        """What is wrong between keys that are right by themselves, a sentence each."""
        found = []
        if not self.providers:
            found.append("providers: at least one is needed")
        elif self.default not in self.providers:
            found.append(f"default: {self.default!r} is not one of providers ({', '.join(self.providers)})")
        else:
            missing = self.providers[self.default].missing_secrets
            found += [
                f"providers.{self.default}.{key}: the default provider needs it, and it is not set" for key in missing
            ]
        found += [
            f"fallbacks: {name!r} is not one of providers" for name in self.fallbacks if name not in self.providers
        ]
        if "none" in self.databases:
            found.append("databases.none: the name is taken, it means a plain chat")
        if not self.server.is_loopback and not self.auth.keys:
            found.append(
                f"auth.keys: {self.server.bind} can be reached from other machines, so at least one key is needed"
            )
        return found


# The configuration that this process runs with: the master sets it and forks its workers, which read no file.
_running: Settings | None = None


def running() -> Settings | None:
    """The configuration that this process runs with, if it was set."""
    return _running


def run_with(settings: Settings) -> None:
    """Make `settings` what this process, and those that it forks, run with."""
    global _running
    _running = settings


class Yaml(yaml.SafeLoader):
    """YAML 1.2's booleans only: `on`, `off`, `yes` and `no` are words, and may be names of providers."""


Yaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:bool"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load(path: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings in `path` (or $SLUICE_CONFIG, or sluice.yaml).

    Raises SettingsError, one line a problem, each with the key's path.
    """
    file = Path(path or environ.get("SLUICE_CONFIG") or DEFAULT_FILE)
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: it is not UTF-8 text") from None
    try:
        raw = yaml.load(text, Yaml)  # noqa: S506 - Yaml is a subclass of SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise SettingsError(f"{file}: {where}{getattr(error, 'problem', None) or 'it is not YAML'}") from None
    if not isinstance(raw, dict):
        raise SettingsError(f"{file}: expected keys such as `providers:`, found {type(raw).__name__}")
    return parse(raw, folder=file.resolve().parent, environ=environ)


def parse(raw: dict[str, Any], folder: Path = Path("."), environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the file's content; raises SettingsError as `load` does."""
    unset: list[str] = []
    filled = _fill(raw, environ, (), unset)
    try:
        settings = Settings.model_validate(filled)
    except ValidationError as error:
        raise SettingsError("\n".join(_sentences(error))) from None
    settings.folder = folder
    found = unset + settings.problems()
    if found:
        raise SettingsError("\n".join(found))
    _resolve_paths(settings, folder)
    return settings


def _fill(value: Any, environ: Mapping[str, str], path: tuple[str, ...], unset: list[str]) -> Any:
    """`value` with its ${VAR}s replaced; an unset one is "" in a provider's secret, else a problem."""
    if isinstance(value, dict):
        return {str(key): _fill(item, environ, (*path, str(key)), unset) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environ, (*path, str(n)), unset) for n, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        name, default = match.groups()
        if environ.get(name):
            return environ[name]
        if default is None and not (path and path[0] == "providers" and path[-1] in ("api_key", "secret_key")):
            unset.append(f"{'.'.join(path)}: the environment variable {name} is not set")
        return default or ""

    return _VARIABLE.sub(replaced, value)


def _sentences(error: ValidationError) -> list[str]:
    told = []
    for problem in error.errors(include_url=False, include_input=False):
        path = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("function-"))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown key"
        elif problem["type"] == "missing":
            message = "it is missing"
        told.append(f"{path}: {message}")
    return told


def _resolve_paths(settings: Settings, folder: Path) -> None:
    """Make relative paths absolute: SQLite files, and local models that are a folder there."""
    for database in settings.databases.values():
        url = make_url(database.url)
        if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
            database.url = url.set(database=str(folder / url.database)).render_as_string(hide_password=False)
        if database.examples:
            database.examples = str(folder / database.examples)
        if database.memory:
            database.memory = str(folder / database.memory)
    for provider in settings.providers.values():
        if provider.type == "local" and (folder / provider.model).exists():
            provider.model = str(folder / provider.model)
