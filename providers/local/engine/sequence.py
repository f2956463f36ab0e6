"""One request inside the engine, from its prompt to its last token."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from providers.local.engine.drafts import Drafts


@dataclass(slots=True)
class Sampling:
    """How the next token is drawn. temperature 0 takes the most likely one; top_k 0, top_p 1 and min_p 0 are off."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    logprobs: int | None = None

    @property
    def penalised(self) -> bool:
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0


Key = tuple[int, int]
"""A sequence's owner, and the owner's number for it."""


@dataclass(slots=True, eq=False)
class Sequence:
    """
    tokens         the prompt and what was generated
    prompt         how many of them are the prompt
    max_new        how many may be generated; prompt + max_new never exceeds the context
    computed       how many of `tokens` have their keys and values in the cache
    blocks         the cache blocks that hold them, in order
    chain          digests of the full blocks' contents, in order; see blocks.py
    cached         prompt tokens that were found in the cache when it was admitted
    """

    key: Key
    tokens: list[int]
    max_new: int
    sampling: Sampling = field(default_factory=Sampling)
    salt: str = ""
    prompt: int = 0
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    chain: list[bytes] = field(default_factory=list)
    cached: int | None = None
    arrived: float = field(default_factory=time.monotonic)
    # The text side (detokeniser, stop strings), the constraint and the draft index; the scheduler looks at none of
    # them.
    text: Any = None
    constraint: Any = None
    drafts: Drafts = field(default_factory=Drafts)
    # Generated tokens and how often each: what the penalties need, kept up to date only where they are on.
    counts: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prompt = self.prompt or len(self.tokens)

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt

    @property
    def waiting_tokens(self) -> int:
        """Tokens whose keys and values are still to be computed: 1 when decoding, more during prefill."""
        return len(self.tokens) - self.computed

    def append(self, token: int) -> None:
        """Take a token that was generated."""
        self.tokens.append(token)
        if self.sampling.penalised:
            self.counts[token] = self.counts.get(token, 0) + 1


@dataclass(slots=True)
class Chunk:
    """A sequence's part of one step: `count` tokens from `start` on, then drafted ones that the step is to judge.

    Where the chunk reaches the last token known, the step draws what follows: one token, and one more per drafted
    token that proves right.
    """

    sequence: Sequence
    start: int
    count: int
    draft: list[int] = field(default_factory=list)

    @property
    def draws(self) -> bool:
        return self.start + self.count == len(self.sequence.tokens)

    @property
    def fed(self) -> list[int]:
        """The tokens that go through the model."""
        return self.sequence.tokens[self.start : self.start + self.count] + self.draft
