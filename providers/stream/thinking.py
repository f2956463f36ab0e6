"""Thoughts that a model writes into its text, between tags: cut out of a text that comes in pieces.

    UNDECIDED ──begins with an opening tag──▶ INSIDE ──its closing tag──▶ OUTSIDE ──opening tag──▶ INSIDE
        │       ──begins with a closing tag─────────────────────────────▶ OUTSIDE
        └───────anything else─────────────────▶ PLAIN
    HOLDING ────closing tag first: what was held is thought─────────────▶ OUTSIDE
        │   ────opening tag first: what was held is text──▶ INSIDE
        └───────end, tool call, reasoning in a channel of its own: what was held is text──▶ PLAIN

`auto` begins UNDECIDED, `true` and a pair of tags HOLDING (templates of R1 and QwQ write the opening tag into the
prompt, so the reply may hold the closing one alone), `opened` INSIDE. Each character is looked at once or twice.
"""

from __future__ import annotations

import functools
import re
from enum import Enum, auto

PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reason>", "</reason>"),
    ("<Thought>", "</Thought>"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
"""Sources: DeepSeek R1, QwQ and Qwen3; others; Gemini's OpenAI endpoint; Seed; Sky-T1; Magistral; Kimi-VL."""


@functools.cache
def _tags(pairs: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """The closing tag of each opening one, the opening ones, the closing ones."""
    return dict(pairs), tuple(opening for opening, _ in pairs), tuple(closing for _, closing in pairs)


@functools.cache
def _beginnings(tags: tuple[str, ...]) -> frozenset[str]:
    """Everything that a tag may begin with, nothing at all and the whole tag included."""
    return frozenset(tag[:size] for tag in tags for size in range(len(tag) + 1))


class State(Enum):
    UNDECIDED = auto()
    HOLDING = auto()
    INSIDE = auto()
    OUTSIDE = auto()
    PLAIN = auto()


class ThinkTags:
    """`split` gives (reasoning, text) of each piece; `state` says whether it still looks for tags."""

    def __init__(self, mode: str | tuple[str, str] = "auto") -> None:
        """mode: auto, true, opened, or a pair of tags."""
        pairs = PAIRS if isinstance(mode, str) else (mode,)
        self._only_at_line_start = mode == "auto"
        self._closing_of, self._opening, self._closing = _tags(pairs)
        self._wanted: tuple[str, ...] = (*self._opening, *self._closing)
        self._kept: list[str] = []  # HOLDING: searched already, either thought or text
        self._tail = ""  # may be the beginning of a tag
        self._at_line_start = True
        self.state = {"auto": State.UNDECIDED, "opened": State.INSIDE}.get(str(mode), State.HOLDING)
        if self.state is State.INSIDE:
            self._wanted = self._closing

    @property
    def looks_no_more(self) -> bool:
        """Text is text from here on."""
        return self.state is State.PLAIN

    def split(self, text: str, last: bool = False) -> tuple[str, str]:
        """(reasoning, text) of the next piece; `last`: nothing more comes, so hold nothing back."""
        if self.looks_no_more:
            return "", text
        text, self._tail = self._tail + text, ""
        reasoning: list[str] = []
        reply: list[str] = []
        if self.state is State.UNDECIDED and not self._decided(text, last):
            # White space before the first word is text whatever the first word is.
            self._tail = text.lstrip()
            return "", text[: len(text) - len(self._tail)]
        position = 0
        while True:
            if self.looks_no_more:
                reply.append(text[position:])
                break
            match = self._next(text, position)
            end = match.start() if match else len(text)
            if match is None and not last:
                end -= self._may_begin_a_tag(text, position)
                self._tail = text[end:]
            self._pass_on(text[position:end], reasoning, reply)
            if match is None:
                break
            self._step(match[0], reasoning, reply)
            position = match.end()
        if last:
            reply += self._kept
            self._kept = []
        return "".join(reasoning), "".join(reply)

    def give_up(self) -> str:
        """The reply has its thoughts elsewhere, or calls a tool: text is text from here on; what was held back."""
        held = "".join(self._kept) + self._tail
        if self.state in (State.UNDECIDED, State.HOLDING):
            self.state = State.PLAIN
            self._kept, self._tail = [], ""
            return held
        return ""

    def _decided(self, text: str, last: bool) -> bool:
        """Leave UNDECIDED if the first characters say how the reply begins."""
        begins = text.lstrip()
        if begins.startswith(self._wanted):
            self.state = State.OUTSIDE
            return True
        if not last and begins in _beginnings(self._wanted):
            return False
        self.state = State.PLAIN
        return True

    def _next(self, text: str, position: int) -> re.Match[str] | None:
        pattern = _pattern(self._wanted)
        while match := pattern.search(text, position):
            if not self._only_at_line_start or self.state is not State.OUTSIDE:
                return match
            before = text[: match.start()].rstrip(" \t")
            if before.endswith("\n") or (not before and self._at_line_start):
                return match
            position = match.end()
        return None

    def _pass_on(self, text: str, reasoning: list[str], reply: list[str]) -> None:
        if not text:
            return
        if self.state is State.HOLDING:
            self._kept.append(text)
        elif self.state is State.INSIDE:
            reasoning.append(text)
        else:
            reply.append(text)
            stripped = text.rstrip(" \t")
            self._at_line_start = stripped.endswith("\n") if stripped else self._at_line_start

    def _step(self, tag: str, reasoning: list[str], reply: list[str]) -> None:
        """`tag` was met: what it makes of what was held, and what is looked for next."""
        opens = tag in self._closing_of
        if self.state is State.HOLDING:
            is_text = opens or not "".join(self._kept).strip()
            (reply if is_text else reasoning).extend(self._kept)
            self._kept = []
        if opens:
            self.state, self._wanted = State.INSIDE, (self._closing_of[tag],)
        else:
            # An orphan closing tag counts at the start alone; behind a thought it is text.
            self.state, self._wanted = State.OUTSIDE, self._opening
            self._at_line_start = True

    def _may_begin_a_tag(self, text: str, position: int) -> int:
        """How many characters at the end of `text` may be the beginning of a wanted tag."""
        longest = max(map(len, self._wanted)) - 1
        start = max(position, len(text) - longest)
        for at in range(start, len(text)):
            if text[at] in "<[◁" or len(self._closing_of) == 1:
                rest = text[at:]
                if any(tag.startswith(rest) for tag in self._wanted):
                    return len(text) - at
        return 0


_patterns: dict[tuple[str, ...], re.Pattern[str]] = {}


def _pattern(tags: tuple[str, ...]) -> re.Pattern[str]:
    pattern = _patterns.get(tags)
    if pattern is None:
        pattern = re.compile("|".join(re.escape(tag) for tag in sorted(tags, key=len, reverse=True)))
        if len(_patterns) < 256:
            _patterns[tags] = pattern
    return pattern
