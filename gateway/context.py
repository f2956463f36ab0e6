"""What the routes of one worker share. `current()` gives it for the request that is being served."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flask import Request, current_app, g, request

from gateway.access.auth import Keys
from gateway.access.client_address import Proxies
from gateway.access.origin import Origins
from gateway.access.rate_limit import Rate
from gateway.access.tickets import Tickets
from gateway.answers.answers import Answers
from gateway.exports import Exports
from gateway.settings import Settings
from gateway.text2sql.configured import Configured
from providers import Described, Providers


@dataclass(frozen=True, slots=True)
class Ready:
    """Whether a question could be answered now; `reason` says why not.

    engines    provider → the reason, for each provider whose engine cannot answer yet
    databases  database → why it could not be asked at the last try, None where it could
    redis      why answers are not shared, None where they are, or need not be
    """

    ok: bool
    reason: str
    providers: list[Described]
    engines: dict[str, str]
    databases: dict[str, str | None]
    redis: str | None

    @property
    def status(self) -> str:
        """ "ok", "degraded" (it answers, but something that it uses does not), or "unavailable"."""
        if not self.ok:
            return "unavailable"
        return "degraded" if self.redis or any(self.databases.values()) else "ok"


@dataclass(slots=True)
class Sluice:
    settings: Settings
    providers: Providers
    databases: Configured
    answers: Answers
    keys: Keys
    rate: Rate
    origins: Origins
    proxies: Proxies
    tickets: Tickets
    exports: Exports = field(default_factory=Exports)

    def ready(self) -> Ready:
        """Whether this worker can serve: it is not stopping, and its default provider is available."""
        described = self.providers.described()
        reason = "the gateway is being restarted" if self.answers.draining else ""
        engines = {
            name: engine["reason"] for name, engine in self.providers.engines().items() if engine["state"] != "serving"
        }
        if self.settings.default in engines:
            reason = reason or f"provider {self.settings.default}: {engines[self.settings.default]}"
        for provider in described:
            if provider.name == self.settings.default and not provider.available and not reason:
                reason = f"provider {provider.name}: {provider.reason or 'not available'}"
        databases = {database.name: database.trouble for database in self.databases}
        shared = self.answers.shared
        redis = "Redis takes no writes: answers stay in their workers' memory" if shared and not shared.up else None
        return Ready(not reason, reason, described, engines, databases, redis)

    @property
    def settled(self) -> bool:
        """Whether no answer is being produced, and other workers can find every event."""
        return self.answers.settled

    def drain(self, within_s: float | None = None) -> None:
        """Begin no more answers; return when every answer has ended, after `within_s` (drain_s) at the latest."""
        self.answers.drain(within_s)


def current() -> Sluice:
    """The gateway that serves the current request."""
    sluice: Sluice = current_app.extensions["sluice"]
    return sluice


# The objects behind Flask's proxies (werkzeug documents the call): each look-up through a proxy costs three calls.


def asked() -> Request:
    """The current request."""
    flask_request: Request = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return flask_request


def kept() -> Any:
    """What is kept for the current request: `owner`, `caller`, `rights`, `request_id`, `received_at`, see app.py."""
    return g._get_current_object()  # noqa: SLF001
