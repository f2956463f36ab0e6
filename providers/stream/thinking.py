"""Thoughts that a model writes into its text, between tags: cut out of a text that comes in pieces.

    UNDECIDED ──begins with an opening tag──▶ INSIDE ──its closing tag──▶ OUTSIDE ──opening tag──▶ INSIDE
        │       ──begins with a closing tag─────────────────────────────▶ OUTSIDE
        │       ──begins with a channel of gpt-oss──▶ HARMONY
        └───────anything else─────────────────▶ PLAIN
    HOLDING ────closing tag first: what was held is thought─────────────▶ OUTSIDE
        │   ────opening tag first: what was held is text──▶ INSIDE
        └───────end, tool call, reasoning in a channel of its own: what was held is text──▶ PLAIN

`auto` begins UNDECIDED, `true` and a pair of tags HOLDING (templates of R1 and QwQ write the opening tag into the
prompt, so the reply may hold the closing one alone), `opened` INSIDE. Each character is looked at once or twice.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from providers.stream.harmony import Harmony
from providers.stream.thought_tags import (
    ANY_CLOSING,
    BARE_ANALYSIS,
    HARMONY,
    TAG,
    WRAPPER,
    closing_of,
    may_begin,
    own_pair,
    unfinished,
)

# A tag that somebody writes about stands in quotation marks.
_QUOTES = "`\"'“‘「"
_FAR = 80  # characters of white space before a tag at the beginning of a line


class State(Enum):
    UNDECIDED = auto()
    HOLDING = auto()
    INSIDE = auto()
    OUTSIDE = auto()
    HARMONY = auto()
    PLAIN = auto()


class ThinkTags:
    """`split` gives (reasoning, text) of each piece; `state` says whether it still looks for tags."""

    def __init__(self, mode: str | tuple[str, str] = "auto") -> None:
        """mode: auto, true, opened, or a pair of tags."""
        self._auto = mode == "auto"
        self._pair: tuple[str, ...] = () if isinstance(mode, str) else mode
        self._tags, self._closing = (TAG, ANY_CLOSING) if isinstance(mode, str) else own_pair(*mode)
        self._heading = ""  # to be left out where the thought begins
        self._wrapped = False  # the answer may stand between special tokens
        self._kept: list[str] = []  # HOLDING: searched already, either thought or text
        self._tail = ""  # may be the beginning of a tag
        self._at_line_start = True
        self._harmony = Harmony()
        self.held = 0  # characters in _kept
        self.state = {"auto": State.UNDECIDED, "opened": State.INSIDE}.get(str(mode), State.HOLDING)

    @property
    def looks_no_more(self) -> bool:
        """Text is text from here on."""
        return self.state is State.PLAIN

    def split(self, text: str, last: bool = False) -> tuple[str, str]:
        """(reasoning, text) of the next piece; `last`: nothing more comes, so hold nothing back."""
        if self.state is State.PLAIN:
            return "", text
        text, self._tail = self._tail + text, ""
        reasoning: list[str] = []
        reply: list[str] = []
        position: int | None = 0
        if self.state is State.UNDECIDED:
            position = self._begun(text, last, reasoning, reply)
        while position is not None:
            position = self._read(text, position, last, reasoning, reply)
        if last:
            reply += self._kept
            self._kept, self.held = [], 0
        return "".join(reasoning), "".join(reply)

    def split_whole(self, text: str) -> tuple[str, str]:
        """(reasoning, text) of a reply that is all there: here `auto`, too, knows what a closing tag alone ends."""
        orphan = orphan_closing(text) if self._auto and self.state is State.UNDECIDED else None
        if orphan is None:
            return self.split(text)
        self.state = State.OUTSIDE
        reasoning, reply = self.split(text[orphan.end() :])
        return text[: orphan.start()] + reasoning, reply

    def give_up(self) -> str:
        """The reply has its thoughts elsewhere, or calls a tool: text is text from here on; what was held back."""
        held = "".join(self._kept) + self._tail
        if self.state in (State.UNDECIDED, State.HOLDING):
            self.state = State.PLAIN
            self._kept, self._tail, self.held = [], "", 0
            return held
        return ""

    def _begun(self, text: str, last: bool, reasoning: list[str], reply: list[str]) -> int | None:
        """Leave UNDECIDED if the first characters say how the reply begins; how far `text` is read, None if all."""
        blank = len(text) - len(text.lstrip())
        match = TAG.match(text, blank) or BARE_ANALYSIS.match(text, blank) or HARMONY.match(text, blank)
        if match is None and not last and may_begin(text[blank:]):
            # White space before the first word is text whatever the first word is.
            reply.append(text[:blank])
            self._tail = text[blank:]
            return None
        if match is None:
            self.state = State.PLAIN
            return 0
        reply.append(text[:blank])
        return self._step(match, reasoning, reply)

    def _read(self, text: str, position: int, last: bool, reasoning: list[str], reply: list[str]) -> int | None:
        """Read up to behind the next tag; where that is, or None where all of `text` is read."""
        if self.state is State.PLAIN:
            reply.append(text[position:])
            return None
        if self.state is State.HARMONY:
            thought, words = self._harmony.split(text[position:], last)
            reasoning.append(thought)
            reply.append(words)
            return None
        if self._heading:
            begins = text[position : position + len(self._heading)]
            if not last and len(begins) < len(self._heading) and self._heading.startswith(begins):
                self._tail = begins
                return None
            position += len(begins) if begins == self._heading else 0
            self._heading = ""
        if match := self._next(text, position):
            self._pass_on(text[position : match.start()], reasoning, reply)
            return self._step(match, reasoning, reply)
        end = len(text) if last else len(text) - unfinished(text[position:], self._looked_for())
        self._tail = text[end:]
        self._pass_on(text[position:end], reasoning, reply)
        return None

    def _looked_for(self) -> tuple[str, ...]:
        """The tags that this state looks for; none where it looks for any."""
        return self._closing.tags if self.state is State.INSIDE else self._pair

    def _next(self, text: str, position: int) -> re.Match[str] | None:
        """The next tag that means something in this state."""
        if self.state is State.INSIDE:
            return self._closing.pattern.search(text, position)
        if self.state is State.HOLDING:
            first = self._tags.search(text, position)
            channel = None if self._pair else HARMONY.search(text, position, first.start() if first else len(text))
            return channel or first
        # Behind the first thought a closing tag alone is text; under `auto`, so is a tag within a line.
        for match in self._tags.finditer(text, position):
            if self._opens(match[0]) and (not self._auto or self._begins_a_line(text, position, match.start())):
                return match
        return None

    def _opens(self, tag: str) -> bool:
        if self._pair:
            return tag == self._pair[0]
        match = TAG.fullmatch(tag)
        return match is None or match["closing"] is None

    def _begins_a_line(self, text: str, position: int, at: int) -> bool:
        start = max(position, at - _FAR)
        before = text[start:at].rstrip(" \t")
        return before.endswith("\n") or (not before and start == position and self._at_line_start)

    def _pass_on(self, text: str, reasoning: list[str], reply: list[str]) -> None:
        if not text:
            return
        if self.state is State.HOLDING:
            self._kept.append(text)
            self.held += len(text)
        elif self.state is State.INSIDE:
            reasoning.append(text)
        else:
            text = WRAPPER.sub("", text) if self._wrapped and "<|" in text else text
            reply.append(text)
            stripped = text.rstrip(" \t")
            self._at_line_start = stripped.endswith("\n") if stripped else self._at_line_start

    def _step(self, match: re.Match[str], reasoning: list[str], reply: list[str]) -> int:
        """A tag was met: what it makes of what was held, what is looked for next, and where to go on reading."""
        tag = match[0]
        channel = self.state is not State.INSIDE and not self._pair and HARMONY.fullmatch(tag) is not None
        opens = channel or (self.state is not State.INSIDE and self._opens(tag))
        if self.state is State.HOLDING:
            is_text = opens or not "".join(self._kept).strip()
            (reply if is_text else reasoning).extend(self._kept)
            self._kept, self.held = [], 0
        if channel:
            self.state = State.HARMONY
            return match.start()
        if opens:
            self.state = State.INSIDE
            if not self._pair:
                self._closing = closing_of(tag)
                self._heading = self._closing.heading
        else:
            # An orphan closing tag counts at the start alone; behind a thought it is text.
            self.state, self._at_line_start = State.OUTSIDE, True
            self._wrapped = tag.startswith("<|")
        return match.end()


def orphan_closing(text: str) -> re.Match[str] | None:
    """The closing tag that stands before every opening one, and is not only written about."""
    first = TAG.search(text)
    if first is None or first["closing"] is None:
        return None
    quoted = text[first.start() - 1 : first.start()] in tuple(_QUOTES) if first.start() else False
    return None if quoted else first
