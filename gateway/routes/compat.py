"""Two older forms of a plain chat: POST /api streams NDJSON with the text so far, POST /conversation/ answers whole."""

from __future__ import annotations

from typing import Any

import msgspec
from flask import Blueprint, Response, g

from gateway.answers import chat, question
from gateway.answers.followable import Followed
from gateway.answers.question import BadQuestion, Question
from gateway.context import here
from gateway.errors import Failure
from gateway.formats import native
from gateway.routes import replies
from gateway.routes.answers import body

routes = Blueprint("compat", __name__)

# The names under which such clients send the question.
NAMES = ("question", "query", "prompt")


@routes.post("/api")
def api() -> Response:
    return replies.stream(_begun("question"), native.NdJson())


@routes.post("/conversation/", strict_slashes=False)
def conversation() -> Response:
    return replies.whole(_begun("query"), lambda found: {"response": native.whole(found)["answer"]})


def _begun(name: str) -> Followed:
    asked = _question(body(), name)
    sluice = here()
    replies.known_provider(asked.provider, "provider")
    asked.cache_salt = g.owner
    return replies.begin(
        chat.answer(asked.request(asked.chat()), sluice.providers, asked.provider), asked, asked.provider
    )


def _question(given: bytes, name: str) -> Question:
    """The question in the body; `name` is what a message calls it where it is missing."""
    try:
        fields: dict[str, Any] = question.decode(msgspec.json.Decoder(dict[str, Any]), given)
        told = [known for known in NAMES if known in fields]
        name = told[0] if told else name
        if len(told) > 1:
            raise BadQuestion(f"{told[1]}: it is the same as {told[0]}, which is there too")
        if told:
            fields["question"] = fields.pop(told[0])
        asked = question.from_json(msgspec.json.encode(fields))
    except BadQuestion as error:
        message = str(error)
        if error.field == "question":
            message = name + message.removeprefix("question")
        raise Failure("bad_request", message) from None
    asked.database = "none"
    return asked
