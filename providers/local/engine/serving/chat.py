"""From a conversation to the prompt's tokens, and from a reply's tokens to its text.

The tokeniser and the chat template are the model's own; rendering equals transformers' `apply_chat_template` with
`add_generation_prompt`, which a test compares. The rendering is our own because importing
transformers takes longer than loading a small model.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from providers.errors import ContextTooLong, Rejected
from providers.local.engine.detokeniser import vocabulary
from providers.local.engine.serving.folder import Folder, reading

# A private-use character that is put into message text where it spells a control token, so that it stays text.
BREAK = "\ue0ff"
MOST_LEVELS = 100


class Chat:
    """A model's way of writing conversations."""

    def __init__(self, folder: Folder) -> None:
        with reading(f"tokenizer.json of {folder.name}"):
            self.tokenizer = Tokenizer.from_file(str(folder.path / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.vocabulary = vocabulary(self.tokenizer)
        added = self.tokenizer.get_added_tokens_decoder()
        self.largest = max(self.tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
        vocabulary_size = folder.config.get("vocab_size")
        self._unknown = {token for token in added if isinstance(vocabulary_size, int) and token >= vocabulary_size}
        # A single character cannot be broken: special ones are removed from messages, others are text anyway.
        controls = [token for token in added.values() if len(token.content) > 1 or token.special]
        self._controls = sorted({token.content for token in controls}, key=len, reverse=True)
        self._normalised: list[str] = []
        if (normalizer := self.tokenizer.normalizer) is not None:
            normalised = {normalizer.normalize_str(token.content) for token in controls if token.normalized}
            self._normalised = sorted(normalised - {""}, key=len, reverse=True)
        # Composing (NFC) makes a character of three at most.
        self._longest = 3 * max(map(len, self.tokenizer.get_vocab()))
        self._special = _special_tokens(folder.tokenizer)
        with reading(f"the chat template of {folder.name}"):
            self._template = _environment().from_string(folder.chat_template)
        ends = folder.end_tokens
        end = self._special.get("eos_token")
        end_token = self.tokenizer.token_to_id(end) if isinstance(end, str) else None
        self.end_tokens = ends if end_token is None else ends | {end_token}

    def prompt(self, messages: list[dict[str, Any]], template: dict[str, Any], most: int = 1 << 40) -> list[int]:
        """The tokens of a conversation, up to where the reply begins. Raises Rejected if the template refuses it.

        Raises ContextTooLong where they are more than `most`; where that is certain, before they are counted.
        """
        safe = [self._safe({**message, "content": _joined(message.get("content"))}) for message in messages]
        try:
            text = self._template.render(
                **{"messages": safe, "tools": None, "documents": None, "add_generation_prompt": True}
                | self._special
                | template
            )
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            # Template and conversation are this request's alone, so any error is the request's.
            raise Rejected(f"messages: the model's chat template refuses this conversation: {error}") from None
        if len(text) > most * self._longest:
            raise ContextTooLong(
                f"messages: the prompt must have at most {most:,} tokens, got {len(text):,} characters"
            )
        # Unlike encode(), this lets go of the interpreter's lock, and it takes half the time.
        parts = self.tokenizer.encode_batch_fast(text.split(BREAK), add_special_tokens=False)
        if (count := sum(map(len, parts))) > most:
            raise ContextTooLong(f"messages: the prompt must have at most {most:,} tokens, got {count:,}")
        tokens = [token for part in parts for token in part.ids]
        if self._unknown and not self._unknown.isdisjoint(tokens):
            raise Rejected("messages: the model's chat template wrote a control token that the model does not have")
        return tokens

    def shortest(self) -> int:
        """The length of a minimal prompt; 1 if the template refuses a minimal conversation."""
        try:
            return len(self.prompt([{"role": "user", "content": "?"}], {}))
        except Rejected:
            return 1

    def _safe(self, value: Any, level: int = 0) -> Any:
        """Message data, at any depth, with every control token in it broken."""
        if isinstance(value, str):
            return self._broken(value)
        if level > MOST_LEVELS:
            raise Rejected(f"messages: at most {MOST_LEVELS} nested levels are allowed")
        if isinstance(value, list):
            return [self._safe(each, level + 1) for each in value]
        if isinstance(value, dict):
            return {self._safe(name, level + 1): self._safe(each, level + 1) for name, each in value.items()}
        return value

    def _broken(self, text: str) -> str:
        text = text.replace(BREAK, "")
        if self._normalised:
            # The tokeniser looks for these in what its normaliser makes of the text.
            seen = self.tokenizer.normalizer.normalize_str(text)
            if any(control in seen for control in self._normalised):
                text = _break(seen, self._normalised)
        return _break(text, self._controls)


def _joined(content: Any) -> Any:
    """A message's content as one text."""
    if not isinstance(content, list):
        return content
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(parts):
        raise Rejected("messages: every part of a content list must have a text")
    return "".join(texts)


def _break(text: str, controls: list[str]) -> str:
    for control in controls:
        if control in text:
            text = text.replace(control, control[:1] + BREAK + control[1:] if control[1:] else "")
    return text


class Generation(Extension):
    """{% generation %} … {% endgeneration %} marks what a model is trained on; here it is only its body."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _special_tokens(configured: dict[str, Any]) -> dict[str, Any]:
    """bos_token, eos_token, …: the names under which templates use them."""
    named = {name: value for name, value in configured.items() if name.endswith("_token")}
    texts = {name: value.get("content") if isinstance(value, dict) else value for name, value in named.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _environment() -> jinja2.Environment:
    """Jinja as chat templates expect it: https://huggingface.co/docs/transformers/chat_templating_writing."""

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    extensions = [loopcontrols, Generation]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment
