"""JSON in requests: decoded by msgspec, and what is wrong said in our own form of a message."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from gateway.errors import Failure, shown

T = TypeVar("T")


class BadQuestion(Failure):
    """The request is wrong; the message begins with the field's path, or with "the body"."""

    def __init__(self, message: str) -> None:
        field = None if message.startswith("the body") else message.partition(":")[0]
        super().__init__("bad_request", message, param=field)


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """`body` read by `decoder`; raises BadQuestion, with the field's path where it is one field's fault."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadQuestion(in_words(str(error))) from None
    except UnicodeDecodeError:
        raise BadQuestion("the body: must be UTF-8, and is not") from None
    except msgspec.DecodeError as error:
        if "UTF-8" in str(error):
            raise BadQuestion("the body: must be UTF-8, and is not") from None
        # msgspec reports a string that ends within a surrogate pair with the words for a body that ends too early.
        half = _HALF_A_PAIR.search(body) and "truncated" in str(error)
        reason = "half a surrogate pair in a string" if half else spoken(str(error))
        raise BadQuestion(f"the body: must be JSON; {reason}") from None
    except RecursionError:
        raise BadQuestion("the body: must be JSON that is nested less deeply") from None


# An escaped high surrogate at the end of a string.
_HALF_A_PAIR = re.compile(rb'\\u[dD][89abAB][0-9a-fA-F]{2}"')
_PATH = re.compile(r"^(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?$", re.DOTALL)
_MEMBER = re.compile(r"^Object (missing required field|contains unknown field) `(.*)`$", re.DOTALL)


# msgspec's types → our words.
_TYPES = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_EXPECTED = re.compile(r"^Expected `([^`]*)`(?: of length (<=|>=) (\d+)| (<=|>=|<|>) (\S+))?(?:, got `([^`]*)`)?$")
_ENUM = re.compile(r"^Invalid enum value '?(.*?)'?$", re.DOTALL)


_KINDS: dict[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def kind_of(value: Any) -> str:
    """What a JSON value is, for "got …" in a message: the value itself may be long or private."""
    return _KINDS.get(type(value), "something else")


def in_words(problem: str) -> str:
    """msgspec's sentence (`Expected `int | null`, got `bool` - at `$.top_k``) in the form "field: must be …, got …"."""
    sentence, path = _PATH.fullmatch(problem).groups(default="")  # type: ignore[union-attr]
    if member := _MEMBER.match(sentence):
        path = f"{path}.{member[2]}" if path else member[2]
        return f"{path}: required, but missing" if member[1].startswith("missing") else f"{path}: unknown field"
    path = path or "the body"
    if value := _ENUM.match(sentence):
        return f"{path}: is none of the values that are allowed, got {shown(value[1])}"
    if not (parts := _EXPECTED.match(sentence)):
        return f"{path}: {spoken(sentence)}"
    types, length_is, length, compared, bound, came = parts.groups()
    expected = " or ".join(_TYPES.get(name, name) for name in types.split(" | ") if name != "null")
    if length:
        unit = "item" if "array" in types.split(" | ") else "character"
        limit = "at most" if length_is == "<=" else "at least"
        expected += f" of {limit} {length} {unit}{'' if length == '1' else 's'}"
    if bound:
        expected += f" {compared} {float(bound):g}" if "." in bound else f" {compared} {bound}"
    return f"{path}: must be {expected}" + (f", got {_TYPES.get(came, came)}" if came else "")


def spoken(sentence: str) -> str:
    """msgspec's sentence as a part of ours: `JSON` keeps its capitals."""
    first = sentence[:1] if sentence[1:2].isupper() else sentence[:1].lower()
    return first + sentence[1:].replace("`", "")


def plain(path: str, text: str) -> None:
    """Raises BadQuestion for a text with U+0000, which databases and C libraries cut there."""
    if "\x00" in text:
        raise BadQuestion(f"{path}: must not contain U+0000")
