"""Two older forms of a plain chat: POST /api streams NDJSON with the text so far, POST /conversation/ answers whole."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Blueprint, Response, g

from gateway import context
from gateway.answers import chat, question
from gateway.answers.followable import Followable
from gateway.answers.question import Question
from gateway.decoding import BadQuestion, decode
from gateway.formats import native
from gateway.routes import replies
from gateway.routes.request_body import body

routes = Blueprint("compat", __name__)

# The members in which such clients send the question.
NAMES = ("question", "query", "prompt")


@routes.post("/api")
def api() -> Response:
    return replies.stream(_begun("question", context.current().settings.compat.question), native.NdJson())


@routes.post("/conversation/", strict_slashes=False)
def conversation() -> Response:
    return replies.whole(_begun("query"), lambda found: {"response": native.whole(found)["answer"]})


def _begun(name: str, default: str | None = None) -> Followable:
    """The answer; `name` is the member that a message names, `default` the question of a request without a body."""
    data = body()
    if data:
        asked = _question(data, name)
    elif default is not None:
        asked = Question(default)
    else:
        hint = "; the configuration has no compat.question either" if name == "question" else ""
        raise BadQuestion(f"{name}: required, but the body is empty{hint}")
    sluice = context.current()
    asked.provider = replies.provider(asked.provider, "provider")
    asked.cache_salt = g.owner
    return replies.begin(
        chat.answer(asked.request(asked.chat()), sluice.providers, asked.provider), asked, asked.provider
    )


def _question(data: bytes, name: str) -> Question:
    """The question in the body; `name` is the member that a message names where none is there."""
    fields: dict[str, Any] = decode(msgspec.json.Decoder(dict[str, Any]), data)
    names = [known for known in NAMES if known in fields]
    if len(names) > 1:
        raise BadQuestion(f"{names[1]}: must not come beside {names[0]}, which means the same")
    name = names[0] if names else name
    if names:
        fields["question"] = fields.pop(name)
    try:
        asked = question.from_json(msgspec.json.encode(fields))
    except BadQuestion as error:
        if error.param != "question":
            raise
        raise BadQuestion(name + error.message.removeprefix("question")) from None
    asked.database = "none"
    return asked
