"""What hosted wires share in writing requests and reading refusals: a message's text, what an error's words mean."""

from __future__ import annotations

import re
from typing import Any

from providers.chat import ChatRequest
from providers.errors import Rejected

# "Range of input length should be [1, 30720]", "maximum context length is 4096 tokens", "the max input tokens is 8192"
_TOO_LONG = re.compile(
    r"context[ _](length|window)|max\w* (model|context|input)|longer than the (max\w* )?model|too many tokens"
    r"|(prompt|input|question|messages?)\b.{0,40}\btoo long|(prompt|input|question)\b.{0,40}\blength"
    r"|length of (the )?(current )?(input|prompt|question)"
    r"|exceeds? (the )?(model'?s )?max\w* .{0,20}tokens|输入(长度|过长)|上下文(长度|过长)|超(过|出)[^。]{0,12}长度",
    re.IGNORECASE | re.DOTALL,
)


def too_long(message: str) -> bool:
    """Whether an upstream's refusal of the request speaks of the prompt's length."""
    return bool(_TOO_LONG.search(message))


def text_of(content: Any, upstream: str) -> str:
    """A message's content as text, its parts joined. Raises Rejected for a part that is none, such as an image."""
    if isinstance(content, str) or content is None:
        return content or ""
    texts = []
    for part in content:
        if part.get("type") != "text":
            raise Rejected(f"{upstream} takes text only, and a message holds a part of type {part.get('type')!r}")
        texts.append(part.get("text") or "")
    return "".join(texts)


def count(value: Any) -> int | None:
    """A number of tokens; None for anything else that JSON can hold."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def dropped(request: ChatRequest, upstream: str, *names: str) -> list[str]:
    """A sentence for each of these parameters that the request sets and `upstream` lacks."""
    chosen = {**request.sampling.chosen(), "parallel_tool_calls": request.parallel_tool_calls}
    return [f"{name} dropped: {upstream} has no such parameter" for name in names if chosen.get(name) is not None]
