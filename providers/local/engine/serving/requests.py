"""From an ask to a sequence: prompt, parameters, what ends it, its channels, what constrains it."""

from __future__ import annotations

import secrets
from typing import Any

from providers.errors import Rejected
from providers.local.engine.constraint import FreeThought
from providers.local.engine.edits import Edits
from providers.local.engine.output import OutputBuffer
from providers.local.engine.sequence import Key, Sequence
from providers.local.engine.serving import structured
from providers.local.engine.serving.chat import Chat
from providers.local.engine.serving.extensions import Extensions, extensions
from providers.local.engine.serving.grammars import Grammars
from providers.local.engine.stopping import StopStrings
from providers.local.engine.thoughts import Thoughts
from providers.local.engine.toolcalls import ToolCalls
from providers.local.wire import Ask
from providers.sampling import OFF, Sampling, in_range, interval

MOST_LOGPROBS = 20


def sampling(ask: Ask, generation: dict[str, Any]) -> Sampling:
    """How to sample for `ask`; open parameters take generation_config.json's values. Raises Rejected."""
    makers = {name: generation[name] for name in OFF if isinstance(generation.get(name), int | float)}
    if not generation.get("do_sample", "temperature" in makers or not generation):
        makers["temperature"] = 0.0
    chosen = ask.sampling.over(Sampling(**makers))
    for name, value in chosen.chosen().items():
        # The gateway has checked them; the engine checks again to protect itself.
        if name in OFF and not in_range(name, value):
            raise Rejected(f"{name}: must be in {interval(name)}, got {value}")
    chosen.top_k = max(0, int(chosen.top_k or 0))
    if chosen.seed is None:
        chosen.seed = secrets.randbits(62)
    return chosen


def sequence(
    key: Key, ask: Ask, chat: Chat, generation: dict[str, Any], max_context: int, grammars: Grammars
) -> Sequence:
    """The sequence that answers `ask`. Raises Rejected, or ContextTooLong if the prompt leaves no room for a token."""
    how = sampling(ask, generation)
    further = extensions(ask.options, grammars.vocabulary)
    max_tokens = _max_tokens(ask, generation)
    if ask.logprobs is not None and not 0 <= ask.logprobs <= MOST_LOGPROBS:
        raise Rejected(f"logprobs: must be in [0, {MOST_LOGPROBS}], got {ask.logprobs}")
    if further.min_tokens and max_tokens is not None and further.min_tokens > max_tokens:
        raise Rejected(f"min_tokens: must be at most max_tokens, {max_tokens}, got {further.min_tokens}")
    calls = _calls(ask, chat)
    text = _text(ask, further, chat, calls)
    prompt = chat.tokens(text, max_context - 1)
    if not prompt:
        raise Rejected("messages: must not be empty")
    room = max_context - len(prompt)
    sequence = Sequence(key, prompt, min(room, max_tokens or room), how, ask.logprobs, ask.cache_salt)
    sequence.ends = _ends(ask, further, chat)
    sequence.edits = _edits(further, chat, sequence.ends, grammars.vocabulary)
    thoughts = _thoughts(ask, text)
    sequence.output = OutputBuffer(
        chat.vocabulary,
        chat.vocabulary.detokeniser(special=further.skip_special_tokens is False),
        StopStrings([stop for stop in ask.sampling.stop if stop], include=bool(further.include_stop_str_in_output)),
        thoughts,
        _tool_calls(ask, calls) if calls else None,
        further.min_tokens or 0,
    )
    free = _free_thought(ask, text, chat, thoughts)
    lark = structured.grammar(ask, calls, chat.tags)
    if lark or (ask.constrain and ask.constrain_schema):
        _agree(further, structured.member(ask) if lark else "constrain")
    if ask.constrain and ask.constrain_schema:
        sequence.constraint = grammars.constraint(ask.constrain, ask.constrain_schema, ask.constrain_dialect, free)
    if lark:
        sequence.constraint = grammars.structure(structured.member(ask), lark, free)
    return sequence


def _agree(further: Extensions, structure: str) -> None:
    """Raises Rejected for a parameter that could forbid every token that a structure allows."""
    for name in ("min_tokens", "ignore_eos", "bad_words"):
        if getattr(further, name):
            raise Rejected(f"{name}: cannot be combined with {structure}, which decides where the reply ends")


def _max_tokens(ask: Ask, generation: dict[str, Any]) -> int | None:
    default = generation.get("max_new_tokens")
    max_tokens = ask.sampling.max_tokens
    if max_tokens is None and isinstance(default, int) and default > 0:
        max_tokens = default
    if max_tokens is not None and max_tokens < 1:
        raise Rejected(f"max_tokens: must be at least 1, got {max_tokens}")
    return max_tokens


def _calls(ask: Ask, chat: Chat) -> str | None:
    """How the reply's tool calls are written, see toolcalls.py; None where it has none."""
    if ask.tool_choice not in (None, "auto", "none") and not ask.tools:
        raise Rejected("tool_choice: needs tools, got none")
    if not ask.tools or ask.tool_choice == "none":
        return None
    for n, tool in enumerate(ask.tools):
        function = tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise Rejected(f"tools[{n}]: must be a function with a name")
    if chat.form is None and ask.tool_choice in (None, "auto"):
        raise Rejected(
            "tools: this model's chat template has no tool calls in a form that the engine reads; leave them out, "
            'or send tool_choice "required" or a function'
        )
    return chat.form or "hermes"


def _tool_calls(ask: Ask, form: str) -> ToolCalls:
    names = [tool["function"]["name"] for tool in ask.tools]
    return ToolCalls(form, names, several=ask.parallel_tool_calls)


def _text(ask: Ask, further: Extensions, chat: Chat, calls: str | None) -> str:
    """The prompt as the chat template writes it."""
    variables = ask.template | chat.safe(further.chat_template_kwargs or {})
    continued = bool(further.continue_final_message)
    if further.add_generation_prompt is not None:
        variables["add_generation_prompt"] = further.add_generation_prompt
    if calls and chat.form is None:
        return chat.text(structured.described(ask.tools, ask.messages), variables, None, continued)
    return chat.text(ask.messages, variables, ask.tools if calls else None, continued)


def _ends(ask: Ask, further: Extensions, chat: Chat) -> frozenset[int]:
    """The tokens that end the reply. A stop string that is a special token has no text, so its number is looked for."""
    ends = frozenset() if further.ignore_eos else chat.end_tokens
    special = {chat.special[stop] for stop in ask.sampling.stop if stop in chat.special}
    return ends | frozenset(further.stop_token_ids or ()) | special


def _edits(further: Extensions, chat: Chat, ends: frozenset[int], vocabulary: int) -> Edits | None:
    bias = {int(token): value for token, value in (further.logit_bias or {}).items()}
    words = {tuple(chat.words(form)) for word in further.bad_words or () for form in (word, f" {word.lstrip()}")}
    if not (bias or words or further.min_tokens):
        return None
    # A token that the model does not have cannot be drawn, and has no logit.
    possible = tuple(word for word in words if word and max(word) < vocabulary)
    ends = frozenset(token for token in ends if token < vocabulary)
    return Edits(bias, further.min_tokens or 0, ends, possible)


def _thoughts(ask: Ask, text: str) -> Thoughts | None:
    """What splits thoughts off the text, if that is wanted: the prompt may end inside one."""
    if ask.think == "never":
        return None
    opened = ask.think == "opened" or text.rstrip().endswith(ask.think_tags[0])
    return Thoughts(ask.think_tags, opened, ask.think == "always")


def _free_thought(ask: Ask, text: str, chat: Chat, thoughts: Thoughts | None) -> FreeThought | None:
    """The thought that a constrained reply may begin with; None where the model does not think or has thought."""
    opening, closing = ask.think_tags
    if thoughts is None or (not thoughts.inside and text.rstrip().endswith(closing)):
        return None
    token = chat.tokenizer.token_to_id(opening) if opening in chat.written and not thoughts.inside else None
    if not thoughts.inside and token is None:
        return None
    return FreeThought(chat.vocabulary, thoughts.inside, token, closing.encode())
