"""Events → the AI SDK's UI message stream, which useChat of React, Vue and Svelte reads.

    data: {"type":"start","messageId":"…"}
    data: {"type":"text-start","id":"1"}
    data: {"type":"text-delta","id":"1","delta":"你好"}
    data: {"type":"text-end","id":"1"}
    data: {"type":"data-rows","data":{"columns":…,"rows":…}}
    data: {"type":"finish","messageMetadata":{"finishReason":"stop","usage":{…}}}
    data: [DONE]

source   the AI SDK's uiMessageChunkSchema. It is strict: a member that it does not know ends the stream for its reader,
         so what is ours alone stands in messageMetadata and in data parts
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.answers.events import Batch
from gateway.answers.steps import EventName
from gateway.json_line import encode

HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
DONE = b"data: [DONE]\n\n"
# Channel of a text event → the beginning of its parts' names.
_CHANNELS = {EventName.MESSAGE: "text", EventName.REASONING: "reasoning"}


class UiMessages:
    """The stream of one answer for one reader."""

    content_type = "text/event-stream; charset=utf-8"
    opening = b""
    ping = b": ping\n\n"

    def __init__(self) -> None:
        # The part that is open: its channel, "" without one; parts are numbered from 1.
        self._channel = ""
        self._part = 0
        # Tool calls by index: id, name, arguments so far.
        self._calls: dict[int, list[str]] = {}

    def write(self, batch: Batch) -> bytes:
        chunks: list[Any] = []
        ended = False
        for name, data in batch.events:
            ended = self._chunks(name, data, chunks) or ended
        return b"".join([b"data: %b\n\n" % encode(chunk) for chunk in chunks]) + (DONE if ended else b"")

    def _chunks(self, name: str, data: dict[str, Any], chunks: list[Any]) -> bool:
        """Append the chunks of one event; returns whether it is the last event."""
        if channel := _CHANNELS.get(name):  # type: ignore[call-overload]
            self._text(channel, data["text"], chunks)
            return False
        if name == EventName.TOOL_CALLS:
            self._close(chunks)
            for piece in data["tool_calls"]:
                self._tool(piece, chunks)
            return False
        if name == EventName.START:
            about = {"answerId": data["id"], "provider": data["provider"], "model": data["model"]}
            chunks += [{"type": "start", "messageId": data["id"], "messageMetadata": about}, {"type": "start-step"}]
        elif name in (EventName.SQL, EventName.ROWS):
            self._close(chunks)
            chunks.append({"type": f"data-{name}", "data": data})
        elif name == EventName.DONE:
            self._close(chunks)
            self._end(data, chunks)
            return True
        elif name == EventName.FAILED:
            self._close(chunks)
            chunks.append({"type": "error", "errorText": f"{data['message']} ({data['code']})"})
            return True
        return False

    def _text(self, channel: str, text: str, chunks: list[Any]) -> None:
        if self._channel != channel:
            self._close(chunks)
            self._channel = channel
            self._part += 1
            chunks.append({"type": f"{channel}-start", "id": str(self._part)})
        chunks.append({"type": f"{channel}-delta", "id": str(self._part), "delta": text})

    def _close(self, chunks: list[Any]) -> None:
        if self._channel:
            chunks.append({"type": f"{self._channel}-end", "id": str(self._part)})
            self._channel = ""

    def _tool(self, piece: dict[str, Any], chunks: list[Any]) -> None:
        index = piece["index"]
        if index not in self._calls:
            self._calls[index] = call = [piece["id"] or f"call_{index}", piece["name"], ""]
            chunks.append({"type": "tool-input-start", "toolCallId": call[0], "toolName": call[1]})
        call = self._calls[index]
        call[2] += piece["arguments"]
        if piece["arguments"]:
            chunks.append({"type": "tool-input-delta", "toolCallId": call[0], "inputTextDelta": piece["arguments"]})

    def _end(self, done: dict[str, Any], chunks: list[Any]) -> None:
        if done["finish_reason"] == "cancelled":
            chunks.append({"type": "abort"})
            return
        for call_id, name, arguments in self._calls.values():
            call = {"toolCallId": call_id, "toolName": name}
            try:
                arrived = msgspec.json.decode(arguments or "{}")
            except msgspec.DecodeError:
                error = "the model's arguments are no JSON"
                chunks.append({"type": "tool-input-error", **call, "input": arguments, "errorText": error})
            else:
                chunks.append({"type": "tool-input-available", **call, "input": arrived})
        about = {"finishReason": done["finish_reason"], "usage": done["usage"]}
        chunks += [{"type": "finish-step"}, {"type": "finish", "messageMetadata": about}]
