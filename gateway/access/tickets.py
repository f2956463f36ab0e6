"""Tickets: what a client that cannot send a header (a native EventSource) brings in place of its key.

    ticket = payload . mac          both base64url; mac = HMAC-SHA256 of the payload with auth.secret

The payload names its key by a fingerprint that only the secret can make, an expiry, an id, and what it is bound to. A
ticket opens GET /getAnwser and the answer routes for EXPIRES_IN_S. After that it still follows the answers that were
begun with it, as long as they are kept, so that an EventSource's own reconnects work. It reaches no log, metric or
store: answers keep its id alone, from which no ticket can be made.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable

import msgspec

from gateway.access.start_secret import START_SECRET
from gateway.errors import Failure

EXPIRES_IN_S = 60
MAX_CHARACTERS = 2000


class Ticket(msgspec.Struct, frozen=True, rename={"key": "k", "expires_at": "x", "id": "i"}):
    """
    key          the fingerprint of the key that it stands for; "" without keys
    expires_at   seconds since the epoch
    answer, database, origin   what it is bound to; None: not bound
    """

    key: str
    expires_at: int
    id: str
    answer: str | None = None
    database: str | None = None
    origin: str | None = None

    def expired(self, now: float | None = None) -> bool:
        """Whether it no longer opens anything but the answers that were begun with it."""
        return (time.time() if now is None else now) >= self.expires_at


_decoder = msgspec.json.Decoder(Ticket)


class Tickets:
    def __init__(self, secret: str | None) -> None:
        """`secret` is auth.secret: the same on every machine whose answers one ticket should open."""
        self._secret = hashlib.sha256(b"sluice tickets\0" + (secret or START_SECRET).encode()).digest()

    def issue(
        self, owner: str, *, answer: str | None = None, database: str | None = None, origin: str | None = None
    ) -> str:
        """A new ticket for the key with digest `owner`."""
        expires_at = int(time.time()) + EXPIRES_IN_S
        ticket = Ticket(self._fingerprint(owner), expires_at, secrets.token_urlsafe(12), answer, database, origin)
        payload = base64.urlsafe_b64encode(msgspec.json.encode(ticket)).rstrip(b"=")
        return f"{payload.decode()}.{self._mac(payload)}"

    def read(self, text: str) -> Ticket:
        """The ticket in `text`, expired or not; raises Failure (401) where this gateway did not make it."""
        payload, _, mac = text.partition(".")
        good = len(text) <= MAX_CHARACTERS and text.isascii()
        if not good or not hmac.compare_digest(self._mac(payload.encode()).encode(), mac.encode()):
            raise Failure("unauthorized", "ticket: is not valid; POST /tickets gives a new one")
        try:
            return _decoder.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (ValueError, msgspec.MsgspecError):
            # Only an older or newer version with the same secret signs what cannot be read here.
            raise Failure("unauthorized", "ticket: is of another version; POST /tickets gives a new one") from None

    def owner(self, ticket: Ticket, owners: Iterable[str]) -> str:
        """The digest among `owners` that the ticket stands for; raises Failure (401) where there is none any more."""
        match = None
        for owner in owners:
            if hmac.compare_digest(self._fingerprint(owner), ticket.key):
                match = owner
        if match is None:
            raise Failure("unauthorized", "ticket: its key is no longer valid; use another key")
        return match

    def _fingerprint(self, owner: str) -> str:
        return hmac.new(self._secret, b"key\0" + owner.encode(), hashlib.sha256).hexdigest()[:32]

    def _mac(self, payload: bytes) -> str:
        digest = hmac.new(self._secret, b"ticket\0" + payload, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
