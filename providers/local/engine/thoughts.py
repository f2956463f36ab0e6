"""A reply's thinking, split off its text while both come in pieces.

    <think>First I count.</think>There are 42.     →  reasoning "First I count.", text "There are 42."

Where a chat template ends the prompt with the opening tag, the reply begins inside the thought.
"""

from __future__ import annotations

Tags = tuple[str, str]
"""What opens and what closes a thought, such as <think> and </think>."""


class Thoughts:
    """
    opened     the reply begins inside a thought
    anywhere   a thought may begin anywhere; else only where nothing but white space came before it
    """

    def __init__(self, tags: Tags, opened: bool = False, anywhere: bool = False) -> None:
        self.inside = opened
        self._open, self._close = tags
        self._anywhere = anywhere
        self._watching = True
        self._held = ""

    def push(self, text: str, last: bool = False) -> tuple[str, str]:
        """(reasoning, text) of the next piece; what may be the beginning of a tag waits for the next one."""
        text, self._held = self._held + text, ""
        reasoning: list[str] = []
        reply: list[str] = []
        while text:
            if self.inside:
                text = self._until(self._close, text, reasoning, last)
            elif not self._watching:
                reply.append(text)
                break
            elif self._anywhere:
                text = self._until(self._open, text, reply, last)
            else:
                text = self._at_the_beginning(text, last)
        return "".join(reasoning), "".join(reply)

    def _until(self, tag: str, text: str, channel: list[str], last: bool) -> str:
        """Give `channel` what comes before `tag`; returns what comes behind it."""
        before, found, behind = text.partition(tag)
        if not found:
            held = 0 if last else overlap(text, tag)
            self._held = text[len(text) - held :]
            before = text[: len(text) - held]
        channel.append(before)
        if found:
            self.inside = not self.inside
            # A reply thinks once, unless thoughts may be anywhere.
            self._watching = self._anywhere or self.inside
        return behind

    def _at_the_beginning(self, text: str, last: bool) -> str:
        begun = text.lstrip()
        if begun.startswith(self._open):
            self.inside = True
            return begun[len(self._open) :]
        if not last and self._open.startswith(begun):
            self._held = text
            return ""
        self._watching = False
        return text


def overlap(text: str, word: str) -> int:
    """The length of the longest end of `text` that `word` begins with, `word` itself excluded."""
    for length in range(min(len(text), len(word) - 1), 0, -1):
        if word.startswith(text[-length:]):
            return length
    return 0
