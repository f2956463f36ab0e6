"""Events → OpenAI's Responses API: its stream of events, and the response as one object.

    event: response.output_text.delta
    data: {"type":"response.output_text.delta","sequence_number":4,"item_id":"msg_…","output_index":0,…,"delta":"你好"}

Everything is made from the events of our log and from what the request said, so any worker writes the same events with
the same numbers, and a reader goes on after any of them. An event of the log becomes the same events however the log
was cut into batches.

source   OpenAI's API reference; its official clients for Python and Node.js are the judges (tests/clients/)
"""

from __future__ import annotations

from typing import Any

from gateway.answers.events import Batch, Event
from gateway.answers.steps import EventName
from gateway.formats import markdown
from gateway.json_line import encode

# Our finish reason → status and incomplete_details.
ENDS: dict[str, tuple[str, str | None]] = {
    "length": ("incomplete", "max_output_tokens"),
    "content_filter": ("incomplete", "content_filter"),
    "cancelled": ("cancelled", None),
}


class ResponseBuilder:
    """One response as it grows; `feed` returns the events that an event of the log becomes.

    about    the response's members that the request decides
    tables   whether rows of text to SQL become a Markdown table
    """

    def __init__(self, answer_id: str, about: dict[str, Any], *, tables: bool = False) -> None:
        self._id = answer_id
        self._tables = tables
        self._number = 0
        # The output item that is open: "", "message", "reasoning" or "function_call".
        self._open = ""
        # The index of the open tool call, as the model counts them.
        self._call = -1
        self.response = {
            "id": f"resp_{answer_id}",
            "object": "response",
            **about,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }

    @property
    def _output(self) -> list[dict[str, Any]]:
        output: list[dict[str, Any]] = self.response["output"]
        return output

    def feed(self, event: Event) -> list[dict[str, Any]]:
        """The events that this one becomes, numbered."""
        name, data = event
        events: list[dict[str, Any]] = []
        if name == EventName.START:
            events += [self._event("response.created"), self._event("response.in_progress")]
        elif name == EventName.REASONING:
            self._reasoning(data["text"], events)
        elif name == EventName.TOOL_CALLS:
            for piece in data["tool_calls"]:
                self._tool(piece, events)
        elif name == EventName.DONE:
            self._done(data, events)
        elif name == EventName.FAILED:
            self._failed(data, events)
        elif text := markdown.text_of(name, data) if self._tables or name == EventName.MESSAGE else "":
            self._text(text, events)
        return events

    def _event(self, kind: str, **members: Any) -> dict[str, Any]:
        if not members:
            # A copy: the response goes on growing.
            members = {"response": self.response | {"output": list(self._output)}}
        event = {"type": kind, "sequence_number": self._number, **members}
        self._number += 1
        return event

    def _at(self) -> dict[str, Any]:
        return {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1}

    def _begin(self, kind: str, prefix: str, **members: Any) -> dict[str, Any]:
        item = {"id": f"{prefix}_{self._id}_{len(self._output)}", "type": kind, "status": "in_progress", **members}
        self._output.append(item)
        self._open = kind
        index = len(self._output) - 1
        return self._event("response.output_item.added", output_index=index, item=item | _emptied(item))

    def _text(self, text: str, found: list[dict[str, Any]]) -> None:
        if self._open != "message":
            self._close(found)
            found.append(self._begin("message", "msg", role="assistant", content=[]))
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            self._output[-1]["content"].append(part)
            found.append(self._event("response.content_part.added", **self._at(), content_index=0, part=dict(part)))
        self._output[-1]["content"][0]["text"] += text
        found.append(self._event("response.output_text.delta", **self._at(), content_index=0, delta=text, logprobs=[]))

    def _reasoning(self, text: str, found: list[dict[str, Any]]) -> None:
        if self._open != "reasoning":
            self._close(found)
            found.append(self._begin("reasoning", "rs", summary=[]))
            part = {"type": "summary_text", "text": ""}
            self._output[-1]["summary"].append(part)
            kind = "response.reasoning_summary_part.added"
            found.append(self._event(kind, **self._at(), summary_index=0, part=dict(part)))
        self._output[-1]["summary"][0]["text"] += text
        kind = "response.reasoning_summary_text.delta"
        found.append(self._event(kind, **self._at(), summary_index=0, delta=text))

    def _tool(self, piece: dict[str, Any], found: list[dict[str, Any]]) -> None:
        if self._open != "function_call" or self._call != piece["index"]:
            self._close(found)
            self._call = piece["index"]
            call_id = piece["id"] or f"call_{self._id}_{piece['index']}"
            found.append(self._begin("function_call", "fc", call_id=call_id, name=piece["name"], arguments=""))
        if piece["arguments"]:
            self._output[-1]["arguments"] += piece["arguments"]
            kind = "response.function_call_arguments.delta"
            found.append(self._event(kind, **self._at(), delta=piece["arguments"]))

    def _close(self, found: list[dict[str, Any]]) -> None:
        if not self._open:
            return
        item, at = self._output[-1], self._at()
        if self._open == "message":
            part = item["content"][0]
            kind = "response.output_text.done"
            found.append(self._event(kind, **at, content_index=0, text=part["text"], logprobs=[]))
            found.append(self._event("response.content_part.done", **at, content_index=0, part=dict(part)))
        elif self._open == "reasoning":
            part = item["summary"][0]
            kind = "response.reasoning_summary_text.done"
            found.append(self._event(kind, **at, summary_index=0, text=part["text"]))
            found.append(self._event("response.reasoning_summary_part.done", **at, summary_index=0, part=dict(part)))
        else:
            kind = "response.function_call_arguments.done"
            found.append(self._event(kind, **at, name=item["name"], arguments=item["arguments"]))
        item["status"] = "completed"
        found.append(self._event("response.output_item.done", output_index=at["output_index"], item=dict(item)))
        self._open = ""

    def _done(self, data: dict[str, Any], found: list[dict[str, Any]]) -> None:
        self._close(found)
        status, why = ENDS.get(data["finish_reason"], ("completed", None))
        self.response |= {"status": status, "usage": usage(data["usage"])}
        if why is not None:
            self.response["incomplete_details"] = {"reason": why}
        # OpenAI has no event for a response that was cancelled while it was read.
        found.append(self._event("response.completed" if status == "completed" else "response.incomplete"))

    def _failed(self, data: dict[str, Any], found: list[dict[str, Any]]) -> None:
        self._close(found)
        self.response |= {"status": "failed", "error": {"code": data["code"], "message": data["message"]}}
        found.append(self._event("response.failed"))


def _emptied(item: dict[str, Any]) -> dict[str, Any]:
    """What grows of an item, as it is when the item is added."""
    return {name: [] for name in ("content", "summary") if name in item}


def usage(counted: dict[str, int] | None) -> dict[str, Any] | None:
    """Our usage as this API names and nests it."""
    if counted is None:
        return None
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": counted.get("cached_tokens", 0)},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": counted.get("reasoning_tokens", 0)},
        "total_tokens": counted["total_tokens"],
    }


class ResponseEvents:
    """The stream for one reader: every event whose number is larger than `after`."""

    content_type = "text/event-stream; charset=utf-8"
    opening = b""
    ping = b": ping\n\n"

    def __init__(self, builder: ResponseBuilder, after: int = -1) -> None:
        self._builder = builder
        self._after = after

    def write(self, batch: Batch) -> bytes:
        events = [one for event in batch.events for one in self._builder.feed(event)]
        return b"".join(
            [
                b"event: %b\ndata: %b\n\n" % (one["type"].encode(), encode(one))
                for one in events
                if one["sequence_number"] > self._after
            ]
        )
