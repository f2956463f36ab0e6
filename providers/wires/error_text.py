"""What hosted wires share in writing requests and reading refusals: a message's text, what an error's words mean."""

from __future__ import annotations

from typing import Any

from providers.chat import ChatRequest
from providers.errors import Rejected


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
    """A number of tokens, also where it is written as 12.0; None for anything else that JSON can hold."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def dropped(request: ChatRequest, upstream: str, *names: str) -> list[str]:
    """A sentence for each of these parameters that the request sets and `upstream` lacks."""
    chosen = {**request.sampling.chosen(), "parallel_tool_calls": request.parallel_tool_calls}
    return [f"{name} dropped: {upstream} has no such parameter" for name in names if chosen.get(name) is not None]
