"""Changes to a row's logits that depend on its tokens: biases, a least length, forbidden words."""

from __future__ import annotations

from dataclasses import dataclass

NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Edits:
    """
    bias         token → what is added to its logit
    min_tokens   before so many generated tokens none of `ends` may be drawn
    ends         tokens that end the sequence
    bad_words    runs of tokens that the reply must not contain
    """

    bias: dict[int, float]
    min_tokens: int
    ends: frozenset[int]
    bad_words: tuple[tuple[int, ...], ...]

    def active(self, generated: int) -> bool:
        """Whether the next token's logits are changed, when so many were generated."""
        return bool(self.bias or self.bad_words) or generated < self.min_tokens

    def entries(self, tokens: list[int], generated: int) -> list[tuple[int, float]]:
        """The tokens whose logits change behind `tokens`, and by how much."""
        entries = list(self.bias.items())
        if generated < self.min_tokens:
            entries += [(token, NEVER) for token in self.ends]
        for word in self.bad_words:
            before = len(word) - 1
            # Only what the reply itself has written counts.
            if before <= generated and (not before or tuple(tokens[-before:]) == word[:-1]):
                entries.append((word[-1], NEVER))
        return entries
