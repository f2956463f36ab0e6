"""Events → OpenAI's chat completions: chunks of a stream, and the whole completion.

    data: {"id":"chatcmpl-…",…,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,…}]}
    data: {…,"choices":[{"index":0,"delta":{"content":"你好"},"logprobs":null,"finish_reason":null}]}
    data: {…,"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}
    data: {…,"choices":[],"usage":{…}}
    data: [DONE]

source   OpenAI's API reference. `id:`, `event:` and `retry:` lines are never sent: some clients of this API split
         blocks on blank lines and take every other line for data
"""

from __future__ import annotations

from typing import Any

from gateway import errors
from gateway.answers.events import Batch, Event
from gateway.answers.steps import EventName
from gateway.formats import markdown
from gateway.json_line import encode

DONE = b"data: [DONE]\n\n"
_AFTER_TEXT = b'},"logprobs":null,"finish_reason":null}]}\n\n'


class Chunks:
    """A stream of chunks for one reader; with `tables` the rows of text to SQL are a Markdown table in the text."""

    content_type = "text/event-stream; charset=utf-8"
    opening = b""
    # A block of its own: readers that split on blank lines and skip blocks that begin with ":" (Dify's) would lose the
    # chunk behind a comment without one. OpenAI's official clients skip an empty block.
    ping = b": ping\n\n"

    def __init__(self, with_usage: bool, *, model: str = "", tables: bool = False) -> None:
        self._with_usage = with_usage
        self._tables = tables
        self._head = self._before_text = b""
        # What chunks call the model: the client's name for it, or the provider that answers.
        self._model = model
        self._called: set[int] = set()

    def write(self, batch: Batch) -> bytes:
        if batch.text is not None:
            # The hot path: what never changes was written once per answer, and the text comes encoded. Added up and
            # not formatted: 0.10 µs instead of 0.21.
            return self._before_text + batch.text + _AFTER_TEXT
        return b"".join([self._chunk(event) for event in batch.events])

    def _text(self, encoded: bytes) -> bytes:
        return self._before_text + encoded + _AFTER_TEXT

    def _chunk(self, event: Event) -> bytes:
        name, data = event
        if name == EventName.MESSAGE:
            delta: dict[str, Any] = {"content": data["text"]}
            if "logprobs" in data:
                return self._choice(delta, logprobs={"content": data["logprobs"], "refusal": None})
            return self._text(encode(data["text"]))
        if name == EventName.START:
            about = {
                "id": f"chatcmpl-{data['id']}",
                "object": "chat.completion.chunk",
                "created": data["created"],
                "model": self._model or data["provider"],
            }
            self._head = b"data: " + encode(about)[:-1] + b',"choices":'
            self._before_text = self._head + b'[{"index":0,"delta":{"content":'
            return self._choice({"role": "assistant", "content": ""})
        if name == EventName.REASONING:
            return self._choice({"reasoning_content": data["text"]})
        if name == EventName.TOOL_CALLS:
            return self._choice({"tool_calls": [self._piece(piece) for piece in data["tool_calls"]]})
        if name == EventName.EXTRAS:
            return self._choice(data)
        if name == EventName.DONE:
            last = self._choice({}, **_ending(data))
            if self._with_usage:
                last += b'%b[],"usage":%b}\n\n' % (self._head, encode(usage(data["usage"])))
            return last + DONE
        if self._tables and (text := markdown.text_of(name, data)):
            return self._choice({"content": text})
        if name == EventName.FAILED:
            return b"data: " + encode({"error": errors.openai(errors.from_event(data))}) + b"\n\n" + DONE
        return b""

    def _choice(
        self,
        delta: dict[str, Any],
        finish_reason: str | None = None,
        logprobs: dict[str, Any] | None = None,
        **more: Any,
    ) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason} | more
        return b"%b[%b]}\n\n" % (self._head, encode(choice))

    def _piece(self, piece: dict[str, Any]) -> dict[str, Any]:
        """A piece of a tool call; the id comes with its first piece, more of the name where the upstream cut it."""
        index, function = piece["index"], {"arguments": piece["arguments"]}
        extra = {"extra_content": piece["extra_content"]} if "extra_content" in piece else {}
        if index in self._called:
            more = {"name": piece["name"]} if piece["name"] else {}
            return {"index": index, "function": more | function} | extra
        self._called.add(index)
        return {
            "index": index,
            "id": piece["id"],
            "type": "function",
            "function": {"name": piece["name"]} | function,
        } | extra


def _reason(done: dict[str, Any]) -> str:
    """The finish reason in OpenAI's words. They have none for a stopped answer, and typed clients accept no other word:
    it becomes `length`, which also says that the text is not complete.
    """
    reason: str = done["finish_reason"]
    return "length" if reason == "cancelled" else reason


def _ending(done: dict[str, Any]) -> dict[str, Any]:
    """The members of a choice that say how it ended; the upstream's own word too, where it is not one that we know."""
    raw = done.get("finish_reason_raw")
    return {"finish_reason": _reason(done)} | ({"finish_reason_raw": raw} if raw is not None else {})


def usage(counted: dict[str, int] | None) -> dict[str, Any] | None:
    """Our usage as OpenAI nests it."""
    if counted is None:
        return None
    nested: dict[str, Any] = {name: counted[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    if "cached_tokens" in counted:
        nested["prompt_tokens_details"] = {"cached_tokens": counted["cached_tokens"]}
    if "reasoning_tokens" in counted:
        nested["completion_tokens_details"] = {"reasoning_tokens": counted["reasoning_tokens"]}
    return nested


class TextChunks:
    """The stream of POST /v1/completions for one reader: text without roles; see Chunks for `model` and `tables`."""

    content_type = "text/event-stream; charset=utf-8"
    opening = b""
    ping = Chunks.ping

    def __init__(self, with_usage: bool, *, model: str = "", tables: bool = False) -> None:
        self._with_usage = with_usage
        self._model = model
        self._tables = tables
        self._about: dict[str, Any] = {}

    def write(self, batch: Batch) -> bytes:
        return b"".join([self._chunk(event) for event in batch.events])

    def _chunk(self, event: Event) -> bytes:
        name, data = event
        if name == EventName.START:
            self._about = _text_about(data, self._model)
        elif name == EventName.MESSAGE:
            return self._written([_text_choice(data["text"])])
        elif self._tables and (text := markdown.text_of(name, data)):
            return self._written([_text_choice(text)])
        elif name == EventName.DONE:
            last = self._written([_text_choice("", _reason(data))])
            if self._with_usage:
                last += self._written([], usage=usage(data["usage"]))
            return last + DONE
        elif name == EventName.FAILED:
            return b"data: " + encode({"error": errors.openai(errors.from_event(data))}) + b"\n\n" + DONE
        return b""

    def _written(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + encode(self._about | {"choices": choices} | more) + b"\n\n"


def _text_about(start: dict[str, Any], model: str) -> dict[str, Any]:
    return {
        "id": f"cmpl-{start['id']}",
        "object": "text_completion",
        "created": start["created"],
        "model": model or start["provider"],
    }


def _text_choice(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}


def _own_text(name: str, data: dict[str, Any]) -> str:
    text: str = data["text"] if name == EventName.MESSAGE else ""
    return text


def text_completion(found: list[Event], *, model: str = "", tables: bool = False) -> dict[str, Any]:
    """The whole reply of POST /v1/completions, from the events of an answer that is done; see Chunks for the others."""
    text = "".join(markdown.text_of(*event) if tables else _own_text(*event) for event in found)
    start, end = found[0].data, found[-1].data
    return _text_about(start, model) | {"choices": [_text_choice(text, _reason(end))], "usage": usage(end["usage"])}


def completion(found: list[Event], *, model: str = "", tables: bool = False) -> dict[str, Any]:
    """The whole completion, from the events of an answer that is done; see Chunks for `model` and `tables`."""
    about: dict[str, Any] = {}
    text, reasoning, logprobs = [], [], []
    calls: dict[int, dict[str, Any]] = {}
    extras: dict[str, Any] = {}
    end: dict[str, Any] = {}
    for name, data in found:
        if name == EventName.MESSAGE:
            text.append(data["text"])
            logprobs += data.get("logprobs", ())
        elif tables and (shown := markdown.text_of(name, data)):
            text.append(shown)
        elif name == EventName.REASONING:
            reasoning.append(data["text"])
        elif name == EventName.TOOL_CALLS:
            for piece in data["tool_calls"]:
                _grow(calls, piece)
        elif name == EventName.EXTRAS:
            _gather(extras, data)
        elif name == EventName.START:
            about = data
        elif name == EventName.DONE:
            end = data
    message: dict[str, Any] = {"role": "assistant", "content": "".join(text)} | extras
    if reasoning:
        message["reasoning_content"] = "".join(reasoning)
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
        message["content"] = message["content"] or None
    choice = {
        "index": 0,
        "message": message,
        "logprobs": {"content": logprobs, "refusal": None} if logprobs else None,
        **_ending(end),
    }
    return {
        "id": f"chatcmpl-{about['id']}",
        "object": "chat.completion",
        "created": about["created"],
        "model": model or about["provider"],
        "choices": [choice],
        "usage": usage(end["usage"]),
    }


def _grow(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    call = calls.setdefault(piece["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
    call["id"] = call["id"] or piece["id"]
    call["function"]["name"] += piece["name"]
    if "extra_content" in piece:
        call["extra_content"] = call.get("extra_content", {}) | piece["extra_content"]
    call["function"]["arguments"] += piece["arguments"]


def _gather(extras: dict[str, Any], members: dict[str, Any]) -> None:
    """Lists of the reply's other members go on from chunk to chunk; of anything else the last one counts."""
    for name, value in members.items():
        before = extras.get(name)
        extras[name] = before + value if isinstance(before, list) and isinstance(value, list) else value
