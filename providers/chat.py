"""One request to a language model, in our shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from providers import sampling
from providers.delta import Delta
from providers.sampling import Sampling


@dataclass(slots=True)
class Delivery:
    """How the batches after the first one reach the consumer.

    take       called with each batch from the event loop, must not block; None: the consumer iterates over all of them.
               Saves two greenlet switches and the generators of each layer per batch. The last batch is iterated always
    take_text  called in place of `take` where a batch is text alone; set together with it
    """

    take: Callable[[list[Delta]], None] | None = None
    take_text: Callable[[str], None] | None = None


Message = dict[str, Any]
"""OpenAI's message: role (system, user, assistant, tool) and content (a string, or a list of parts), tool_calls, …"""


@dataclass(slots=True)
class ChatRequest:
    """A conversation and how to sample its next turn.

    None means "the provider's default": the adapter leaves the member out of what it sends. The ranges of `sampling`
    are checked where requests come in, so a provider may rely on them.
    """

    messages: list[Message]
    sampling: Sampling = field(default_factory=Sampling)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    # The prompt of a text completion (a text, or its tokens), for providers that have `text_completions`; others answer
    # `messages`.
    prompt: str | list[int] | None = None
    # Members of a request that we do not know; OpenAI-like wires pass them on, others drop them and say so.
    extra: dict[str, Any] = field(default_factory=dict)
    # The name under which the caller sent the limit of tokens.
    max_tokens_name: str = "max_tokens"
    logprobs: bool = False
    top_logprobs: int | None = None
    # Prompts with the same salt may share a prefix cache; one salt per tenant, never sent to an upstream.
    cache_salt: str = ""
    # "sql": the local engine generates only statements over `constrain_schema` (table → columns), with
    # names quoted as `constrain_dialect` does it (sqlite, postgresql, mysql).
    constrain: str | None = None
    constrain_schema: dict[str, list[str]] = field(default_factory=dict)
    constrain_dialect: str = ""
    # Belongs to one asking of one consumer; adapters that cannot deliver from the event loop ignore it.
    delivery: Delivery = field(default_factory=Delivery, compare=False, repr=False)

    @classmethod
    def of(cls, messages: list[Message], **members: Any) -> Self:
        """A request from members by name, the parameters of `Sampling` among them."""
        parameters, others = sampling.split(members)
        return cls(messages, parameters, **others)
