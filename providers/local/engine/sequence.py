"""One request inside the engine, from its prompt to its last token."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from providers.local.engine.drafts import Drafts
from providers.local.engine.edits import Edits
from providers.sampling import OFF, Sampling

PENALTIES = tuple(name for name in OFF if name.endswith("_penalty"))

Key = tuple[int, int]
"""A sequence's owner, and the owner's number for it."""


@dataclass(slots=True, eq=False)
class Sequence:
    """
    tokens                the prompt and the generated tokens
    prompt_len            how many of them are the prompt
    max_new_tokens        how many may be generated; prompt_len + max_new_tokens never exceeds the context
    sampling              how its tokens are drawn, as the request, the defaults and the model's makers say together
    logprobs              with each token come its log probability and those of so many most likely ones; None: none
    numbers               each parameter that a draw depends on, by its name in providers/sampling.py
    penalised             whether a draw depends on the tokens so far
    num_computed_tokens   how many of `tokens` have their keys and values in the cache
    num_cached_tokens     prompt tokens that the cache had when the sequence was admitted; None before that
    blocks                the cache blocks that hold keys and values, in order
    chain                 digests of the full blocks' contents, in order; see blocks.py
    ends                  tokens that end it
    edits                 changes to its logits, where the request asks for such
    cache_salt            the tenant; sequences of one tenant share cached blocks
    """

    key: Key
    tokens: list[int]
    max_new_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    logprobs: int | None = None
    cache_salt: str = ""
    ends: frozenset[int] = frozenset()
    edits: Edits | None = None
    prompt_len: int = 0
    num_computed_tokens: int = 0
    blocks: list[int] = field(default_factory=list)
    chain: list[bytes] = field(default_factory=list)
    num_cached_tokens: int | None = None
    arrived: float = field(default_factory=time.monotonic)
    # The output buffer (detokeniser, stop strings), the constraint and the draft index; the scheduler uses none.
    output: Any = None
    constraint: Any = None
    drafts: Drafts = field(default_factory=Drafts)
    # Each different token → how often it was generated, 0 if only the prompt has it; kept only for penalties.
    counts: dict[int, int] = field(default_factory=dict)
    numbers: dict[str, float] = field(init=False)
    penalised: bool = field(init=False)

    def __post_init__(self) -> None:
        self.prompt_len = self.prompt_len or len(self.tokens)
        chosen = self.sampling.chosen()
        self.numbers = {name: float(chosen.get(name, off)) for name, off in OFF.items()}
        self.penalised = any(self.numbers[name] != OFF[name] for name in PENALTIES)
        if self.penalised:
            self.counts = dict.fromkeys(self.tokens, 0)
            for token in self.tokens[self.prompt_len :]:
                self.counts[token] += 1

    @property
    def generated(self) -> int:
        return len(self.tokens) - self.prompt_len

    @property
    def waiting_tokens(self) -> int:
        """Tokens whose keys and values are not computed yet: 1 when decoding, more during prefill."""
        return len(self.tokens) - self.num_computed_tokens

    def append(self, token: int) -> None:
        """Append a generated token."""
        self.tokens.append(token)
        if self.penalised:
            self.counts[token] = self.counts.get(token, 0) + 1


@dataclass(slots=True)
class ScheduledTokens:
    """A sequence's part of one step: `count` tokens from `start` on, then drafted tokens for the step to verify.

    If it reaches the sequence's last token, the step draws the next one, and one more per drafted token that is right.
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
