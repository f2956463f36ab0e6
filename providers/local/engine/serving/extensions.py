"""Parameters that vLLM has beside OpenAI's, by their names there; a request sends them as they are.

Source: vLLM's ChatCompletionRequest, https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from providers.errors import Rejected

MOST_BIASES = 1024
MOST_WORDS = 128
MOST_DIGITS = 10
# Variables of the chat template that are the conversation itself.
OURS = frozenset({"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"})


class Extensions(msgspec.Struct):
    """What the engine takes, and what it refuses because a reply without it would not be what was asked for.

    prompt_logprobs   a cached prefix has no logits
    """

    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    min_tokens: Annotated[int, Meta(ge=0)] | None = None
    stop_token_ids: list[Annotated[int, Meta(ge=0)]] | None = None
    ignore_eos: bool | None = None
    bad_words: list[Annotated[str, Meta(min_length=1)]] | None = None
    skip_special_tokens: bool | None = None
    include_stop_str_in_output: bool | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None
    guided_json: Any = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    prompt_logprobs: Any = None
    allowed_token_ids: Any = None


NAMES = Extensions.__struct_fields__
REFUSED = ("prompt_logprobs", "allowed_token_ids")


def extensions(options: dict[str, Any], vocabulary: int) -> Extensions:
    """The request's extensions, checked. Raises Rejected.

    vocabulary   how many tokens the model has
    """
    try:
        extensions = msgspec.convert(options, Extensions)
    except msgspec.ValidationError as error:
        said, _, at = str(error).partition(" - at ")
        name = re.sub(r"^`(?:key in )?\$\.?|`$", "", at) or "a parameter"
        raise Rejected(f"{name}: {_in_words(said)}") from None
    for name in REFUSED:
        if getattr(extensions, name) is not None:
            raise Rejected(f"{name}: is not supported by the local engine; leave it out")
    if len(extensions.logit_bias or ()) > MOST_BIASES:
        raise Rejected(f"logit_bias: must have at most {MOST_BIASES} tokens, got {len(extensions.logit_bias or ())}")
    if len(extensions.bad_words or ()) > MOST_WORDS:
        raise Rejected(f"bad_words: must have at most {MOST_WORDS} words, got {len(extensions.bad_words or ())}")
    for token in extensions.logit_bias or {}:
        if not token.isdecimal() or len(token) > MOST_DIGITS or int(token) >= vocabulary:
            raise Rejected(f'logit_bias: must have token ids below {vocabulary} as keys, got "{token[:20]}"')
    for number in extensions.stop_token_ids or ():
        if number >= vocabulary:
            raise Rejected(f"stop_token_ids: must be token ids below {vocabulary}, got {number}")
    for name in (extensions.chat_template_kwargs or {}).keys() & OURS:
        raise Rejected(f"chat_template_kwargs: must not have {name}, which the request says elsewhere")
    if extensions.continue_final_message and extensions.add_generation_prompt:
        raise Rejected("continue_final_message: cannot be combined with add_generation_prompt")
    return extensions


_TYPES = {"int": "an integer", "float": "a number", "str": "a string", "bool": "true or false", "array": "an array",
          "object": "an object", "null": "null"}  # fmt: skip


def _in_words(said: str) -> str:
    """msgspec's "Expected `int | null`, got `str`" as "must be an integer, got a string"."""
    parts = re.fullmatch(r"Expected `([^`]*)`([^,]*)(?:, got `([^`]*)`)?", said)
    if parts is None:
        return said[0].lower() + said[1:]
    expected = [_TYPES.get(kind, kind) for kind in parts[1].split(" | ") if kind != "null"]
    got = f", got {_TYPES.get(parts[3], parts[3])}" if parts[3] else ""
    return f"must be {' or '.join(expected)}{parts[2]}{got}"
