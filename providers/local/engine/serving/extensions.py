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


class Extensions(msgspec.Struct):
    """What the engine takes. `prompt_logprobs` it knows and refuses: a cached prefix has no logits."""

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
    prompt_logprobs: int | None = None


NAMES = Extensions.__struct_fields__


def extensions(options: dict[str, Any], vocabulary: int) -> Extensions:
    """The request's extensions, checked. Raises Rejected.

    vocabulary   how many tokens the model has
    """
    try:
        taken = msgspec.convert(options, Extensions)
    except msgspec.ValidationError as error:
        said, _, at = str(error).partition(" - at ")
        name = re.sub(r"^`(?:key in )?\$\.?|`$", "", at) or "a parameter"
        raise Rejected(f"{name}: {said[0].lower()}{said[1:]}") from None
    if taken.prompt_logprobs is not None:
        raise Rejected("prompt_logprobs: is not supported by the local engine; leave it out")
    if len(taken.logit_bias or ()) > MOST_BIASES:
        raise Rejected(f"logit_bias: must have at most {MOST_BIASES} tokens, got {len(taken.logit_bias or ())}")
    if len(taken.bad_words or ()) > MOST_WORDS:
        raise Rejected(f"bad_words: must have at most {MOST_WORDS} words, got {len(taken.bad_words or ())}")
    for token in taken.logit_bias or {}:
        if not token.isdecimal() or int(token) >= vocabulary:
            raise Rejected(f'logit_bias: must have token ids below {vocabulary} as keys, got "{token[:20]}"')
    if taken.continue_final_message and taken.add_generation_prompt:
        raise Rejected("continue_final_message: cannot be combined with add_generation_prompt")
    return taken
