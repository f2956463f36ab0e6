"""From a conversation to the prompt's tokens, and from a reply's tokens to its text.

The tokeniser and the chat template are the model's own; rendering equals transformers' `apply_chat_template` with
`add_generation_prompt`, which a test compares. The rendering is our own because importing
transformers takes longer than loading a small model.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Tokenizer

from providers.errors import ContextTooLong, Rejected
from providers.local.engine.detokeniser import vocabulary
from providers.local.engine.serving.folder import Folder, reading
from providers.local.engine.serving.messages import Arguments, as_templates_expect
from providers.local.engine.toolcalls import call_form

# A private-use character that is put into message text where it spells a control token, so that it stays text.
BREAK = "\ue0ff"
MOST_LEVELS = 100
# What a model writes itself; its tags are mark-up also in the history.
WRITTEN_BY_MODELS = ("content", "reasoning_content")
TOOL_RESULT = ("<tool_response>", "</tool_response>")


def _is_tag(token: AddedToken) -> bool:
    """Whether it is mark-up inside a message (<think>, </tool_call>) and no control token of the conversation.

    In a model's own messages they stay their tokens, because templates read and cut them there.
    """
    return not token.special and re.fullmatch(r"</?[a-z_]+>", token.content) is not None


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
        marks = [token for token in added.values() if len(token.content) > 1 or token.special]
        controls = [token for token in marks if not _is_tag(token)]
        self.tags = frozenset(token.content for token in marks if _is_tag(token))
        self._controls = self._spelt(controls)
        self._marks = self._spelt(marks)
        # Composing (NFC) makes a character of three at most.
        self._longest = 3 * max(map(len, self.tokenizer.get_vocab()))
        self._special = _special_tokens(folder.tokenizer)
        with reading(f"the chat template of {folder.name}"):
            self._template = _environment().from_string(folder.chat_template)
            self._tool_template = _environment().from_string(folder.tool_template) if folder.tool_template else None
        self.written = folder.tool_template + folder.chat_template
        self.form = call_form(self.written)
        self.special = {token.content: number for number, token in added.items() if token.special}
        ends = folder.end_tokens
        end = self._special.get("eos_token")
        end_token = self.tokenizer.token_to_id(end) if isinstance(end, str) else None
        self.end_tokens = ends if end_token is None else ends | {end_token}

    def prompt(self, messages: list[dict[str, Any]], template: dict[str, Any], most: int = 1 << 40) -> list[int]:
        """The tokens of a conversation, up to where the reply begins; see text() and tokens()."""
        return self.tokens(self.text(messages, template), most)

    def text(
        self,
        messages: list[dict[str, Any]],
        template: dict[str, Any],
        tools: list[dict[str, Any]] | None = None,
        continued: bool = False,
    ) -> str:
        """A conversation as the template writes it, up to where the reply begins.

        continued   the reply goes on with the last message, instead of beginning a new one

        Raises Rejected if the template refuses the conversation.
        """
        safe = [self._message(as_templates_expect(message, self.written)) for message in messages]
        variables = {
            "messages": safe,
            "tools": self.safe(tools) if tools else None,
            "documents": None,
            "add_generation_prompt": not continued,
        }
        chosen = self._tool_template if tools and self._tool_template else self._template
        try:
            text = chosen.render(**variables | self._special | template)
        except Exception as error:  # noqa: BLE001 - a template may raise anything
            # Template and conversation are this request's alone, so any error is the request's.
            raise Rejected(f"messages: the model's chat template refuses this conversation: {error}") from None
        return _up_to(text, safe[-1].get("content")) if continued and safe else text

    def tokens(self, text: str, most: int = 1 << 40) -> list[int]:
        """The tokens of what text() gave.

        Raises ContextTooLong where they are more than `most`; where that is certain, before they are counted.
        """
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

    def words(self, text: str) -> list[int]:
        """The tokens of a text by itself."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def shortest(self) -> int:
        """The length of a minimal prompt; 1 if the template refuses a minimal conversation."""
        try:
            return len(self.prompt([{"role": "user", "content": "?"}], {}))
        except Rejected:
            return 1

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        """A message in which nothing becomes a control token, and a tag only where a model wrote it.

        So what people, tools and databases say neither opens nor closes a thought or a call. The tags around a tool's
        result stay: some clients send results as a user's message, and templates look for these tags there.
        """
        safe: dict[str, Any] = self.safe(message)
        content = message.get("content")
        if message.get("role") == "assistant":
            for name in WRITTEN_BY_MODELS:
                if isinstance(text := message.get(name), str):
                    safe[name] = self._broken(text, self._controls)
        elif isinstance(content, str) and content.startswith(TOOL_RESULT[0]) and content.endswith(TOOL_RESULT[1]):
            inner = content.removeprefix(TOOL_RESULT[0]).removesuffix(TOOL_RESULT[1])
            safe["content"] = self.safe(inner).join(TOOL_RESULT)
        return safe

    def safe(self, value: Any, level: int = 0) -> Any:
        """A request's data, at any depth, with every control token and every tag in it broken."""
        if isinstance(value, str):
            return self._broken(value, self._marks)
        if level > MOST_LEVELS:
            raise Rejected(f"messages: at most {MOST_LEVELS} nested levels are allowed")
        if isinstance(value, list):
            return [self.safe(each, level + 1) for each in value]
        if isinstance(value, dict):
            members = {self.safe(name, level + 1): self.safe(each, level + 1) for name, each in value.items()}
            return Arguments(members, self.safe(value.source)) if isinstance(value, Arguments) else members
        return value

    def _spelt(self, tokens: list[AddedToken]) -> tuple[list[str], list[str]]:
        """Tokens as they are spelt, the longest first, and as the tokeniser's normaliser spells them."""
        names, normalised = {token.content for token in tokens}, set()
        if (normalizer := self.tokenizer.normalizer) is not None:
            normalised = {normalizer.normalize_str(token.content) for token in tokens if token.normalized} - {""}
        return sorted(names, key=len, reverse=True), sorted(normalised, key=len, reverse=True)

    def _broken(self, text: str, tokens: tuple[list[str], list[str]]) -> str:
        names, normalised = tokens
        text = text.replace(BREAK, "")
        if normalised:
            # The tokeniser looks for these in what its normaliser makes of the text.
            seen = self.tokenizer.normalizer.normalize_str(text)
            if any(control in seen for control in normalised):
                text = _break(seen, normalised)
        return _break(text, names)


def _up_to(text: str, content: Any) -> str:
    """A rendered conversation up to the end of its last message's content; as transformers' continue_final_message."""
    said = content if isinstance(content, str) else ""
    at = text.rfind(said.strip())
    if not said.strip() or at < 0:
        raise Rejected("continue_final_message: the chat template changes or leaves out the last message's content")
    whole = text[at : at + len(said.lstrip())]
    return text[:at] + (whole if whole == said.lstrip() else said.strip())


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
