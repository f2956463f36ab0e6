"""One step of a reply, in our shape, whichever upstream it came from."""

from __future__ import annotations

from typing import Any

import msgspec

FINISH_REASONS = ("stop", "length", "content_filter", "tool_calls", "cancelled")


class Usage(msgspec.Struct, gc=False):
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


class ToolCallDelta(msgspec.Struct, gc=False):
    """A piece of one tool call.

    id             comes with the call's first piece; made by the normaliser where the upstream sends none
    name           text to append, nearly always whole in the first piece
    arguments      text to append
    extra_content  what the caller has to send back with the call, such as Gemini's thought signatures
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    extra_content: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Delta(msgspec.Struct, gc=False):
    """Text to append, never the text so far. (A struct: made in C, a third of what a dataclass costs.)

    text, reasoning    the two channels of a reply; either may be empty
    tool_calls         pieces of tool calls, by index
    finish_reason      why the reply ended; only the last delta of a stream has one
    usage              beside finish_reason where the upstream counts
    logprobs           OpenAI's `logprobs.content` entries for this text, where they were asked for
    finish_reason_raw  the upstream's word, where it is not one that we know; finish_reason is then `stop`
    extras             members of the reply that are neither text nor calls: images, annotations, …
    whole              the chunk repeats the reply so far: only what goes beyond it counts (only between parser
                       and normaliser)
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCallDelta] = []
    finish_reason: str | None = None
    usage: Usage | None = None
    logprobs: list[dict[str, Any]] | None = None
    finish_reason_raw: str | None = None
    extras: dict[str, Any] | None = None
    whole: bool = False
