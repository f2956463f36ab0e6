"""One reply's place in its grammar: which tokens may come next."""

from __future__ import annotations

from typing import Any


class Constraint:
    """One reply's place in its grammar."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def advance(self, token: int) -> None:
        """The reply goes on with `token`."""
        self._matcher.consume_token(token)

    def mask(self) -> bytes:
        """One byte per token, 0 where the reply may not go on with it; all are 0 where the grammar failed."""
        allowed: bytes = self._matcher.compute_logit_bias()
        return bytes(len(allowed)) if self._matcher.is_error() else allowed
