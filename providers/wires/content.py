"""The content of a message, both ways, in each shape that services know: a string, a part, a list of parts.

    "你好"    ["你", "好"]    {"text": "你好"}    [{"type": "text", "text": "你好"}]    {"parts": [{"text": "你好"}]}
    {"text": {"value": "你好"}}    [{"type": "thinking", "thinking": [{"type": "text", "text": "…"}]}]    42

What is read is taken as it comes: a part that holds no text, such as an image, costs itself.
"""

from __future__ import annotations

from typing import Any

import msgspec

from providers.delta import ToolCallDelta
from providers.errors import Rejected

MAX_DEPTH = 5
_TEXTS = ("text", "content", "value", "output_text", "parts")
_THOUGHTS = ("thinking", "thought", "reasoning", "summary", "text", "content")
_THINKING_TYPES = frozenset({"thinking", "thought", "reasoning", "reasoning_text", "reasoning.text", "summary_text"})


def text_of(content: Any, upstream: str) -> str:
    """The content of a message to be sent, as text. Raises Rejected for a part that is none, such as an image."""
    if isinstance(content, str) or content is None:
        return content or ""
    texts = []
    for part in content:
        if part.get("type") != "text":
            raise Rejected(
                f"messages.content: {upstream} takes text only; expected parts of type text, got {part.get('type')!r}"
            )
        texts.append(part.get("text") or "")
    return "".join(texts)


def word(value: Any) -> str:
    """A text that stands where a string should: numbers as they are written, "" for what is no text."""
    if isinstance(value, str):
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return msgspec.json.encode(value).decode() if is_number else ""


def read_content(content: Any, depth: int = 0) -> tuple[str, str]:
    """(text, thoughts) of a message's content."""
    if isinstance(content, list) and depth < MAX_DEPTH:
        parts = [read_content(part, depth + 1) for part in content]
        return "".join(text for text, _ in parts), "".join(thought for _, thought in parts)
    if isinstance(content, dict) and depth < MAX_DEPTH:
        thinks = "thinking" in content or content.get("thought") is True or content.get("type") in _THINKING_TYPES
        names = _THOUGHTS if thinks else _TEXTS
        inner = next((content[name] for name in names if content.get(name) not in (None, "", True)), None)
        text, thought = read_content(inner, depth + 1)
        return ("", text + thought) if thinks else (text, thought)
    return word(content), ""


def read_tool_calls(part: dict[str, Any]) -> list[ToolCallDelta]:
    """The pieces of tool calls in a delta or a message: a list, one call, or calls by their index."""
    calls = part.get("tool_calls")
    if isinstance(calls, dict):
        calls = by_index(calls, ("function", "id", "name", "arguments"))
    pieces = []
    if isinstance(calls, list):
        pieces = [read_tool_call(call, at) for at, call in enumerate(calls) if isinstance(call, dict)]
    if isinstance(old := part.get("function_call"), dict):
        pieces.append(read_tool_call({"function": old}, 0))
    return pieces


def by_index(found: dict[str, Any], names: tuple[str, ...]) -> list[Any]:
    """A list that a service sent as an object: one entry where it has a member of `names`, else entries by index."""
    if any(name in found for name in names):
        return [found]
    return [
        {"index": int(key), **entry} if isinstance(entry, dict) and key.isdecimal() else entry
        for key, entry in found.items()
    ]


def read_tool_call(call: dict[str, Any], position: int) -> ToolCallDelta:
    """A piece of a tool call; position: its place in the chunk, where it has no index of its own."""
    inner = call.get("function") or call.get("custom")
    function = inner if isinstance(inner, dict) else call  # some put name and arguments into the call itself
    index, id = call.get("index"), call.get("id")
    if isinstance(index, str):
        index = int(index) if index.isdecimal() and len(index) < 10 else None
    given = (function[name] for name in ("arguments", "parameters", "input") if function.get(name) is not None)
    arguments = next(given, "")
    if not isinstance(arguments, str):
        arguments = "" if isinstance(arguments, bool) else msgspec.json.encode(arguments).decode()
    extra = call.get("extra_content")
    if not isinstance(index, int) or isinstance(index, bool):
        index = position
    return ToolCallDelta(
        index, word(id), word(function.get("name")), arguments,
        extra if isinstance(extra, dict) and extra else msgspec.UNSET,
    )  # fmt: skip


def count(value: Any) -> int | None:
    """A number of tokens, also where it is written as 12.0; None for anything else that JSON can hold."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None
