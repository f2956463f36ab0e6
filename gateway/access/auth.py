"""Who asks: a key in `Authorization: Bearer <key>`, `x-api-key` or `api-key`, and its rights.

Where the configuration has no keys, every caller may do everything but see the operator's details.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.errors import Failure
from gateway.settings import Auth, Key

# Headers that carry a key beside Authorization, as OpenAI's and Anthropic's clients send it.
KEY_HEADERS = ("x-api-key", "api-key")


class Headers(Protocol):
    """A request's headers, looked up without regard to case."""

    def get(self, key: str, default: str, /) -> str: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """
    owner       the digest of its key, "" where no key is needed: whose an answer is
    name        what logs and metrics call it
    providers   the names that it may ask; None: all
    databases   likewise
    requests    its own rate, None: the one of `limits`
    streams     its own number of answers at once, None: the one of `limits`
    """

    owner: str = ""
    name: str = ""
    providers: frozenset[str] | None = None
    databases: frozenset[str] | None = None
    admin: bool = False
    requests: str | None = None
    streams: int | None = None

    @classmethod
    def of(cls, key: Key) -> Caller:
        return cls(
            key.sha256,
            key.name or key.sha256[:8],
            None if key.providers is None else frozenset(key.providers),
            None if key.databases is None else frozenset(key.databases),
            key.admin,
            key.limits.requests,
            key.limits.streams,
        )

    def may_ask(self, provider: str) -> bool:
        """Whether it may ask this provider."""
        return self.providers is None or provider in self.providers

    def may_read(self, database: str) -> bool:
        """Whether it may ask this database; "none" is a plain chat."""
        return self.databases is None or database == "none" or database in self.databases

    def providers_of(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that it may ask."""
        return [name for name in names if self.may_ask(name)]

    def databases_of(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that it may ask."""
        return [name for name in names if self.may_read(name)]


ANYONE = Caller()


def digest(key: str) -> str:
    """The SHA-256 digest of a key, as the configuration has it."""
    return hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).hexdigest()


class Keys:
    """The keys that may ask; none at all means that every caller may."""

    def __init__(self, auth: Auth) -> None:
        self._keys = [(key, Caller.of(key)) for key in auth.keys]
        # Digests that a later configuration no longer has; an old worker must refuse them as well.
        self._revoked: frozenset[str] = frozenset()

    @property
    def needed(self) -> bool:
        """Whether a caller needs a key."""
        return bool(self._keys)

    def caller(self, headers: Headers) -> Caller:
        """Who sends these headers; raises Failure (401)."""
        if not self._keys:
            return ANYONE
        return self.of(sent_key(headers))

    def of(self, key: str) -> Caller:
        """Whose this key is; raises Failure (401)."""
        return self._valid(digest(key))

    def owners(self) -> list[str]:
        """The digests of all keys; [""] where no key is needed."""
        return [key.sha256 for key, _ in self._keys] or [""]

    def owner(self, owner: str) -> Caller:
        """The caller with this digest, if it is still valid; raises Failure (401)."""
        return self._valid(owner) if self._keys else ANYONE

    def _valid(self, sought: str) -> Caller:
        entry: tuple[Key, Caller] | None = None
        # Every key is compared, so that the time says nothing about which one came close.
        for candidate in self._keys:
            if hmac.compare_digest(candidate[0].sha256.encode(), sought.encode()):
                entry = candidate
        if entry is None or sought in self._revoked:
            raise Failure("unauthorized", "Authorization: unknown key; expected one that is configured in auth.keys")
        if entry[0].expired():
            raise Failure("unauthorized", "Authorization: this key has expired; ask the operator for a new one")
        return entry[1]

    def revoke_all_but(self, owners: Iterable[str]) -> None:
        """Refuse the keys that are not among these digests."""
        self._revoked = frozenset(key.sha256 for key, _ in self._keys) - frozenset(owners)

    def ended(self, now: datetime | None = None) -> frozenset[str]:
        """Digests of keys that were valid and are not: expired ones, and revoked ones."""
        return self._revoked | {key.sha256 for key, _ in self._keys if key.expired(now)}


def sent_key(headers: Headers) -> str:
    """The key in these headers; raises Failure (401)."""
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key
    for name in KEY_HEADERS:
        if key := headers.get(name, ""):
            return key
    raise Failure("unauthorized", "Authorization: is required, but missing; expected Bearer <key>")
