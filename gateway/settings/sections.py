"""The sections of the configuration: every key, its type, its default and its meaning, declared once.

A validator's message is what stands behind the key: "must be …"; what came is added by `translation.py`.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from gateway.settings.problems import Problem, hint, shown
from providers.configuration import ProviderConfiguration, Seconds, Section

_HOST = re.compile(r"[A-Za-z0-9_*-]+(\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\]")


# Open files of a worker beside a client and an upstream for each stream.
DESCRIPTORS_BESIDE = 128


def _rate(value: str | None) -> str | None:
    from limits import parse_many

    if value is not None:
        try:
            parse_many(value)
        except ValueError:
            raise ValueError('must be a rate such as "60/minute"') from None
    return value


class Server(Section):
    bind: str = "127.0.0.1:9001"
    """HOST:PORT, or unix:PATH. One that other machines reach needs at least one key in `auth`."""
    workers: int = Field(1, ge=1, le=64)
    """Processes; each serves thousands of streams on one core."""
    heartbeat_s: Seconds = 10
    """Silence after which a comment is sent, so that no proxy takes the stream for dead."""
    commit_after_s: float = Field(2, ge=0)
    """Seconds that the reply's head waits for the first text, or for a failure, which is then a real HTTP status."""
    resume_window_s: float = Field(5, ge=0)
    """Seconds that an answer without readers goes on, so that one can come back; 0 stops it at once."""
    write_timeout_s: Seconds = 30
    """Seconds after which a reader that takes nothing is dropped."""
    max_streams: int = Field(2000, ge=1)
    """Answers being produced at once, per worker; one more is 503 with Retry-After."""
    drain_s: float = Field(20, ge=0)
    """Seconds that running answers get to finish when a worker shuts down."""
    redis_url: str | None = None
    """Keep answers in Redis, so that every worker on every machine can resume and stop any of them."""
    log_bytes: int = Field(16 << 20, ge=1024)
    """Cap on the kept events of one answer, in bytes."""
    log_age_s: Seconds = 600
    """Seconds that a finished answer can still be read."""
    metrics_bind: str | None = "127.0.0.1:9002"
    """The listener of /metrics; null turns it off."""
    body_bytes: int | None = Field(None, ge=1024)
    """Cap on a request's body, in bytes; 20 MiB on /v1 and 1 MiB elsewhere if left out."""
    cors: list[str] = []
    """Origins whose pages may ask, such as https://app.example; none by default."""
    frame_ancestors: list[str] = []
    """Origins whose pages may show ours in a frame, such as https://intranet.example; none by default."""
    hosts: list[str] = []
    """Host names that clients use, besides loopback names and the one in `bind`. Without keys no other is served."""
    trusted_proxies: list[str] = ["127.0.0.0/8", "::1/128"]
    """Addresses or networks of proxies whose X-Forwarded-For is believed; a unix socket's peer always is."""

    @field_validator("bind", "metrics_bind")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value is None or value.startswith("unix:"):
            return value
        host, _, port = value.rpartition(":")
        good = bool(host) and not re.search(r"[\s/]", host) and port.isascii() and port.isdigit() and int(port) <= 65535
        if not good or (":" in host and not host.startswith("[")):
            raise ValueError('must be HOST:PORT, for example "127.0.0.1:9001", an IPv6 host in brackets')
        return value

    @field_validator("cors", "frame_ancestors")
    @classmethod
    def _origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if origin != "*" and not re.fullmatch(r"https?://[^/\s*?#]+", origin):
                raise ValueError(f'must be origins such as "https://app.example", without a path, got {shown(origin)}')
        return value

    @field_validator("hosts")
    @classmethod
    def _host_names(cls, value: list[str]) -> list[str]:
        for host in value:
            if not _HOST.fullmatch(host):
                raise ValueError(
                    f'must be host names such as "sluice.example", without a scheme or a port, got {shown(host)}'
                )
        return [host.lower() for host in value]

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for network in value:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                raise ValueError(f'must be addresses or networks such as "10.0.0.0/8", got {shown(network)}') from None
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
                valid = bool(url.path)
            else:
                place = url.path.strip("/")
                valid = url.scheme in ("redis", "rediss") and bool(url.hostname) and url.port != 0
                valid = valid and (not place or place.isdecimal())
        except ValueError:
            valid = False
        if not valid:
            # The wrong part may stand beside a password, so the message shows nothing of the URL.
            raise ValueError("not a valid Redis URL; expected redis://HOST:PORT/0, rediss://… or unix:///PATH")
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
    """A database that questions are asked of; only `tables` are ever shown or read (all, where it is left out)."""

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
    export_rows: int = Field(100_000, ge=0, le=10_000_000)
    """Rows of a result that is saved whole as CSV (`POST /sql` with `all_rows`); 0 turns it off."""
    export_bytes: int = Field(64 << 20, ge=1024)
    """Bytes of such a result, as the database gives them."""
    export_timeout_s: Seconds = 60
    """The time limit of such a statement."""
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
    timezone: str = ""
    """Time zone of a session, such as Asia/Shanghai or +08:00: what "today" means; the database's own if left out."""
    examples: str = ""
    """A YAML file of confirmed pairs of question and SQL."""
    memory: str = ""
    """A file for the pairs that feedback confirms; kept by the gateway. Nothing is remembered without it."""

    @field_validator("unsafe_role")
    @classmethod
    def _in_writing(cls, value: str) -> str:
        if value and len(value.strip()) < 20:
            raise ValueError("must be a sentence of at least 20 characters: who accepts the role's rights, and why")
        return value

    @field_validator("timezone")
    @classmethod
    def _a_zone(cls, value: str) -> str:
        zones = available_timezones()
        # A system without the list of zones cannot judge a name; the database will.
        if not value or not zones or value in zones or value == "SYSTEM" or re.fullmatch(r"[+-]\d{1,2}:\d{2}", value):
            return value
        parts = {zone.rpartition("/")[2].lower(): zone for zone in sorted(zones) if "/" in zone}
        near = {"beijing": "Asia/Shanghai", "北京": "Asia/Shanghai", "cst": "Asia/Shanghai", **parts}
        close = difflib.get_close_matches(value.rpartition("/")[2].lower().replace(" ", "_"), near, 1, 0.8)
        meant = f"; did you mean {near[close[0]]}?" if close else ""
        raise ValueError(f"must be a time zone such as Asia/Shanghai or +08:00, got {shown(value)}{meant}")

    @field_validator("url")
    @classmethod
    def _a_url(cls, value: str) -> str:
        # Where no database is configured it is not imported: 12 MB of each process.
        from sqlalchemy import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            # Hosters write postgres://, which libpq takes, too.
            value = re.sub(r"^postgres(?=[:+])", "postgresql", value)
            url = make_url(value)
        except (ArgumentError, ValueError):
            raise ValueError("not a database URL; expected one such as postgresql://role@host:5432/name") from None
        if url.get_backend_name() not in ("sqlite", "postgresql", "mysql", "mariadb"):
            raise ValueError("must be a URL of PostgreSQL, MySQL, MariaDB or SQLite")
        if url.host and "@" in url.host:
            raise ValueError('not a database URL: write "@" in a password as %40, ":" as %3A and "/" as %2F')
        if url.get_backend_name() == "sqlite" and url.host:
            raise ValueError("must have three slashes before a relative file: sqlite:///file.db")
        return value


class KeyLimits(Section):
    """Limits of one key, in place of those in `limits`."""

    requests: str | None = None
    """Questions of this key, such as "60/minute"."""
    streams: int | None = Field(None, ge=1)
    """Answers being produced at once for this key."""

    @field_validator("requests")
    @classmethod
    def _a_rate(cls, value: str | None) -> str | None:
        return _rate(value)


class Key(Section):
    """A caller's key."""

    sha256: str
    """The key's SHA-256 digest in hex; the key itself is nowhere on the server."""
    name: str = Field("", max_length=64)
    """What logs and limits call it."""
    providers: list[str] | None = None
    """Providers that it may ask; all if left out. The first of them answers where the default may not be asked."""
    databases: list[str] | None = None
    """Databases that it may ask; all if left out, [] leaves plain chats."""
    admin: bool = False
    """Opens the details of /readyz and the operator's overview."""
    expires: datetime | None = None
    """Date or time from which on it is refused; without a zone it is UTC."""
    limits: KeyLimits = KeyLimits()
    """In place of those in `limits` below."""

    @field_validator("sha256")
    @classmethod
    def _a_digest(cls, value: str) -> str:
        value = value.lower().removeprefix("sha256:")
        if not re.fullmatch("[0-9a-f]{64}", value):
            raise ValueError(
                "must be the SHA-256 digest of a key (64 hex digits), not the key itself; "
                "`sluice keys new NAME` makes both"
            )
        return value

    @field_validator("expires")
    @classmethod
    def _with_zone(cls, value: datetime | None) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value

    def expired(self, now: datetime | None = None) -> bool:
        """Whether it is refused by now."""
        return self.expires is not None and (now or datetime.now(UTC)) >= self.expires


class Auth(Section):
    keys: list[Key] = []
    """Digests, or entries as below; with none, every caller who reaches the server may ask."""
    secret: str | None = None
    """Signs tickets; at least 16 characters, the same on every machine. A random one per start if left out."""

    @field_validator("keys", mode="before")
    @classmethod
    def _digests(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"sha256": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("secret")
    @classmethod
    def _long_enough(cls, value: str | None) -> str | None:
        if value is not None and len(value) < 16:
            raise ValueError("must have at least 16 characters")
        return value


class Limits(Section):
    requests: str | None = None
    """Questions per key (or address, without keys), such as "60/minute"."""
    streams_per_key: int | None = Field(None, ge=1)
    """Answers being produced at once per key."""

    @field_validator("requests")
    @classmethod
    def _a_rate(cls, value: str | None) -> str | None:
        return _rate(value)


class Compat(Section):
    """The older forms /api and /conversation/."""

    question: str | None = Field(None, min_length=1, max_length=8000)
    """Asked when /api is posted without a body; such a request is refused if left out."""


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
    compat: Compat = Compat()
    # Where the file was read from; relative paths start at its folder.
    folder: Path = Field(Path("."), exclude=True)

    def problems(self) -> list[Problem]:
        """What is wrong between keys that are right by themselves."""
        return [*self._provider_problems(), *self._key_problems()]

    def _provider_problems(self) -> list[Problem]:
        problems = []
        names = list(self.providers)
        if not names:
            problems.append(Problem("providers", "no_provider"))
        elif not self.default:
            problems.append(Problem("default", "default_missing", {"hint": hint("", names)}))
        elif self.default not in self.providers:
            problems.append(_unknown("default", "provider", self.default, names))
        else:
            chosen = self.providers[self.default]
            for key in chosen.missing_secrets:
                variable = chosen.unset_variable(key)
                said = ("default_variable", {"variable": variable}) if variable else ("default_secret", {})
                problems.append(Problem(f"providers.{self.default}.{key}", *said))
        problems += [
            _unknown(f"fallbacks.{n}", "provider", name, names)
            for n, name in enumerate(self.fallbacks)
            if name not in self.providers
        ]
        if "none" in self.databases:
            problems.append(Problem("databases.none", "reserved_name"))
        return problems

    def _key_problems(self) -> list[Problem]:
        problems = []
        if not self.server.is_loopback and not self.auth.keys:
            problems.append(Problem("auth.keys", "open_without_keys", {"bind": self.server.bind}))
        names: set[str] = set()
        for n, key in enumerate(self.auth.keys):
            where = f"auth.keys.{n}"
            if key.name and key.name in names:
                problems.append(Problem(f"{where}.name", "same_name"))
            names.add(key.name)
            for i, name in enumerate(key.providers or ()):
                if name not in self.providers:
                    problems.append(_unknown(f"{where}.providers.{i}", "provider", name, list(self.providers)))
            for i, name in enumerate(key.databases or ()):
                if name not in self.databases:
                    problems.append(_unknown(f"{where}.databases.{i}", "database", name, list(self.databases)))
        return problems

    def notes(self, descriptors: int, kept_bytes: int) -> list[Problem]:
        """What an operator should know before it surprises, though the server can run with it.

        descriptors   files that a worker may have open
        kept_bytes    memory for a worker's ended answers
        """
        server = self.server
        problems = [Problem("server.log_age_s", "note_kept", {"age": server.log_age_s, "total": kept_bytes >> 20})]
        if server.workers > 1 and not server.redis_url:
            problems.append(Problem("server.workers", "note_workers", {"workers": server.workers}))
        needed = 2 * server.max_streams + DESCRIPTORS_BESIDE
        if descriptors < needed:
            values = {"streams": server.max_streams, "needed": needed, "limit": descriptors}
            problems.append(Problem("server.max_streams", "note_descriptors", values))
        return problems


def _unknown(key: str, what: str, name: str, known: list[str]) -> Problem:
    kinds = {"provider": ("provider", "模型服务"), "database": ("database", "数据库")}
    return Problem(key, "unknown_name", {"what": kinds[what], "name": name, "hint": hint(name, known)})
