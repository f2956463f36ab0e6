"""Who owns which block of the KV cache, and which blocks' contents may be used again.

A block holds the keys and values of `size` consecutive tokens. What is in a full block follows from its tokens and
all tokens before them, so a block is known by a digest chained over its predecessors:

    digest_i = blake2b(digest_{i-1} · tokens of block i),   digest_{-1} = blake2b(salt)

Two prompts that begin alike begin with the same digests, and share those blocks. The salt keeps tenants apart: the time
to the first token must not tell one tenant what another asked. A block nobody uses keeps its contents until
somebody needs room; the least recently used goes first.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import takewhile

# Block 0 belongs to nobody: padding of a batch points there.
NULL_BLOCK = 0


class OutOfBlocks(Exception):
    """Every block is in use."""


def chain(tokens: Sequence[int], size: int, salt: str, known: list[bytes]) -> list[bytes]:
    """The digests of all full blocks of `tokens`, going on from those already known."""
    digests = list(known)
    parent = digests[-1] if digests else blake2b(salt.encode(), digest_size=16).digest()
    for start in range(len(digests) * size, len(tokens) - size + 1, size):
        parent = blake2b(parent + array("I", tokens[start : start + size]).tobytes(), digest_size=16).digest()
        digests.append(parent)
    return digests


class Blocks:
    """Blocks 1 … count-1, handed out with reference counts."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        # Popped from the end, so that a sequence alone gets a consecutive run, which attention reads without copying.
        self._free = list(range(count - 1, NULL_BLOCK, -1))
        self._users = [0] * count
        self._digest: list[bytes | None] = [None] * count
        self._known: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def available(self) -> int:
        """Blocks that can be had: empty ones, and those whose contents nobody uses just now."""
        return len(self._free) + len(self._idle)

    @property
    def free_share(self) -> float:
        """Of all blocks, the share that can be had."""
        return round(self.available / (self.count - 1), 3)

    def matching(self, digests: Iterable[bytes]) -> int:
        """How many leading digests are in the cache."""
        return sum(1 for _ in takewhile(self._known.__contains__, digests))

    def idle_among(self, digests: Iterable[bytes]) -> int:
        """How many of these cached blocks count as available now, and will not once they are shared."""
        return sum(self._known[digest] in self._idle for digest in digests)

    def share(self, digests: Iterable[bytes]) -> list[int]:
        """One more user for the blocks of these digests, all of which are in the cache."""
        shared = [self._known[digest] for digest in digests]
        for block in shared:
            self._users[block] += 1
            self._idle.pop(block, None)
        return shared

    def take(self, wanted: int) -> list[int]:
        """Blocks with no contents and one user. Raises OutOfBlocks, having taken none."""
        if wanted > self.available:
            raise OutOfBlocks
        taken = []
        for _ in range(wanted):
            if self._free:
                block = self._free.pop()
            else:
                block, _ = self._idle.popitem(last=False)
                self._forget(block)
            self._users[block] = 1
            taken.append(block)
        return taken

    def keep(self, block: int, digest: bytes) -> None:
        """`block` is full and computed: others may share it. A second block of the same contents stays unknown."""
        if digest not in self._known and self._digest[block] is None:
            self._known[digest] = block
            self._digest[block] = digest

    def release(self, blocks: Sequence[int]) -> None:
        """One user less for each. A sequence's last block is evicted before its first, which more prompts share."""
        for block in reversed(blocks):
            self._users[block] -= 1
            if self._users[block]:
                continue
            if self._digest[block] is None:
                self._free.append(block)
            else:
                self._idle[block] = None

    def discard(self, blocks: Sequence[int]) -> list[int]:
        """Release blocks whose contents are not to be trusted; returns those that now belong to nobody."""
        for block in blocks:
            self._forget(block)
        self.release(blocks)
        return [block for block in blocks if not self._users[block]]

    def _forget(self, block: int) -> None:
        if digest := self._digest[block]:
            del self._known[digest]
            self._digest[block] = None
