"""Events → OpenAI's forms: chunks of a stream, and the whole completion.

    data: {"id":"chatcmpl-…",…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,…}]}
    data: {…,"choices":[{"index":0,"delta":{"content":"你好"},"logprobs":null,"finish_reason":null}]}
    data: {…,"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}
    data: {…,"choices":[],"usage":{…}}
    data: [DONE]

source   OpenAI's API reference; what its official Python client cannot read (`id:` lines before a comment, comments
         with a blank line, events without JSON) is never sent
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway import errors
from gateway.answers.events import Batch, Event

_encode = msgspec.json.Encoder().encode
DONE = b"data: [DONE]\n\n"


class Chunks:
    """A stream of chunks for one reader."""

    content_type = "text/event-stream; charset=utf-8"
    opening = b""
    # One comment line without a blank line: the official client would take a blank line for an event.
    ping = b": ping\n"

    def __init__(self, with_usage: bool) -> None:
        self._with_usage = with_usage
        self._head = b""
        self._model = ""
        self._called: set[int] = set()

    def write(self, batch: Batch) -> bytes:
        return b"".join([self._chunk(event) for event in batch.events])

    def _chunk(self, event: Event) -> bytes:
        name, data = event
        if name == "message":
            delta: dict[str, Any] = {"content": data["text"]}
            if "logprobs" in data:
                return self._choice(delta, logprobs={"content": data["logprobs"], "refusal": None})
            # The hot path, with what never changes written once.
            return b'%b[{"index":0,"delta":{"content":%b},"logprobs":null,"finish_reason":null}]}\n\n' % (
                self._head,
                _encode(data["text"]),
            )
        if name == "start":
            about = {
                "id": f"chatcmpl-{data['id']}",
                "object": "chat.completion.chunk",
                "created": data["created"],
                "model": data["provider"],
            }
            self._head = b"data: " + _encode(about)[:-1] + b',"choices":'
            return self._choice({"role": "assistant", "content": ""})
        if name == "reasoning":
            return self._choice({"reasoning_content": data["text"]})
        if name == "tool_calls":
            return self._choice({"tool_calls": [self._piece(piece) for piece in data["tool_calls"]]})
        if name == "done":
            last = self._choice({}, finish_reason=_reason(data))
            if self._with_usage:
                last += b'%b[],"usage":%b}\n\n' % (self._head, _encode(usage(data["usage"])))
            return last + DONE
        if name == "failed":
            return b"data: " + _encode({"error": errors.openai(errors.from_event(data))}) + b"\n\n" + DONE
        return b""

    def _choice(
        self, delta: dict[str, Any], finish_reason: str | None = None, logprobs: dict[str, Any] | None = None
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return b"%b[%b]}\n\n" % (self._head, _encode(choice))

    def _piece(self, piece: dict[str, Any]) -> dict[str, Any]:
        """A piece of a tool call; what names the call comes with its first piece only."""
        index, function = piece["index"], {"arguments": piece["arguments"]}
        if index in self._called:
            return {"index": index, "function": function}
        self._called.add(index)
        return {
            "index": index,
            "id": piece["id"],
            "type": "function",
            "function": {"name": piece["name"]} | function,
        }


def _reason(done: dict[str, Any]) -> str:
    """Why it ended, in OpenAI's words: they have none for an answer that was stopped, and typed clients know no other.

    It was cut short, as one of `length` is; never is it complete.
    """
    reason: str = done["finish_reason"]
    return "length" if reason == "cancelled" else reason


def usage(told: dict[str, int] | None) -> dict[str, Any] | None:
    """Our usage as OpenAI nests it."""
    if told is None:
        return None
    nested: dict[str, Any] = {name: told[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    if "cached_tokens" in told:
        nested["prompt_tokens_details"] = {"cached_tokens": told["cached_tokens"]}
    if "reasoning_tokens" in told:
        nested["completion_tokens_details"] = {"reasoning_tokens": told["reasoning_tokens"]}
    return nested


def completion(found: list[Event]) -> dict[str, Any]:
    """The whole completion, from the events of an answer that is done."""
    about: dict[str, Any] = {}
    text, reasoning, logprobs = [], [], []
    calls: dict[int, dict[str, Any]] = {}
    end: dict[str, Any] = {}
    for name, data in found:
        if name == "message":
            text.append(data["text"])
            logprobs += data.get("logprobs", ())
        elif name == "reasoning":
            reasoning.append(data["text"])
        elif name == "tool_calls":
            for piece in data["tool_calls"]:
                _grow(calls, piece)
        elif name == "start":
            about = data
        elif name == "done":
            end = data
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text)}
    if reasoning:
        message["reasoning_content"] = "".join(reasoning)
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
        message["content"] = message["content"] or None
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": logprobs, "refusal": None} if logprobs else None,
        "finish_reason": _reason(end),
    }
    return {
        "id": f"chatcmpl-{about['id']}",
        "object": "chat.completion",
        "created": about["created"],
        "model": about["provider"],
        "choices": [choice],
        "usage": usage(end["usage"]),
    }


def _grow(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    call = calls.setdefault(piece["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call["id"] = call["id"] or piece["id"]
    call["function"]["name"] = call["function"]["name"] or piece["name"]
    call["function"]["arguments"] += piece["arguments"]
