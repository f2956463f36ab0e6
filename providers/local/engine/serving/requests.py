"""From an ask to a sequence: the parameters, and whether the prompt fits."""

from __future__ import annotations

import math
import secrets
from typing import Any

from providers.errors import Rejected
from providers.local.engine.output import Reply
from providers.local.engine.sequence import Key, Sampling, Sequence
from providers.local.engine.serving.chat import Chat
from providers.local.engine.serving.grammars import Grammars
from providers.local.engine.stopping import StopStrings
from providers.local.wire import Ask

# name → lowest and highest value; a gateway has judged them already, and nothing else may bring the engine down.
RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0, 2),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}

MOST_LOGPROBS = 20


def sampling(ask: Ask, generation: dict[str, Any]) -> Sampling:
    """How to sample for `ask`; what it leaves open is as in generation_config.json. Raises Rejected."""
    told: dict[str, Any] = {
        name: value
        for name in ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
        if isinstance(value := generation.get(name), int | float)
    }
    if not generation.get("do_sample", "temperature" in told or not generation):
        told["temperature"] = 0.0
    for name in (*RANGES, "top_k"):
        if (value := getattr(ask, name)) is not None:
            told[name] = value
    for name, (low, high) in RANGES.items():
        value = told.get(name, high)
        if not (math.isfinite(value) and low <= value <= high) or (
            value == 0 and name in ("top_p", "repetition_penalty")
        ):
            raise Rejected(f"{name} {value} is not in its range")
    top_k = told.get("top_k", 0)
    if not float(top_k).is_integer():
        raise Rejected(f"top_k {top_k} is no whole number")
    if ask.logprobs is not None and not 0 <= ask.logprobs <= MOST_LOGPROBS:
        raise Rejected(f"logprobs {ask.logprobs} is not in its range")
    seed = ask.seed if ask.seed is not None else secrets.randbits(62)
    return Sampling(**told | {"top_k": max(0, int(top_k)), "seed": seed, "logprobs": ask.logprobs})


def sequence(
    key: Key, ask: Ask, chat: Chat, generation: dict[str, Any], max_context: int, grammars: Grammars
) -> Sequence:
    """The sequence that answers `ask`. Raises Rejected, or ContextTooLong if the prompt leaves no room for a token."""
    how = sampling(ask, generation)
    told = generation.get("max_new_tokens")
    max_tokens = ask.max_tokens if ask.max_tokens is not None else told if isinstance(told, int) and told > 0 else None
    if max_tokens is not None and max_tokens < 1:
        raise Rejected(f"max_tokens {max_tokens} is less than 1")
    prompt = chat.prompt(ask.messages, ask.template, max_context - 1)
    if not prompt:
        raise Rejected("the conversation is empty")
    room = max_context - len(prompt)
    made = Sequence(key, prompt, min(room, max_tokens or room), how, ask.salt)
    made.text = Reply(chat.vocabulary, chat.vocabulary.detokeniser(), StopStrings([stop for stop in ask.stop if stop]))
    if ask.constrain and ask.constrain_schema:
        made.constraint = grammars.constraint(ask.constrain, ask.constrain_schema, ask.constrain_dialect)
    return made
