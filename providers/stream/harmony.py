"""The channels of gpt-oss ("harmony") where its server passes them on as they are: thoughts cut out of the text.

    <|channel|>analysis<|message|>First I count.<|end|><|start|>assistant<|channel|>final<|message|>There are 42.

    BODY ──end, return, call──▶ BETWEEN ──start, channel──▶ HEADING ──message──▶ BODY
      └──────────────start, channel────────────────────────▲     BETWEEN ──words──▶ BODY, and they are text

Only what stands in `final`, and a `commentary` that names no tool, is text. A channel that calls a tool stays
among the thoughts: no caller may take its arguments for the answer.

source   OpenAI's harmony response format
"""

from __future__ import annotations

import re
from enum import Enum, auto

from providers.stream.thought_tags import unfinished

_TOKEN = re.compile(r"<\|(start|end|message|channel|constrain|return|call)\|>")
_ROLE = "assistant"
MAX_HEADING = 200  # characters; longer than any channel's name with the tool that it calls


class State(Enum):
    HEADING = auto()
    BODY = auto()
    BETWEEN = auto()


class Harmony:
    """`split` gives (reasoning, text) of each piece, the first of which begins with a token."""

    def __init__(self) -> None:
        self._state = State.HEADING
        self._heading = ""
        self._is_text = False
        self._tail = ""

    def split(self, text: str, last: bool = False) -> tuple[str, str]:
        """(reasoning, text) of the next piece; `last`: nothing more comes, so hold nothing back."""
        text, self._tail = self._tail + text, ""
        reasoning: list[str] = []
        reply: list[str] = []
        at = 0
        for token in _TOKEN.finditer(text):
            self._words(text[at : token.start()], reasoning, reply)
            self._step(token[1])
            at = token.end()
        held = unfinished(text[at:])
        self._tail = "" if last else text[len(text) - held :]
        if last and not text[len(text) - held :].startswith("<|"):
            held = 0  # half a token is no text, anything else is
        self._words(text[at : len(text) - held], reasoning, reply)
        if last and self._state is State.BETWEEN:
            reply.append(self._heading.strip().removeprefix(_ROLE))
            self._heading = ""
        return "".join(reasoning), "".join(reply)

    def _step(self, token: str) -> None:
        if token in ("start", "channel"):
            self._heading = "" if self._state is State.BODY else self._heading
            self._state = State.HEADING
        elif token == "message":
            channel = self._heading.lower()
            spoken = "analysis" not in channel and " to=" not in channel
            self._state, self._is_text, self._heading = State.BODY, spoken, ""
        elif token != "constrain":
            self._state, self._heading = State.BETWEEN, ""

    def _words(self, words: str, reasoning: list[str], reply: list[str]) -> None:
        if not words:
            return
        if self._state is State.BODY:
            (reply if self._is_text else reasoning).append(words)
            return
        self._heading += words
        so_far = self._heading.strip()
        stray = self._state is State.BETWEEN and not (so_far.startswith(_ROLE) or _ROLE.startswith(so_far))
        if stray or len(self._heading) > MAX_HEADING:
            # No heading: a template that writes the answer behind the thought without one.
            self._state, self._is_text = State.BODY, True
            reply.append(self._heading)
            self._heading = ""
