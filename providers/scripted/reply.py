"""What the scripted upstream says: replies in our own shape, so that a test can compare them with what came out."""

from __future__ import annotations

from msgspec.structs import replace

from providers.delta import Delta, ToolCallDelta, Usage

# Characters of one to four bytes, white space alone, and a family of five code points cut in two.
PIECES = ("你好", "，", "this reply", " ", "comes token by token", "\n\n", "👩", "\u200d👧", " – çà et là.")
THOUGHTS = ("先想", "一想", ".")
USAGE = Usage(12, 9, 21)
TOOL_CALLS = (
    ToolCallDelta(0, "call_1", "weather", ""),
    ToolCallDelta(0, "", "", '{"city": '),
    ToolCallDelta(0, "", "", '"杭州"}'),
    ToolCallDelta(1, "call_2", "clock", '{"zone": "Asia/Shanghai"}'),
)
PIECE_CHARACTERS = 3


def plain() -> list[Delta]:
    """Text alone."""
    return _ended([Delta(piece) for piece in PIECES])


def thinking() -> list[Delta]:
    """Reasoning, then text."""
    return _ended(
        [Delta(reasoning=piece) for piece in THOUGHTS] + [Delta(piece) for piece in PIECES],
        usage=replace(USAGE, reasoning_tokens=3),
    )


def calling() -> list[Delta]:
    """Two tool calls and no text."""
    return _ended([Delta(tool_calls=[piece]) for piece in TOOL_CALLS], finish_reason="tool_calls")


def saying(text: str) -> list[Delta]:
    """`text`, a few characters at a time."""
    pieces = [text[start : start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS)]
    return _ended([Delta(piece) for piece in pieces], usage=Usage(12, len(pieces), 12 + len(pieces)))


def counting(question: str, count: int) -> list[Delta]:
    """So many chunks, each with the question and its own number, so that no loss, repeat or mixing up can hide."""
    pieces = [f"<{question}:{number}>" for number in range(1, count + 1)]
    return _ended([Delta(piece) for piece in pieces], usage=Usage(12, count, 12 + count))


def _ended(steps: list[Delta], finish_reason: str = "stop", usage: Usage = USAGE) -> list[Delta]:
    return [*steps, Delta(finish_reason=finish_reason, usage=usage)]
