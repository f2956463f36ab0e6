"""The AI SDK's chat: POST /chat asks, GET /chat/<chat id>/stream resumes the running answer, DELETE on it stops it.

A resumed stream begins at the start of the answer, as useChat expects it: it builds the message anew.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from flask import Blueprint, Response, g
from msgspec import Meta

from gateway import context
from gateway.access import choices
from gateway.answers import chat, history
from gateway.answers.followable import Followable
from gateway.answers.question import LANGUAGES, MAX_QUESTION_CHARACTERS, Question
from gateway.decoding import BadQuestion, decode
from gateway.errors import Failure, shown
from gateway.formats import ui_message
from gateway.routes import answers, replies, v1_models
from gateway.routes.request_body import body
from providers.chat import ChatRequest
from providers.sampling import Sampling, StopAsSent

routes = Blueprint("ui_chat", __name__)


class UiMessage(msgspec.Struct):
    role: Literal["system", "user", "assistant"]
    parts: list[dict[str, Any]]


class Fields(Sampling, kw_only=True):
    """useChat's body; `trigger` and `messageId` say nothing that the messages do not show."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    messages: Annotated[list[UiMessage], Meta(min_length=1)]
    model: str | None = None
    provider: str | None = None
    database: str | None = None
    execute: bool | None = None
    language: str | None = None
    stop: StopAsSent = None  # type: ignore[assignment]


_decoder = msgspec.json.Decoder(Fields)


@routes.post("/chat")
def ask() -> Response:
    fields = decode(_decoder, body())
    if fields.language is not None and fields.language not in LANGUAGES:
        raise BadQuestion(f'language: must be "zh" or "en", got {shown(fields.language)}')
    target = v1_models.target(fields.model or fields.provider, fields.database)
    names = context.current().settings.databases
    database = target.database or choices.database(g.rights, fields.database, names)
    messages = _messages(fields.messages)
    answer = _sql(fields, target.provider, database, messages)
    if answer is None:
        request = ChatRequest(messages, Sampling.of(fields), cache_salt=g.owner)
        flow = chat.answer(request, context.current().providers, target.provider)
        answer = replies.begin(flow, [target.provider, request], target.provider, alias=_alias(fields.id))
    return _stream(answer)


def _sql(fields: Fields, provider: str | None, database: str, messages: list[dict[str, Any]]) -> Followable | None:
    """Text to SQL for the last message; None for a plain chat."""
    if context.current().databases.get(database) is None:
        return None
    text, turns = history.conversation(messages)
    if not text.strip():
        raise BadQuestion(f"messages[{len(messages) - 1}]: the last message must have a text part that is not blank")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise BadQuestion(f"messages: must have at most {MAX_QUESTION_CHARACTERS} characters, got {len(text)}")
    question = Question(
        text,
        provider,
        database,
        history=turns,
        execute=fields.execute,
        language=fields.language,
        sampling=Sampling.of(fields),
    )
    return answers.begin(question, alias=_alias(fields.id))


def _alias(chat_id: str) -> str:
    return f"chat:{chat_id}"


def _stream(answer: Followable, *, fails_early: bool = True) -> Response:
    reply = replies.stream(answer, ui_message.UiMessages(), fails_early=fails_early)
    reply.headers.update(ui_message.HEADERS)
    return reply


@routes.get("/chat/<chat_id>/stream")
def resume(chat_id: str) -> Response:
    answers.not_head()
    answer = context.current().answers.latest(g.owner, _alias(chat_id))
    if answer is None or answer.ended:
        return Response(status=204)
    context.current().answers.admit_reader()
    return _stream(answer, fails_early=False)


@routes.delete("/chat/<chat_id>/stream")
def stop(chat_id: str) -> Response:
    answer = context.current().answers.latest(g.owner, _alias(chat_id))
    if answer is None:
        raise Failure("not_found", "chat: unknown id; nothing was asked in it, or its last answer has expired")
    answer.cancel()
    return replies.described(Response(status=204), answer)


def _messages(sent: list[UiMessage]) -> list[dict[str, Any]]:
    """The AI SDK's messages as OpenAI's. Data parts are ours, or the page's, and no part of what was said."""
    messages: list[dict[str, Any]] = []
    for n, message in enumerate(sent):
        parts, calls, results = _parts(f"messages[{n}]", message.parts)
        if calls:
            text = "".join(part["text"] for part in parts if part["type"] == "text")
            messages += [{"role": "assistant", "content": text or None, "tool_calls": calls}, *results]
        elif all(part["type"] == "text" for part in parts):
            messages.append({"role": message.role, "content": "".join(part["text"] for part in parts)})
        else:
            messages.append({"role": message.role, "content": parts})
    return messages


def _parts(
    path: str, sent: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Content parts, tool calls and tool results of one message."""
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for n, part in enumerate(sent):
        kind = part.get("type")
        if kind == "text":
            text = part.get("text")
            if not isinstance(text, str):
                raise BadQuestion(f"{path}.parts[{n}].text: must be a string")
            if "\x00" in text:
                raise BadQuestion(f"{path}.parts[{n}].text: must not contain U+0000")
            parts.append({"type": "text", "text": text})
        elif kind == "file":
            parts.append(_file(f"{path}.parts[{n}]", part))
        elif isinstance(kind, str) and (kind.startswith("tool-") or kind == "dynamic-tool"):
            _tool(kind, part, calls, results)
        elif not isinstance(kind, str):
            raise BadQuestion(f"{path}.parts[{n}].type: must be a string")
    return parts, calls, results


def _file(path: str, part: dict[str, Any]) -> dict[str, Any]:
    url, media = part.get("url"), part.get("mediaType")
    if not isinstance(url, str) or not isinstance(media, str):
        raise BadQuestion(f"{path}: a file must have url and mediaType")
    if media.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"filename": part.get("filename") or "file", "file_data": url}}


def _tool(kind: str, part: dict[str, Any], calls: list[dict[str, Any]], results: list[dict[str, Any]]) -> None:
    """A call that has a result; one without would be refused by every service."""
    if part.get("state") not in ("output-available", "output-error"):
        return
    name = part.get("toolName") or kind.removeprefix("tool-")
    arguments = msgspec.json.encode(part.get("input") or {}).decode()
    call_id = str(part.get("toolCallId"))
    calls.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})
    output = part.get("output") if part["state"] == "output-available" else part.get("errorText")
    content = output if isinstance(output, str) else msgspec.json.encode(output).decode()
    results.append({"role": "tool", "tool_call_id": call_id, "content": content})
