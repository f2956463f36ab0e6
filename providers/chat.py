"""What is asked: one request to a language model, in our shape."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
"""OpenAI's message: role (system, user, assistant, tool) and content (a string, or a list of parts), tool_calls, …"""


@dataclass(slots=True)
class ChatRequest:
    """A conversation and how to sample its next turn.

    None means "the provider's default": the adapter leaves the member out of what it sends. Ranges are checked
    where requests come in, so a provider may rely on them: temperature [0, 2], top_p (0, 1], top_k >= 1 (None is off),
    repetition_penalty (0, 2], max_tokens >= 1, seed >= 0, at most 8 stop strings, none empty.
    """

    messages: list[Message]
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    # Whose prefix cache the prompt may share; one per tenant, never told to an upstream.
    cache_salt: str = ""
    # "sql": the local engine generates only statements over `constrain_schema` (table → columns), with
    # names quoted as `constrain_dialect` does it (sqlite, postgresql, mysql).
    constrain: str | None = None
    constrain_schema: dict[str, list[str]] = field(default_factory=dict)
    constrain_dialect: str = ""
