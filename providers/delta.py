"""One step of a reply, in our shape, whichever upstream it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

FINISH_REASONS = ("stop", "length", "content_filter", "tool_calls", "cancelled")


@dataclass(slots=True)
class Usage:
    """The tokens a reply cost, as the upstream counted them: running totals of the request, never a part of it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def as_dict(self) -> dict[str, int]:
        """The three totals, and the two details where the upstream counts them."""
        totals = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
        }
        if self.cached_tokens is not None:
            totals["cached_tokens"] = self.cached_tokens
        if self.reasoning_tokens is not None:
            totals["reasoning_tokens"] = self.reasoning_tokens
        return totals


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of one tool call: `id` and `name` come with its first piece, `arguments` is text to append."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Delta:
    """Text to append, never the text so far.

    text, reasoning   the two channels of a reply; either may be empty
    tool_calls        pieces of tool calls, by index
    finish_reason     why the reply ended; only the last delta of a stream has one
    usage             beside finish_reason where the upstream counts
    logprobs          OpenAI's `logprobs.content` entries for this text, where they were asked for
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCallDelta] = field(default_factory=list)
    finish_reason: str | None = None
    usage: Usage | None = None
    logprobs: list[dict[str, Any]] | None = None
