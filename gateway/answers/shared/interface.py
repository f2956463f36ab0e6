"""What answers.py asks of a log that other workers share; log/redis.py has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.answers.answers import Answer
    from gateway.answers.followable import Followed


class Mirroring(Protocol):
    """A log that other workers share.

    up   it does what it should; while it does not, a key holds in this worker only, and nobody waits for it
    """

    up: bool

    def put(self, answer: Answer) -> bool:
        """The answer has something new, to be shown once it is shared; False: it cannot be shared, show it now."""

    def claim(self, answer: Answer) -> tuple[str, str] | None:
        """Take its idempotency key for the answer; the id and digest of the one that has the key already, if any."""

    def find(self, answer_id: str, owner: str) -> Followed | None:
        """Another worker's answer, if it is `owner`'s. Raises Failure."""

    def followed_elsewhere(self, answer: Answer) -> bool:
        """Whether a reader on another worker follows it."""

    @property
    def settled(self) -> bool:
        """Whether all that was put is shared, or has failed to be."""
