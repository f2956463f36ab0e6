"""From an ask to a sequence: the parameters, and whether the prompt fits."""

from __future__ import annotations

import secrets
from typing import Any

from providers.errors import Rejected
from providers.local.engine.output import OutputBuffer
from providers.local.engine.sequence import Key, Sampling, Sequence
from providers.local.engine.serving.chat import Chat
from providers.local.engine.serving.grammars import Grammars
from providers.local.engine.stopping import StopStrings
from providers.local.wire import Ask
from providers.sampling import in_range, interval

# The gateway has checked them; the engine checks again to protect itself.
CHECKED = ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")

MOST_LOGPROBS = 20


def sampling(ask: Ask, generation: dict[str, Any]) -> Sampling:
    """How to sample for `ask`; open parameters take generation_config.json's values. Raises Rejected."""
    chosen: dict[str, Any] = {
        name: value
        for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
        if isinstance(value := generation.get(name), int | float)
    }
    if not generation.get("do_sample", "temperature" in chosen or not generation):
        chosen["temperature"] = 0.0
    chosen |= {name: value for name in (*CHECKED, "top_k") if (value := getattr(ask.sampling, name)) is not None}
    for name in CHECKED:
        if name in chosen and not in_range(name, chosen[name]):
            raise Rejected(f"{name}: must be in {interval(name)}, got {chosen[name]}")
    top_k = chosen.get("top_k", 0)
    if not float(top_k).is_integer():
        raise Rejected(f"top_k: must be a whole number, got {top_k}")
    if ask.logprobs is not None and not 0 <= ask.logprobs <= MOST_LOGPROBS:
        raise Rejected(f"logprobs: must be in [0, {MOST_LOGPROBS}], got {ask.logprobs}")
    seed = ask.sampling.seed if ask.sampling.seed is not None else secrets.randbits(62)
    return Sampling(**chosen | {"top_k": max(0, int(top_k)), "seed": seed, "logprobs": ask.logprobs})


def sequence(
    key: Key, ask: Ask, chat: Chat, generation: dict[str, Any], max_context: int, grammars: Grammars
) -> Sequence:
    """The sequence that answers `ask`. Raises Rejected, or ContextTooLong if the prompt leaves no room for a token."""
    how = sampling(ask, generation)
    default = generation.get("max_new_tokens")
    max_tokens = ask.sampling.max_tokens
    if max_tokens is None and isinstance(default, int) and default > 0:
        max_tokens = default
    if max_tokens is not None and max_tokens < 1:
        raise Rejected(f"max_tokens: must be at least 1, got {max_tokens}")
    prompt = chat.prompt(ask.messages, ask.template, max_context - 1)
    if not prompt:
        raise Rejected("messages: must not be empty")
    room = max_context - len(prompt)
    made = Sequence(key, prompt, min(room, max_tokens or room), how, ask.cache_salt)
    made.output = OutputBuffer(
        chat.vocabulary, chat.vocabulary.detokeniser(), StopStrings([stop for stop in ask.sampling.stop if stop])
    )
    if ask.constrain and ask.constrain_schema:
        made.constraint = grammars.constraint(ask.constrain, ask.constrain_schema, ask.constrain_dialect)
    return made
