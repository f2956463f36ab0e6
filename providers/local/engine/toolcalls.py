"""Tool calls in a reply's text, read while they are written: the name first, then the arguments as they come.

hermes   <tool_call>{"name": "f", "arguments": {…}}</tool_call>, one after the other   Qwen 2.5 and 3, Hermes
llama    {"name": "f", "parameters": {…}}, several with a semicolon between them       Llama 3.1 to 3.3

Sources: the chat templates of Qwen3-8B and Llama-3.1-8B-Instruct, which ask the model for these forms. What turns out
to be no call is text.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from providers.local.engine.thoughts import overlap

OPEN, CLOSE = "<tool_call>", "</tool_call>"
ARGUMENTS = ("arguments", "parameters")
# What stands within <tool_call> in the templates of Qwen3-Coder and of GLM 4.5, whose calls are no JSON.
NO_JSON = ("<function=", "<arg_key>")


def call_form(template: str) -> str | None:
    """The form in which a chat template asks for calls; None if it has none that is read here."""
    if "tools" not in template or any(mark in template for mark in NO_JSON):
        return None
    if OPEN in template:
        return "hermes"
    return "llama" if '"parameters"' in template else None


@dataclass(slots=True)
class CallPiece:
    """A piece of one call: `id` and `name` with its first piece, `arguments` is text to append."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class ToolCalls:
    """Tells calls from text; `count` is how many calls there were.

    names     the functions that there are; a JSON object that is no call of one is text in Llama's form
    several   whether a reply may have more than one call; further ones are left out
    """

    def __init__(self, form: str, names: Collection[str] | None = None, several: bool = True) -> None:
        self.count = 0
        self._names = names
        self._several = several
        self._llama = form == "llama"
        self._call: _Call | None = None
        self._held = ""
        # Llama's calls are the whole reply: it begins with one, or has none.
        self._may_begin = True

    def push(self, text: str, last: bool = False) -> tuple[str, list[CallPiece]]:
        """(text, pieces of calls) of the next piece; what may be the beginning of a call waits."""
        text, self._held = self._held + text, ""
        shown: list[str] = []
        pieces: list[CallPiece] = []
        while text:
            if self._call is not None:
                text = self._inside(self._call, text, shown, pieces, last)
            elif self._llama:
                text = self._before_llamas(text, shown, last)
            else:
                text = self._before_hermes(text, shown, last)
        if last and self._call is not None and not self._call.name:
            shown.append(self._call.seen)
            self._call = None
        return "".join(shown), [piece for piece in pieces if self._several or piece.index == 0]

    def _before_hermes(self, text: str, shown: list[str], last: bool) -> str:
        before, found, behind = text.partition(OPEN)
        if found:
            # White space before a call belongs to the form.
            certain = before.rstrip()
            shown.append(certain)
            self._call = _Call(before[len(certain) :] + OPEN)
            return behind
        held = 0 if last else overlap(text, OPEN)
        certain = text[: len(text) - held]
        if not last:
            certain = certain.rstrip()
        elif self.count and not certain.strip():
            certain = ""
        self._held = text[len(certain) :] if not last else ""
        shown.append(certain)
        return ""

    def _before_llamas(self, text: str, shown: list[str], last: bool) -> str:
        if not self._may_begin:
            shown.append(text)
            return ""
        begun = text.lstrip("; ,\n" if self.count else None)
        if begun.startswith("{"):
            self._call = _Call(text[: len(text) - len(begun)])
            return begun
        if begun:
            self._may_begin = False
            return text
        self._held = "" if last else text
        if last and not self.count:
            shown.append(text)
        return ""

    def _inside(self, call: _Call, text: str, shown: list[str], pieces: list[CallPiece], last: bool) -> str:
        behind = call.feed(text)
        if self._llama and call.name and self._names is not None and call.name not in self._names:
            call.broken = True
        if call.broken and not call.announced:
            # No call: all of it is text, and Llama's reply has no calls any more.
            shown.append(call.seen)
            self._call, self._may_begin = None, False
            return behind
        if call.name and not call.announced:
            call.announced = True
            pieces.append(CallPiece(self.count, f"call_{secrets.token_hex(12)}", call.name))
            self.count += 1
        if call.announced and (arguments := call.arguments()):
            pieces.append(CallPiece(self.count - 1, arguments=arguments))
        if not (call.done or call.broken):
            return ""
        if call.done and not call.said:
            # Clients read the arguments as JSON.
            call.said = True
            pieces.append(CallPiece(self.count - 1, arguments="{}"))
        if self._llama:
            self._call = None
            return behind
        rest = behind.lstrip()
        if rest.startswith(CLOSE):
            self._call = None
            return rest[len(CLOSE) :]
        if CLOSE.startswith(rest) and not last:
            self._held = behind
            return ""
        # The closing tag is missing: what follows is text again.
        self._call = None
        return behind


class _Call:
    """A JSON object {"name": …, "arguments": {…}} that comes in pieces.

    opening   what came before it, should it turn out to be no call
    """

    def __init__(self, opening: str) -> None:
        self.seen = opening
        self.name = ""
        self.announced = False
        self.said = False  # whether any arguments came
        self.done = self.broken = False
        self._arguments = ""
        self._unsent = 0
        self._string = False  # inside a string of any level
        self._escaped = False
        self._levels = ""  # the brackets that are open
        self._key = ""
        self._token = ""  # the key or value at the first level that is being read
        self._value = False  # a colon came: what is read is a value
        self._whole_arguments = True  # its arguments are an object, whose text is sent as it comes

    def arguments(self) -> str:
        """The arguments' text that was not taken yet."""
        if self._whole_arguments:
            self.said = self.said or bool(self._arguments)
            unsent, self._unsent = self._arguments[self._unsent :], len(self._arguments)
            return unsent
        return ""

    def feed(self, text: str) -> str:
        """Read on; returns what comes behind the object."""
        for at, character in enumerate(text):
            if self.done or self.broken:
                self.seen += text[:at]
                return text[at:]
            self._read(character)
        self.seen += text
        return ""

    def _read(self, character: str) -> None:
        if not self._levels:
            if character == "{":
                self._levels = "}"
            elif not character.isspace():
                self.broken = True
            return
        first = len(self._levels) == 1
        if self._string:
            self._take(character)
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._string = False
        elif character == '"':
            self._string = True
            self._take(character)
        elif character in "{[":
            self._take(character)
            self._levels += "}" if character == "{" else "]"
        elif character in "}]":
            self._close(character, first)
        elif first and character == ":" and not self._value:
            self._end_of_key()
        elif first and character == ",":
            self._end_of_value()
        elif not first or not character.isspace():
            self._take(character)

    def _take(self, character: str) -> None:
        self._token += character
        if self._value and self._key in ARGUMENTS:
            if len(self._token) == 1:
                self._whole_arguments = character == "{"
            self._arguments += character

    def _close(self, character: str, first: bool) -> None:
        if self._levels[-1] != character:
            self.broken = True
            return
        self._levels = self._levels[:-1]
        if first:
            self._end_of_value()
            self.done = not self.broken
            self.broken = self.broken or not self.name
        else:
            self._take(character)

    def _end_of_key(self) -> None:
        self._key, self._token, self._value = _text(self._token), "", True

    def _end_of_value(self) -> None:
        if self._key == "name":
            self.name = _text(self._token)
            self.broken = not self.name
        elif self._key in ARGUMENTS and not self._whole_arguments:
            # Some models write the arguments as a string of JSON.
            self._arguments = _text(self._token)
            self._whole_arguments = True
        self._key, self._token, self._value = "", "", False


def _text(token: str) -> str:
    """A JSON string's text; "" for anything else."""
    try:
        value = json.loads(token)
    except ValueError:
        return ""
    return value if isinstance(value, str) else ""
