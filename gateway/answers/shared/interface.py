"""What the parts of the shared log need from each other. store.py implements both protocols over Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from gateway.answers.followable import Followable
from gateway.answers.production import Answer
from gateway.settings import Server


class SharedAnswers(Protocol):
    """A log that other workers share.

    up   whether it takes writes now; while False, idempotency keys hold in this worker only and readers do not wait
    """

    up: bool

    def put(self, answer: Answer) -> bool:
        """Queue the answer's new events: they are shown once they are shared. False: not possible, show them now."""

    def claim(self, answer: Answer) -> tuple[str, str] | None:
        """Take the idempotency key for the answer; returns the id and question digest of its holder if it is taken."""

    def find(self, answer_id: str, owner: str) -> Followable | None:
        """Another worker's answer if `owner` asked it, else None. Raises Failure (overloaded)."""

    def latest(self, owner: str, alias: str) -> str | None:
        """The id of the latest answer with this alias, as far as it is shared."""

    def followed_elsewhere(self, answer: Answer) -> bool:
        """Whether a reader on another worker follows it."""

    @property
    def settled(self) -> bool:
        """Whether no queued write is left: each was written or has failed."""


class OwnAnswers(Protocol):
    """What the store needs from this worker's answers; answers.Answers implements it."""

    server: Server
    running: set[Answer]

    def own(self, answer_id: str) -> Answer | None:
        """The answer, if this worker made it."""

    def is_latest(self, answer: Answer) -> bool:
        """Whether it has an alias, and no later answer of this worker has the same one."""

    def kept(self) -> list[Answer]:
        """Every answer of this worker, running or ended."""


class Store(Protocol):
    """What recovery.py and remote.py need from store.py.

    client   the Redis client
    worker   this worker's name in Redis
    """

    client: Any
    worker: str
    up: bool
    answers: OwnAnswers

    def put(self, answer: Answer) -> bool:
        """See SharedAnswers."""

    def share(self, answers: Iterable[Answer]) -> None:
        """Write what Redis lacks of these answers in one round trip; raises an exception of keys.FAILS."""

    def names(self, answer: Answer) -> list[str]:
        """The keys that Redis has for the answer."""

    def give_up(self, answer: Answer) -> None:
        """End the answer here as well: another worker has already ended it in Redis."""

    def begin_life(self) -> None:
        """Writes that are under way now may be lost."""

    def lost(self, error: Exception) -> None:
        """Continue without Redis after `error`, until a recovery succeeds."""

    def be_sure(self) -> None:
        """Return if Redis takes writes; else raise redis.RedisError or OSError."""

    def handle(self, message: bytes) -> None:
        """Serve another worker's message."""
