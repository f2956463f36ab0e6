"""Who asks: `Authorization: Bearer <key>`, where the configuration has keys, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac

from flask import g, request

from gateway.errors import Failure
from gateway.settings import Auth


class Keys:
    """The keys that may ask, as SHA-256 digests; none at all means everybody may."""

    def __init__(self, auth: Auth) -> None:
        self._digests = [(key.sha256.encode(), key.name or key.sha256[:8]) for key in auth.keys]

    def owner(self, authorization: str | None) -> tuple[str, str]:
        """The digest of the caller's key and its name; ("", "") where no key is needed. Raises Failure (401)."""
        if not self._digests:
            return "", ""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Failure("unauthorized", "a key is needed: Authorization: Bearer <key>")
        digest = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).hexdigest().encode()
        found = ""
        # Every key is compared, so that the time says nothing about which one came close.
        for known, name in self._digests:
            if hmac.compare_digest(known, digest):
                found = name
        if not found:
            raise Failure("unauthorized", "this key is not known here")
        return digest.decode(), found


def check(keys: Keys) -> None:
    """Before a route that needs a key: note whose request this is in `g.owner` and `g.caller`. Raises Failure (401)."""
    g.owner, g.caller = keys.owner(request.headers.get("Authorization"))
