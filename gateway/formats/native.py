"""Events → the forms of a reply: server-sent events, NDJSON, raw text, whole JSON. OpenAI's are in openai_form.py.

A streaming form writes batch after batch and may remember what it wrote: each reader has its own. `opening` is sent
with the head, `ping` after every `heartbeat_s` of silence where the form has room for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from werkzeug.datastructures import MIMEAccept

from gateway.answers import events
from gateway.answers.events import Batch, Event
from gateway.answers.reader import Writing
from gateway.errors import Failure

_encode = msgspec.json.Encoder().encode


class Sse:
    """Server-sent events: the bytes of the log as they are."""

    content_type = "text/event-stream; charset=utf-8"
    opening = events.RETRY
    ping = events.PING

    def write(self, batch: Batch) -> bytes:
        return batch.sse


class NdJson:
    """A line for each write, with the text so far; the last line also says how it ended, and what the answer is."""

    content_type = "application/x-ndjson"
    opening = b""
    ping = b"\n"

    def __init__(self) -> None:
        # The text so far, as it stands between the quotes of a JSON string: escaped once, copied ever after.
        self._text = bytearray()
        self._end: dict[str, Any] = {"sql": None, "rows": None}

    def write(self, batch: Batch) -> bytes:
        grown = False
        for name, data in batch.events:
            if name == "message":
                self._text += _encode(data["text"])[1:-1]
                grown = True
            elif name == "start":
                self._end["id"] = data["id"]
            elif name in ("sql", "rows"):
                self._end[name] = data
            elif name == "done":
                end = {"done": True} | self._end
                end |= {"finish_reason": data["finish_reason"], "usage": data["usage"]}
                return self._line(b"," + _encode(end)[1:-1])
            elif name == "failed":
                return self._line(b',"error":' + _encode(data))
        return self._line(b"") if grown else b""

    def _line(self, rest: bytes) -> bytes:
        return b'{"content":"%b"%b}\n' % (bytes(self._text), rest)


class Text:
    """The reply's text, and a last line where it is not complete; there is no room for heartbeats in it."""

    content_type = "text/plain; charset=utf-8"
    opening = b""
    ping = b""

    def __init__(self) -> None:
        self._last = "\n"

    def write(self, batch: Batch) -> bytes:
        pieces = []
        for name, data in batch.events:
            if name == "message" and data["text"]:
                pieces.append(data["text"])
                self._last = data["text"][-1]
            elif name == "failed":
                pieces.append(self._line(f"[failed: {data['code']}] {data['message']}"))
            elif name == "done" and data["finish_reason"] == "cancelled":
                pieces.append(self._line("[cancelled]"))
        return "".join(pieces).encode()

    def _line(self, told: str) -> str:
        return ("" if self._last == "\n" else "\n") + told + "\n"


STREAMED: dict[str, Callable[[], Writing]] = {
    "text/event-stream": Sse,
    "application/x-ndjson": NdJson,
    "text/plain": Text,
}
WHOLE = "application/json"
CSV = "text/csv"
# The values of `format=`.
NAMES = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "text": "text/plain", "json": WHOLE, "csv": CSV}


def chosen(accept: MIMEAccept, asked: str | None) -> str:
    """The media type of the reply: what `format=` says, else what `Accept` likes best. Raises Failure (400, 406)."""
    if asked is not None:
        if asked not in NAMES:
            raise Failure("bad_request", f"format: it is one of {', '.join(NAMES)}", param="format")
        return NAMES[asked]
    if not accept:
        return NAMES["sse"]
    # Of equally good ones the first offered wins: server-sent events for */*.
    best = accept.best_match(list(NAMES.values()))
    if best is None:
        raise Failure("bad_request", f"Accept: there are {', '.join(NAMES.values())}", status=406)
    return best


def whole(found: list[Event]) -> dict[str, Any]:
    """An answer as one object, from its events so far; `error` is there if it failed."""
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
        if name == "message":
            text.append(data["text"])
        elif name == "reasoning":
            reasoning.append(data["text"])
        elif name == "start":
            reply |= {name: data[name] for name in ("id", "provider", "model")}
        elif name in ("sql", "rows"):
            reply[name] = data
        elif name == "done":
            reply |= data
        elif name == "failed":
            reply["error"] = data
    reply["answer"], reply["reasoning"] = "".join(text), "".join(reasoning)
    return reply
