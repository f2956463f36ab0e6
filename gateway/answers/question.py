"""The fields of /getAnwser: decoded, checked, and named in the message where one is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.answers import history
from gateway.answers.history import Turn
from gateway.decoding import BadQuestion, decode, in_words, plain, spoken
from gateway.errors import shown
from providers.chat import ChatRequest, Message
from providers.sampling import Sampling, StopAsSent

MAX_QUESTION_CHARACTERS = 8_000
LANGUAGES = ("zh", "en")


class Fields(Sampling, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The fields as they come, in the body or the query string; null is the same as absent."""

    question: Annotated[str, Meta(max_length=MAX_QUESTION_CHARACTERS)]
    provider: str | None = None
    database: str | None = None
    history: list[Any] | None = None
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
            raise BadQuestion(f"history: must be JSON; {spoken(str(error))}") from None
    try:
        return _checked(msgspec.convert(raw, Fields, strict=False))
    except msgspec.ValidationError as error:
        raise BadQuestion(in_words(str(error))) from None


def _checked(fields: Fields) -> Question:
    if not fields.question.strip():
        raise BadQuestion("question: must not be blank")
    sampling = Sampling.of(fields)
    turns = history.turns(fields.history or [])
    _one_of("language", fields.language, LANGUAGES)
    _one_of("constrain", fields.constrain, ("sql",))
    plain("question", fields.question)
    plain("provider", fields.provider or "")
    plain("database", fields.database or "")
    for n, word in enumerate(sampling.stop):
        plain(f"stop[{n}]", word)
    return Question(
        question=fields.question,
        provider=fields.provider,
        database=fields.database or "",
        history=turns,
        execute=fields.execute,
        language=fields.language,
        constrain=fields.constrain,
        sampling=sampling,
    )


def _one_of(path: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise BadQuestion(f"{path}: must be {' or '.join(map(shown, allowed))}, got {shown(value)}")
