"""Who owns which block of the KV cache, and which blocks' contents may be used again.

A block holds the keys and values of `size` consecutive tokens. What is in a full block follows from its tokens and
all tokens before them, so a block is known by a digest chained over its predecessors:

    digest_i = blake2b(digest_{i-1} · tokens of block i),   digest_{-1} = blake2b(cache_salt)

Prompts with the same beginning have the same first digests and share those blocks. The cache_salt separates tenants:
the time to the first token must not show one tenant what another asked. An unused block keeps its contents until its
room is needed; the least recently used block is evicted first.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import takewhile

# Block 0 is never allocated: padding of a batch points there.
NULL_BLOCK = 0


class OutOfBlocks(Exception):
    """Every block is in use."""


def chain(
    tokens: Sequence[int], size: int, cache_salt: str, known: list[bytes], until: int | None = None
) -> list[bytes]:
    """The digests of all full blocks of `tokens` (of the first `until`), continued from the `known` ones."""
    until = len(tokens) if until is None else until
    digests = list(known)
    parent = digests[-1] if digests else blake2b(cache_salt.encode(), digest_size=16).digest()
    for start in range(len(digests) * size, until - size + 1, size):
        parent = blake2b(parent + array("I", tokens[start : start + size]).tobytes(), digest_size=16).digest()
        digests.append(parent)
    return digests


class Blocks:
    """Blocks 1 … count-1, with reference counts."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        # Popped from the end, so a lone sequence gets consecutive blocks, which attention reads without a copy.
        self._free = list(range(count - 1, NULL_BLOCK, -1))
        self._users = [0] * count
        self._digest: list[bytes | None] = [None] * count
        self._known: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def available(self) -> int:
        """How many blocks can be taken: empty ones, and cached ones without a user."""
        return len(self._free) + len(self._idle)

    @property
    def free_share(self) -> float:
        """The share of all blocks that can be taken."""
        return round(self.available / (self.count - 1), 3)

    def matching(self, digests: Iterable[bytes]) -> int:
        """How many leading digests are in the cache."""
        return sum(1 for _ in takewhile(self._known.__contains__, digests))

    def idle_among(self, digests: Iterable[bytes]) -> int:
        """How many of these cached blocks are available now and will not be once they are shared."""
        return sum(self._known[digest] in self._idle for digest in digests)

    def share(self, digests: Iterable[bytes]) -> list[int]:
        """Add a user to the blocks of these digests, all of which must be in the cache."""
        shared = [self._known[digest] for digest in digests]
        for block in shared:
            self._users[block] += 1
            self._idle.pop(block, None)
        return shared

    def take(self, wanted: int) -> list[int]:
        """Take empty blocks, with one user each. Raises OutOfBlocks without taking any."""
        if wanted > self.available:
            raise OutOfBlocks
        blocks = []
        for _ in range(wanted):
            if self._free:
                block = self._free.pop()
            else:
                block, _ = self._idle.popitem(last=False)
                self._forget(block)
            self._users[block] = 1
            blocks.append(block)
        return blocks

    def keep(self, block: int, digest: bytes) -> None:
        """Record that `block` is full and computed, so that others may share it. Duplicates are not recorded."""
        if digest not in self._known and self._digest[block] is None:
            self._known[digest] = block
            self._digest[block] = digest

    def release(self, blocks: Sequence[int]) -> None:
        """Remove a user from each. The last block will be evicted before the first, which more prompts share."""
        for block in reversed(blocks):
            self._users[block] -= 1
            if self._users[block]:
                continue
            if self._digest[block] is None:
                self._free.append(block)
            else:
                self._idle[block] = None

    def discard(self, blocks: Sequence[int]) -> list[int]:
        """Release blocks whose contents are not trusted; returns those without a user now."""
        for block in blocks:
            self._forget(block)
        self.release(blocks)
        return [block for block in blocks if not self._users[block]]

    def _forget(self, block: int) -> None:
        if digest := self._digest[block]:
            del self._known[digest]
            self._digest[block] = None
