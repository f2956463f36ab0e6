"""The fields of /getAnwser: decoded, checked, and named in the message where one is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from gateway.errors import Failure, shown
from providers.chat import ChatRequest, Message
from providers.sampling import Sampling, StopAsSent

T = TypeVar("T")

MAX_QUESTION_CHARACTERS = 8_000
LANGUAGES = ("zh", "en")


class BadQuestion(Failure):
    """The request is wrong; the message begins with the field's path, or with "the body"."""

    def __init__(self, message: str) -> None:
        field = None if message.startswith("the body") else message.partition(":")[0]
        super().__init__("bad_request", message, param=field)


class Turn(msgspec.Struct, forbid_unknown_fields=True):
    """An earlier question of this conversation, and its answer."""

    question: str
    answer: str


class Fields(Sampling, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The fields as they come, in the body or the query string; null is the same as absent."""

    question: Annotated[str, Meta(max_length=MAX_QUESTION_CHARACTERS)]
    provider: str | None = None
    database: str | None = None
    history: list[Turn] | None = None
    execute: bool | None = None
    language: str | None = None
    constrain: str | None = None
    stop: StopAsSent = None  # type: ignore[assignment]


@dataclass(slots=True)
class Question:
    """One question, checked.

    provider     a configured name, or None: the default provider, and its fallbacks where it fails
    database     a configured name, or "none" for a plain chat
    execute      None: as the database's configuration says
    language     None: as text2sql's configuration says
    constrain    "sql": a local engine generates only statements over the database's schema; None: as configured
    sampling     what it leaves open is the provider's default
    cache_salt   prompts with an equal one share the prefix cache: one per caller
    """

    question: str
    provider: str | None = None
    database: str = "none"
    history: list[Turn] = field(default_factory=list)
    execute: bool | None = None
    language: str | None = None
    constrain: str | None = None
    sampling: Sampling = field(default_factory=Sampling)
    cache_salt: str = ""

    def request(self, messages: list[Message]) -> ChatRequest:
        """The request for `messages` with this question's sampling."""
        return ChatRequest(messages, self.sampling, constrain=self.constrain, cache_salt=self.cache_salt)

    def chat(self) -> list[Message]:
        """The question after its history, as a plain chat."""
        messages: list[Message] = []
        for turn in self.history:
            messages.append({"role": "user", "content": turn.question})
            messages.append({"role": "assistant", "content": turn.answer})
        messages.append({"role": "user", "content": self.question})
        return messages


_from_json = msgspec.json.Decoder(Fields)


def from_json(body: bytes) -> Question:
    """The question in a JSON body; raises BadQuestion."""
    if not body:
        raise BadQuestion("question: required; the body is empty")
    return _checked(decode(_from_json, body))


def from_query(values: dict[str, list[str]]) -> Question:
    """The question in a query string's values; `stop` may come several times, `history` is JSON. Raises BadQuestion."""
    raw: dict[str, Any] = {}
    for name, texts in values.items():
        if len(texts) > 1 and name != "stop":
            raise BadQuestion(f"{name}: must be there once, came {len(texts)} times")
        raw[name] = texts if name == "stop" else texts[0]
    if "history" in raw:
        try:
            raw["history"] = msgspec.json.decode(raw["history"])
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadQuestion(f"history: must be JSON; {_spoken(str(error))}") from None
    try:
        return _checked(msgspec.convert(raw, Fields, strict=False))
    except msgspec.ValidationError as error:
        raise BadQuestion(in_words(str(error))) from None


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """`body` read by `decoder`; raises BadQuestion, with the field's path where it is one field's fault."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadQuestion(in_words(str(error))) from None
    except UnicodeDecodeError:
        raise BadQuestion("the body: must be UTF-8, and is not") from None
    except msgspec.DecodeError as error:
        if "UTF-8" in str(error):
            raise BadQuestion("the body: must be UTF-8, and is not") from None
        # msgspec reports a string that ends within a surrogate pair with the words for a body that ends too early.
        half = _HALF_A_PAIR.search(body) and "truncated" in str(error)
        reason = "half a surrogate pair in a string" if half else _spoken(str(error))
        raise BadQuestion(f"the body: must be JSON; {reason}") from None
    except RecursionError:
        raise BadQuestion("the body: must be JSON that is nested less deeply") from None


# An escaped high surrogate at the end of a string.
_HALF_A_PAIR = re.compile(rb'\\u[dD][89abAB][0-9a-fA-F]{2}"')
_PATH = re.compile(r"^(.*?)(?: - at `(?:key in )?\$\.?(.*)`)?$", re.DOTALL)
_MEMBER = re.compile(r"^Object (missing required field|contains unknown field) `(.*)`$", re.DOTALL)


# msgspec's types → our words.
_TYPES = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_EXPECTED = re.compile(r"^Expected `([^`]*)`(?: of length (<=|>=) (\d+)| (<=|>=|<|>) (\S+))?(?:, got `([^`]*)`)?$")
_ENUM = re.compile(r"^Invalid enum value '?(.*?)'?$", re.DOTALL)


def in_words(problem: str) -> str:
    """msgspec's sentence (`Expected `int | null`, got `bool` - at `$.top_k``) in the form "field: must be …, got …"."""
    sentence, path = _PATH.fullmatch(problem).groups(default="")  # type: ignore[union-attr]
    if member := _MEMBER.match(sentence):
        path = f"{path}.{member[2]}" if path else member[2]
        return f"{path}: required, but missing" if member[1].startswith("missing") else f"{path}: unknown field"
    path = path or "the body"
    if value := _ENUM.match(sentence):
        return f"{path}: is none of the values that are allowed, got {shown(value[1])}"
    if not (parts := _EXPECTED.match(sentence)):
        return f"{path}: {_spoken(sentence)}"
    types, length_is, length, compared, bound, came = parts.groups()
    expected = " or ".join(_TYPES.get(name, name) for name in types.split(" | ") if name != "null")
    if length:
        unit = "item" if "array" in types.split(" | ") else "character"
        limit = "at most" if length_is == "<=" else "at least"
        expected += f" of {limit} {length} {unit}{'' if length == '1' else 's'}"
    if bound:
        expected += f" {compared} {float(bound):g}" if "." in bound else f" {compared} {bound}"
    return f"{path}: must be {expected}" + (f", got {_TYPES.get(came, came)}" if came else "")


def _spoken(sentence: str) -> str:
    """msgspec's sentence as a part of ours: `JSON` keeps its capitals."""
    first = sentence[:1] if sentence[1:2].isupper() else sentence[:1].lower()
    return first + sentence[1:].replace("`", "")


def _checked(fields: Fields) -> Question:
    if not fields.question.strip():
        raise BadQuestion("question: must not be blank")
    sampling = Sampling.of(fields)
    history = fields.history or []
    _one_of("language", fields.language, LANGUAGES)
    _one_of("constrain", fields.constrain, ("sql",))
    _plain("question", fields.question)
    _plain("provider", fields.provider or "")
    _plain("database", fields.database or "")
    for n, turn in enumerate(history):
        _plain(f"history[{n}].question", turn.question)
        _plain(f"history[{n}].answer", turn.answer)
    for n, word in enumerate(sampling.stop):
        _plain(f"stop[{n}]", word)
    return Question(
        question=fields.question,
        provider=fields.provider,
        database=fields.database or "",
        history=history,
        execute=fields.execute,
        language=fields.language,
        constrain=fields.constrain,
        sampling=sampling,
    )


def _one_of(path: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise BadQuestion(f"{path}: must be {' or '.join(map(shown, allowed))}, got {shown(value)}")


def _plain(path: str, text: str) -> None:
    if "\x00" in text:
        raise BadQuestion(f"{path}: must not contain U+0000")
