"""Prompt-lookup speculation: what followed these same tokens before is likely to follow them again.

SQL copies names from its prompt, and a second look at a list copies the first. The draft costs nothing to make; one
step then judges all of it, and keeps what the model would have said anyway (see sampler.py: a draw depends on its
position, not on the step). https://github.com/apoorvumang/prompt-lookup-decoding has the idea.
"""

from __future__ import annotations

# Two tokens in a row come back by chance too often, four too rarely.
NGRAM = 3
LONGEST = 8


class Drafts:
    """One sequence's index of runs of NGRAM tokens → where the latest such run ended; updated token by token."""

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}
        self._indexed = NGRAM
        self._length = LONGEST // 2

    def propose(self, tokens: list[int], most: int) -> list[int]:
        """At most `most` tokens that may follow; none where the last NGRAM tokens are new."""
        for end in range(self._indexed, len(tokens)):
            self._ends[tuple(tokens[end - NGRAM : end])] = end
        self._indexed = max(self._indexed, len(tokens))
        seen = self._ends.get(tuple(tokens[-NGRAM:]))
        return [] if seen is None else tokens[seen : seen + min(most, self._length)]

    def learn(self, proposed: int, right: int) -> None:
        """What came of a draft: longer ones while all is right, shorter ones when most is wrong."""
        if right == proposed:
            self._length = min(LONGEST, self._length * 2)
        elif right * 2 < proposed:
            self._length = max(1, self._length // 2)
