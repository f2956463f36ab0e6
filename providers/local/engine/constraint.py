"""One reply's place in its grammar: which tokens may come next. A thought before the constrained text is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from providers.local.engine.detokeniser import Vocabulary


@dataclass(slots=True)
class FreeThought:
    """The thought that may come before the constrained text.

    inside       whether the reply is in the thought
    open_token   the token that opens a thought at the very beginning; None where none can begin, or not any more
    closing      the bytes that end it
    """

    vocabulary: Vocabulary
    inside: bool
    open_token: int | None
    closing: bytes
    _tail: bytes = b""

    def takes(self, token: int) -> bool:
        """Whether `token` belongs to the thought; the grammar sees it otherwise."""
        if self.inside:
            self._tail = (self._tail + self.vocabulary.of(token))[-64:]
            self.inside = self.closing not in self._tail
            return True
        opens, self.open_token = token == self.open_token, None
        self.inside = opens
        return opens


class Constraint:
    """One reply's place in its grammar; `matcher` is llguidance's."""

    def __init__(self, matcher: Any, thought: FreeThought | None = None) -> None:
        self.matcher = matcher
        self._thought = thought

    def advance(self, token: int) -> None:
        """The reply goes on with `token`."""
        if self._thought is None or not self._thought.takes(token):
            self.matcher.consume_token(token)

    @property
    def free(self) -> bool:
        """Whether every token may come next: the reply is in a thought."""
        return self._thought is not None and self._thought.inside

    @property
    def also(self) -> int | None:
        """A token that may come next whatever the grammar says: the one that opens a thought."""
        return None if self._thought is None else self._thought.open_token

    @property
    def failed(self) -> bool:
        """Whether the grammar library has given up: then no token may come next."""
        return bool(self.matcher.is_error())
