"""One worker's gateway: what its routes share. `here()` is the one that serves the current request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from flask import current_app

from gateway.access.auth import Keys
from gateway.access.rate_limit import Rate
from gateway.answers.answers import Answers
from gateway.settings import Settings
from gateway.text2sql.database import Databases
from providers import Described, Providers


@dataclass(frozen=True, slots=True)
class Ready:
    """Whether a question could be answered now; `reason` says why not.

    engines   provider → why its engine cannot answer yet, of those that cannot
    """

    ok: bool
    reason: str
    providers: list[Described]
    engines: dict[str, str]


@dataclass(slots=True)
class Sluice:
    settings: Settings
    providers: Providers
    databases: Databases
    answers: Answers
    keys: Keys
    rate: Rate

    def ready(self) -> Ready:
        """Whether this worker can serve: it is not ending, and its default provider could be asked."""
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
        return Ready(not reason, reason, described, engines)

    @property
    def settled(self) -> bool:
        """Whether nothing is being produced, and all that was is where other workers find it."""
        return self.answers.settled

    def drain(self, within_s: float | None = None) -> None:
        """Begin nothing more; returns when every answer has ended, the last of them after `within_s` (drain_s)."""
        self.answers.drain(within_s)

    def described(self, name: str) -> Any:
        """What there is to say about provider `name`; raises KeyError."""
        for provider in self.providers.described():
            if provider.name == name:
                return provider
        raise KeyError(name)


def here() -> Sluice:
    """The gateway that serves the current request."""
    return cast(Sluice, current_app.extensions["sluice"])
