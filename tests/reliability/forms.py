"""The ways to ask that the matrix plays: how each is asked, read and come back to.

A reply's frames become the checker's events (`start`, `message`, `done`, `failed`), so that every form is judged by the
same rules. The readings here are their own, and know nothing of the gateway's code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.reliability.numbered import Event, events

if TYPE_CHECKING:
    from tests.reliability.reader import Reader


class Form:
    """/getAnwser and /answers/<id>/events: an event's id is what a reader comes back with.

    restarts        who comes back gets the answer from its beginning
    closes_at_once  a client without an Idempotency-Key cannot come back, and its upstream is closed when it leaves
    """

    name = "answers"
    restarts = False
    closes_at_once = False

    def asking(self, stream: str, provider: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The path and the body of the question."""
        return "/getAnwser", {"question": stream, "provider": provider, "database": "none", **fields}

    def returning(self, reader: Reader) -> tuple[str, dict[str, str]] | None:
        """The path and the headers of the GET that goes on; None where the question is sent again, with its key."""
        answer_id = reader.events[-1].id.rpartition(".")[0] if reader.events else reader.answer_id
        if not answer_id:
            return None
        last = {"Last-Event-ID": reader.events[-1].id} if reader.events else {}
        return f"/answers/{answer_id}/events", last

    def events(self, body: bytes) -> Iterator[Event]:
        """The events in what came so far of a reply's body."""
        return events(body)


# Event of the Responses API → the checker's
RESPONSE_EVENTS = {
    "response.created": "start",
    "response.output_text.delta": "message",
    "response.completed": "done",
    "response.incomplete": "done",
    "response.failed": "failed",
}


class Responses(Form):
    """The Responses API: `sequence_number` counts from 0, and `starting_after` goes on behind one."""

    name = "responses"

    def asking(self, stream: str, provider: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return "/v1/responses", {"input": stream, "model": provider, "stream": True, **fields}

    def returning(self, reader: Reader) -> tuple[str, dict[str, str]] | None:
        if not reader.answer_id:
            return None
        after = f"&starting_after={reader.events[-1].number - 1}" if reader.events else ""
        return f"/v1/responses/resp_{reader.answer_id}?stream=true{after}", {}

    def events(self, body: bytes) -> Iterator[Event]:
        for frame in _frames(body):
            kind, number = frame["type"], frame["sequence_number"] + 1
            data = {"text": frame.get("delta"), "finish_reason": frame.get("response", {}).get("status")}
            if kind == "response.failed":
                data["code"] = frame["response"]["error"]["code"]
            # The stream's frames name no response, so its own numbers stand for it.
            yield Event(f"response.{number}", RESPONSE_EVENTS.get(kind, kind), data)


class Restarting(Form):
    """Forms whose frames have no numbers: their events are counted, and an end counts once [DONE] has followed it.

    identity   the member of a frame that names the answer
    """

    restarts = True
    identity = "id"

    def events(self, body: bytes) -> Iterator[Event]:
        number, answer_id, end = 0, "", None
        for frame in _frames(body):
            if frame == "[DONE]":
                if end is not None:
                    number += 1
                    yield Event(f"{answer_id}.{number}", *end)
                continue
            answer_id = frame.get(self.identity) or answer_id
            for name, data in self.steps(frame, first=number == 0):
                if name in ("done", "failed"):
                    end = name, data
                else:
                    number += 1
                    yield Event(f"{answer_id}.{number}", name, data)

    def steps(self, frame: dict[str, Any], *, first: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        """The names and data of the events that a frame is."""
        raise NotImplementedError


class Completions(Restarting):
    """/v1/chat/completions and /v1/completions: who comes back asks again with the same Idempotency-Key."""

    closes_at_once = True

    def __init__(self, name: str) -> None:
        self.name = name

    def asking(self, stream: str, provider: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if self.name == "completions":
            return "/v1/completions", {"prompt": stream, "model": provider, "stream": True, **fields}
        messages = [{"role": "user", "content": stream}]
        return "/v1/chat/completions", {"messages": messages, "model": provider, "stream": True, **fields}

    def returning(self, reader: Reader) -> None:
        return None

    def steps(self, frame: dict[str, Any], *, first: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        if first:
            yield "start", {}
        if "error" in frame:
            yield "failed", frame["error"]
        for choice in frame.get("choices", ()):
            if text := choice["text"] if "text" in choice else choice["delta"].get("content"):
                yield "message", {"text": text}
            if choice["finish_reason"]:
                yield "done", {"finish_reason": choice["finish_reason"]}


class Chat(Restarting):
    """The AI SDK's stream: GET /chat/<chat id>/stream gives the running answer from its beginning, and 204 after it."""

    name = "chat"
    identity = "messageId"

    def asking(self, stream: str, provider: str, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        message = {"role": "user", "parts": [{"type": "text", "text": stream}]}
        return "/chat", {"id": stream, "messages": [message], "provider": provider, "database": "none", **fields}

    def returning(self, reader: Reader) -> tuple[str, dict[str, str]] | None:
        return f"/chat/{reader.recording.stream}/stream", {}

    def steps(self, frame: dict[str, Any], *, first: bool) -> Iterator[tuple[str, dict[str, Any]]]:
        kind = frame["type"]
        if kind == "start":
            yield "start", {}
        elif kind == "text-delta":
            yield "message", {"text": frame["delta"]}
        elif kind == "error":
            yield "failed", {"code": frame["errorText"].rpartition("(")[2].rstrip(")")}
        elif kind in ("finish", "abort"):
            yield "done", {"finish_reason": frame.get("messageMetadata", {}).get("finishReason", "cancelled")}


def _frames(body: bytes) -> Iterator[Any]:
    """The data of each whole block, parsed, or the text `[DONE]`."""
    *blocks, _ = bytes(body).split(b"\n\n")
    for block in blocks:
        for line in block.decode("utf-8").split("\n"):
            if line.startswith("data: "):
                yield line[6:] if line == "data: [DONE]" else json.loads(line[6:])


FORMS = {form.name: form for form in (Form(), Responses(), Completions("openai"), Completions("completions"), Chat())}
