"""Events → our own formats of a reply: server-sent events, NDJSON, raw text, whole JSON. OpenAI's are in openai.py.

A streaming format writes batch after batch and may remember what it wrote, so each reader has its own object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.datastructures import MIMEAccept

from gateway.answers import events
from gateway.answers.events import Batch, Event
from gateway.answers.reader import Format
from gateway.answers.steps import EventName
from gateway.errors import Failure, shown
from gateway.json_line import encode


class Sse:
    """Server-sent events: the bytes of the log, and `retry:` inside the first block that this reader gets."""

    content_type = "text/event-stream; charset=utf-8"
    opening = b""
    ping = events.PING

    def __init__(self) -> None:
        self._first = True

    def write(self, batch: Batch) -> bytes:
        if self._first:
            self._first = False
            return events.RETRY + batch.sse
        return batch.sse


class NdJson:
    """A line for each write, with the text so far; the last line also has the end, the statement and the rows."""

    content_type = "application/x-ndjson"
    opening = b""
    ping = b"\n"

    def __init__(self) -> None:
        # The text so far as it stands inside a JSON string: each piece is escaped once, then only copied.
        self._text = bytearray()
        self._end: dict[str, Any] = {"sql": None, "rows": None}

    def write(self, batch: Batch) -> bytes:
        grown = False
        for name, data in batch.events:
            if name == EventName.MESSAGE:
                self._text += encode(data["text"])[1:-1]
                grown = True
            elif name == EventName.START:
                self._end["id"] = data["id"]
            elif name in (EventName.SQL, EventName.ROWS):
                self._end[name] = data
            elif name == EventName.DONE:
                end = {"done": True} | self._end
                end |= {"finish_reason": data["finish_reason"], "usage": data["usage"]}
                return self._line(b"," + encode(end)[1:-1])
            elif name == EventName.FAILED:
                return self._line(b',"error":' + encode(data))
        return self._line(b"") if grown else b""

    def _line(self, rest: bytes) -> bytes:
        return b'{"content":"%b"%b}\n' % (bytes(self._text), rest)


class Text:
    """The reply's text, and a last line where it is not complete. There are no heartbeats: they would be text."""

    content_type = "text/plain; charset=utf-8"
    opening = b""
    ping = b""

    def __init__(self) -> None:
        self._last = "\n"

    def write(self, batch: Batch) -> bytes:
        pieces = []
        for name, data in batch.events:
            if name == EventName.MESSAGE and (text := data["text"].replace("\x00", "")):
                pieces.append(text)
                self._last = text[-1]
            elif name == EventName.FAILED:
                pieces.append(self._line(f"[failed: {data['code']}] {data['message']}"))
            elif name == EventName.DONE and data["finish_reason"] == "cancelled":
                pieces.append(self._line("[cancelled]"))
        return "".join(pieces).encode()

    def _line(self, text: str) -> str:
        return ("" if self._last == "\n" else "\n") + text + "\n"


STREAMED: dict[str, Callable[[], Format]] = {
    "text/event-stream": Sse,
    "application/x-ndjson": NdJson,
    "text/plain": Text,
}
WHOLE = "application/json"
CSV = "text/csv"
# The values of `format=`; the media types themselves are taken as well.
NAMES = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain", "json": WHOLE, "csv": CSV}


def chosen(accept: MIMEAccept, name: str | None) -> str:
    """The media type of the reply: `format=` (`name`) if it is there, else the best match of `Accept`.

    Raises Failure (400, 406).
    """
    if name is not None:
        if name in NAMES.values():
            return name
        if name not in NAMES:
            message = f"format: must be one of {', '.join(NAMES)}, got {shown(name)}"
            raise Failure("bad_request", message, param="format")
        return NAMES[name]
    if not accept:
        return NAMES["sse"]
    # Among equally good ones the first offered wins: server-sent events for */*.
    best = accept.best_match(list(NAMES.values()))
    if best is None:
        raise Failure("bad_request", f"Accept: must allow one of {', '.join(NAMES.values())}", status=406)
    return best


def whole(found: list[Event]) -> dict[str, Any]:
    """The answer as one object, from its events so far; `error` is there if it failed."""
    reply: dict[str, Any] = {
        "id": None,
        "provider": None,
        "model": None,
        "answer": "",
        "reasoning": "",
        "sql": None,
        "rows": None,
        "finish_reason": None,
        "usage": None,
        "timing": None,
    }
    text, reasoning = [], []
    for name, data in found:
        if name == EventName.MESSAGE:
            text.append(data["text"])
        elif name == EventName.REASONING:
            reasoning.append(data["text"])
        elif name == EventName.START:
            reply |= {name: data[name] for name in ("id", "provider", "model")}
        elif name in (EventName.SQL, EventName.ROWS):
            reply[name] = data
        elif name == EventName.DONE:
            reply |= data
        elif name == EventName.FAILED:
            reply["error"] = data
    reply["answer"], reply["reasoning"] = "".join(text), "".join(reasoning)
    return reply
