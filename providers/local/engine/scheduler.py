"""Which sequences take part in the next step, and with how many tokens.

A step has a budget of tokens. Decoding sequences come first, with one token each and their drafts, so a new prompt
never stops a running reply. The rest of the budget goes to prompts in chunks: started prompts first, then new ones. A
sequence is admitted if there are blocks for its whole prompt and one more for every running sequence. If a running
sequence finds no block, the youngest running one is preempted: it gives up its blocks, waits, and is computed again
later.

Tenants (cache salts) take turns: a step's budget for prompts is first shared among them, and the next admitted sequence
is of the tenant with the fewest running ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from providers.local.engine.blocks import Blocks, chain
from providers.local.engine.sequence import ScheduledTokens, Sequence

# At most so many tenants share a step's budget for prompts; smaller shares would delay all of them.
SHARES = 4


class Scheduler:
    """Owns the running and the waiting queue, and the blocks."""

    def __init__(self, blocks: Blocks, max_batch: int, max_queue: int, budget: int) -> None:
        self.blocks = blocks
        self.max_batch = max_batch
        self.max_queue = max_queue
        self.budget = budget
        self.running: list[Sequence] = []
        self.waiting: list[Sequence] = []
        self.preemptions = 0
        self._untrusted: list[int] = []

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        self.waiting.append(sequence)

    def has_room(self, coming: int = 0) -> bool:
        """Whether one more sequence may be queued behind `coming` others."""
        return coming + len(self.waiting) + len(self.running) < self.max_queue + self.max_batch

    def plan(self, draft: Callable[[Sequence], list[int]] = lambda _: []) -> list[ScheduledTokens]:
        """The next step's chunks; empty if there is nothing to do."""
        chunks: list[ScheduledTokens] = []
        budget = self.budget
        for sequence in list(self.running):
            # An earlier sequence of this loop may have preempted this one.
            if sequence.blocks and sequence.waiting_tokens == 1:
                drafted = draft(sequence) if budget > 1 else []
                if not self._grow(sequence, len(sequence.tokens) + len(drafted)):
                    continue
                chunks.append(ScheduledTokens(sequence, sequence.num_computed_tokens, 1, drafted))
                budget -= 1 + len(drafted)
        # Prompts always get a quarter of the budget: a full batch must not starve new sequences.
        budget = max(budget, self.budget // 4)
        return chunks + self._prompts(budget)

    def _prompts(self, budget: int) -> list[ScheduledTokens]:
        """Chunks of prompts: first each tenant's share of the budget, then the rest in order of arrival."""
        chunks = [
            ScheduledTokens(sequence, sequence.num_computed_tokens, 0)
            for sequence in self.running
            if sequence.waiting_tokens > 1
        ]
        tenants = {chunk.sequence.cache_salt for chunk in chunks} | {sequence.cache_salt for sequence in self.waiting}
        granted: Counter[str] = Counter()

        def grant(chunk: ScheduledTokens, most: int) -> None:
            nonlocal budget
            cache_salt, wanted = chunk.sequence.cache_salt, chunk.sequence.waiting_tokens - chunk.count
            count = max(0, min(wanted, budget, most - granted[cache_salt]))
            chunk.count += count
            granted[cache_salt] += count
            budget -= count

        for most in (max(1, budget // min(max(1, len(tenants)), SHARES)), budget):
            for chunk in chunks:
                grant(chunk, most)
            underway = self._underway() if self.waiting else set()
            while budget > 0 and len(self.running) < self.max_batch:
                sequence = self._next([waiting for waiting in self.waiting if granted[waiting.cache_salt] < most])
                if sequence is None or not self._enter(sequence, underway):
                    break
                chunks.append(ScheduledTokens(sequence, sequence.num_computed_tokens, 0))
                grant(chunks[-1], most)
                underway.update(sequence.chain)
        return [chunk for chunk in chunks if chunk.count]

    def _next(self, waiting: list[Sequence]) -> Sequence | None:
        busy = Counter(sequence.cache_salt for sequence in self.running)
        return min(waiting, key=lambda sequence: (busy[sequence.cache_salt], sequence.arrived), default=None)

    def _underway(self) -> set[bytes]:
        """Digests of blocks that running sequences will fill."""
        return {
            digest
            for sequence in self.running
            if sequence.waiting_tokens > 1
            for digest in sequence.chain[sequence.num_computed_tokens // self.blocks.size :]
        }

    def _enter(self, sequence: Sequence, underway: set[bytes]) -> bool:
        """Admit the sequence with its blocks, shared ones first; False if it must wait."""
        size = self.blocks.size
        sequence.chain = chain(sequence.tokens, size, sequence.cache_salt, sequence.chain)
        # At least one token must go through the model: its logits give the first token of the reply.
        usable = sequence.chain[: (len(sequence.tokens) - 1) // size]
        matched = self.blocks.matching(usable)
        if matched < len(usable) and usable[matched] in underway:
            # A running sequence is computing the next block of this prompt: wait a step and share it.
            return False
        needed = -(-len(sequence.tokens) // size) - matched
        free = self.blocks.available - self.blocks.idle_among(usable[:matched])
        if needed + len(self.running) > free:
            return False
        sequence.blocks = self.blocks.share(usable[:matched]) + self.blocks.take(needed)
        sequence.num_computed_tokens = matched * size
        if sequence.num_cached_tokens is None:
            sequence.num_cached_tokens = sequence.num_computed_tokens
        self.waiting.remove(sequence)
        self.running.append(sequence)
        return True

    def _grow(self, sequence: Sequence, tokens: int) -> bool:
        """Take blocks for `tokens` tokens of the sequence; False if the sequence itself was preempted."""
        needed = -(-tokens // self.blocks.size) - len(sequence.blocks)
        while needed > self.blocks.available:
            youngest = self.running[-1]
            self._preempt(youngest)
            if youngest is sequence:
                return False
        sequence.blocks += self.blocks.take(needed)
        return True

    def take_block(self, sequence: Sequence) -> bool:
        """One more block for a running sequence; False if none is left without preempting another."""
        if not self.blocks.available:
            return False
        sequence.blocks += self.blocks.take(1)
        return True

    @property
    def full(self) -> bool:
        """Whether no waiting sequence can be admitted before a running one ends."""
        return len(self.running) >= self.max_batch

    def _preempt(self, sequence: Sequence) -> None:
        self.remove(sequence)
        sequence.num_computed_tokens = 0
        self.waiting.append(sequence)
        self.preemptions += 1

    def to_wipe(self) -> list[int]:
        """Blocks that must be wiped before the planned step, because they may hold NaN."""
        blocks, self._untrusted = self._untrusted, []
        return blocks

    def mark_computed(self, sequence: Sequence, tokens: int) -> None:
        """Record that a running sequence's first `tokens` tokens are computed; its full blocks may be shared now."""
        size = self.blocks.size
        before, sequence.num_computed_tokens = sequence.num_computed_tokens, tokens
        if tokens // size > before // size:
            sequence.chain = chain(sequence.tokens, size, sequence.cache_salt, sequence.chain, tokens)
            for index in range(before // size, tokens // size):
                self.blocks.keep(sequence.blocks[index], sequence.chain[index])

    def remove(self, sequence: Sequence, trusted: int | None = None) -> None:
        """Remove a sequence that ended or was cancelled; its blocks are free before the next step.

        trusted   how many of its tokens have keys and values without NaN; by default all, if a token was drawn
        """
        if sequence not in self.running:
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        if trusted is None and not sequence.generated:
            # No draw has shown yet that its keys and values are numbers.
            trusted = sequence.num_cached_tokens or 0
        at = len(sequence.blocks) if trusted is None else trusted // self.blocks.size
        self._untrusted += self.blocks.discard(sequence.blocks[at:])
        self.blocks.release(sequence.blocks[:at])
        sequence.blocks = []
