"""Which sequences take part in the next step, and with how many tokens.

A step has a budget of tokens. Running sequences that decode come first, one token each (and what was drafted for
them): a prompt that arrives never stops the replies under way. What is left goes to prompts, in chunks; those under
way before new ones. A sequence is admitted when its whole prompt finds blocks and every running one could still take
one more. When a running one finds none, the youngest gives up its own and waits; its tokens are kept, and computed
again later.

Readers (salts) take turns: what a step has for prompts is first shared among them, and the next to be admitted belongs
to the one with the fewest sequences running.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from providers.local.engine.blocks import Blocks, chain
from providers.local.engine.sequence import Chunk, Sequence

# So many readers at most share what a step has for prompts: more and smaller chunks would make all of them late.
SHARES = 4


class Scheduler:
    """Owns the two queues; knows blocks, and neither tokens' meaning nor tensors."""

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
        """Let a sequence wait for its turn."""
        self.waiting.append(sequence)

    def has_room(self, coming: int = 0) -> bool:
        """Whether one more may wait behind `coming` others: those that fit into the next batch do not count."""
        return coming + len(self.waiting) + len(self.running) < self.max_queue + self.max_batch

    def plan(self, draft: Callable[[Sequence], list[int]] = lambda _: []) -> list[Chunk]:
        """The chunks of the next step; empty when there is nothing to do."""
        chunks: list[Chunk] = []
        budget = self.budget
        for sequence in list(self.running):
            # A sequence further up may have taken this one's blocks away.
            if sequence.blocks and sequence.waiting_tokens == 1:
                drafted = draft(sequence) if budget > 1 else []
                if not self._grow(sequence, len(sequence.tokens) + len(drafted)):
                    continue
                chunks.append(Chunk(sequence, sequence.computed, 1, drafted))
                budget -= 1 + len(drafted)
        # However many decode, prompts go on too: a full batch must not starve those who wait to join the next.
        budget = max(budget, self.budget // 4)
        return chunks + self._prompts(budget)

    def _prompts(self, budget: int) -> list[Chunk]:
        """Chunks of prompts: to each reader its share of the budget, then what is left of that to whoever is first."""
        chunks = [Chunk(sequence, sequence.computed, 0) for sequence in self.running if sequence.waiting_tokens > 1]
        readers = {chunk.sequence.salt for chunk in chunks} | {sequence.salt for sequence in self.waiting}
        given: Counter[str] = Counter()

        def give(chunk: Chunk, most: int) -> None:
            nonlocal budget
            salt, wanted = chunk.sequence.salt, chunk.sequence.waiting_tokens - chunk.count
            count = max(0, min(wanted, budget, most - given[salt]))
            chunk.count += count
            given[salt] += count
            budget -= count

        for most in (max(1, budget // min(max(1, len(readers)), SHARES)), budget):
            for chunk in chunks:
                give(chunk, most)
            underway = self._underway() if self.waiting else set()
            while budget > 0 and len(self.running) < self.max_batch:
                sequence = self._next([waiting for waiting in self.waiting if given[waiting.salt] < most])
                if sequence is None or not self._enter(sequence, underway):
                    break
                chunks.append(Chunk(sequence, sequence.computed, 0))
                give(chunks[-1], most)
                underway.update(sequence.chain)
        return [chunk for chunk in chunks if chunk.count]

    def _next(self, waiting: list[Sequence]) -> Sequence | None:
        busy = Counter(sequence.salt for sequence in self.running)
        return min(waiting, key=lambda sequence: (busy[sequence.salt], sequence.arrived), default=None)

    def _underway(self) -> set[bytes]:
        """Digests of blocks that running sequences are about to fill."""
        return {
            digest
            for sequence in self.running
            if sequence.waiting_tokens > 1
            for digest in sequence.chain[sequence.computed // self.blocks.size :]
        }

    def _enter(self, sequence: Sequence, underway: set[bytes]) -> bool:
        """Give the sequence its blocks, shared ones first; False if it has to wait."""
        size = self.blocks.size
        sequence.chain = chain(sequence.tokens, size, sequence.salt, sequence.chain)
        # At least one token has to go through the model: its logits are what the reply begins with.
        usable = sequence.chain[: (len(sequence.tokens) - 1) // size]
        matched = self.blocks.matching(usable)
        if matched < len(usable) and usable[matched] in underway:
            # Somebody is computing what this prompt goes on with: a step later it is there to be shared.
            return False
        needed = -(-len(sequence.tokens) // size) - matched
        free = self.blocks.available - self.blocks.idle_among(usable[:matched])
        if needed + len(self.running) > free:
            return False
        sequence.blocks = self.blocks.share(usable[:matched]) + self.blocks.take(needed)
        sequence.computed = matched * size
        if sequence.cached is None:
            sequence.cached = sequence.computed
        self.waiting.remove(sequence)
        self.running.append(sequence)
        return True

    def _grow(self, sequence: Sequence, tokens: int) -> bool:
        """See that `tokens` tokens of the sequence have blocks; False if it had to give way itself."""
        needed = -(-tokens // self.blocks.size) - len(sequence.blocks)
        while needed > self.blocks.available:
            youngest = self.running[-1]
            self._preempt(youngest)
            if youngest is sequence:
                return False
        sequence.blocks += self.blocks.take(needed)
        return True

    def _preempt(self, sequence: Sequence) -> None:
        self.remove(sequence)
        sequence.computed = 0
        self.waiting.append(sequence)
        self.preemptions += 1

    def to_wipe(self) -> list[int]:
        """Blocks to be wiped before the planned step, whoever has them now: what they hold may be no numbers."""
        blocks, self._untrusted = self._untrusted, []
        return blocks

    def computed(self, sequence: Sequence, tokens: int) -> None:
        """The first `tokens` tokens of a running sequence are in the cache now; its full blocks may be shared."""
        size = self.blocks.size
        before, sequence.computed = sequence.computed, tokens
        if tokens // size > before // size:
            sequence.chain = chain(sequence.tokens[:tokens], size, sequence.salt, sequence.chain)
            for index in range(before // size, tokens // size):
                self.blocks.keep(sequence.blocks[index], sequence.chain[index])

    def remove(self, sequence: Sequence, trusted: int | None = None) -> None:
        """The sequence ended or was cancelled: its blocks are free before the next step.

        trusted   how many of its tokens' keys and values are numbers; by default all, if a token was drawn
        """
        if sequence not in self.running:
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        if trusted is None and not sequence.generated:
            # Nobody has looked yet whether what it computed are numbers.
            trusted = sequence.cached or 0
        at = len(sequence.blocks) if trusted is None else trusted // self.blocks.size
        self._untrusted += self.blocks.discard(sequence.blocks[at:])
        self.blocks.release(sequence.blocks[:at])
        sequence.blocks = []
