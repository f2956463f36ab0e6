"""The chunks of OpenAI's wire, as its many speakers send them, made into deltas.

What is not understood beside the text (usage, details, odd choices) costs itself, never the answer.

source   OpenAI's API reference and vLLM's server; public reports of Together, MiniMax, Kimi, Gemini, TGI, SGLang, Spark
         and OpenRouter; recorded streams in tests/cases/openai/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import msgspec

from providers.delta import Delta, Usage
from providers.errors import UpstreamFailed
from providers.stream.sse import Frame
from providers.wires.content import by_index, count, read_content, read_tool_calls
from providers.wires.finish_reasons import finish_reason
from providers.wires.openai_errors import chunk_failure

MAX_ENVELOPES = 3
_OF_A_CHOICE = ("delta", "message", "text", "finish_reason")
# Members of a delta that are part of the reply, and neither text nor calls.
EXTRAS = ("images", "annotations", "audio", "citations", "search_results")


class Parser:
    """Reads the chunks of one reply. A server that sends several choices is read as the first of them."""

    done_marker = True
    ends_at_finish = False
    has_template = True

    def __init__(self) -> None:
        self.deltas_before = 0
        self._index: int | None = None  # of our choice
        self._counts = False  # `index` numbers the tokens
        self._second: list[Delta] = []  # with index 1 behind one chunk with index 0: a token, or another choice

    def parse_fast(self, frame: Frame) -> Delta | None:
        return parse_fast(frame)

    def parse(self, chunk: dict[str, Any], frame: Frame) -> Iterator[Delta]:
        """What one chunk says, or a whole reply (`message` in place of `delta`); raises what it reports."""
        chunk = unwrapped(chunk)
        usage = read_usage(chunk)
        for choice in our_choices(chunk):
            delta = read_choice(choice)
            if delta.finish_reason == "failed":
                yield Delta(delta.text, delta.reasoning, delta.tool_calls, whole=delta.whole)
                word = choice.get("finish_reason")
                raise chunk_failure(chunk) or UpstreamFailed(f"the upstream ended with {str(word)[:64]!r}")
            yield from self._of_our_choice(choice.get("index"), delta)
        if failure := chunk_failure(chunk, is_error=frame.event == "error"):
            raise failure
        if usage:
            yield Delta(usage=usage)

    def end(self) -> list[Delta]:
        """What was held back because it might have been another choice's."""
        held, self._second = self._second, []
        return held

    def _of_our_choice(self, index: Any, delta: Delta) -> list[Delta]:
        """The deltas that are this reply's, by the index of their choice."""
        number = count(int(index) if isinstance(index, str) and index.isdecimal() else index)
        if number is None:
            return [delta]
        if self._index is None:
            self._index = 0 if self.deltas_before else number
            if number == self._index:
                return [delta]
        if self._second:
            held, self._second = self._second, []
            if number == 2:
                self._counts, self._index = True, 2
                return [*held, delta]
            # It was another choice.
            return [delta] if number == self._index else []
        if number == self._index and not self._counts:
            return [delta]
        if number == self._index + 1 and (self._counts or self._index > 0):
            self._counts, self._index = True, number
            return [delta]
        if number == 1 and self.deltas_before == 1 and not self._counts:
            self._second = [delta]
        return []


def unwrapped(chunk: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """The chunk inside {"code": 0, "data": {…}} or other envelopes, also as a JSON string; or the chunk itself."""
    if "choices" in chunk or depth > MAX_ENVELOPES:
        return chunk
    for name in ("data", "result", "response"):
        inner = chunk.get(name)
        if isinstance(inner, str) and inner.startswith("{"):
            try:
                inner = msgspec.json.decode(inner)
            except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                continue
        if isinstance(inner, dict):
            inner = unwrapped(inner, depth + 1)
            if "choices" in inner or "error" in inner:
                return inner
    return chunk


def our_choices(chunk: dict[str, Any]) -> list[dict[str, Any]]:
    """The one choice of a chunk that may be this reply's, as a list that is empty without it."""
    choices = chunk.get("choices")
    if isinstance(choices, dict):
        choices = by_index(choices, _OF_A_CHOICE)
    elif "choices" not in chunk and any(_is_part(chunk.get(name)) for name in ("delta", "message")):
        choices = [chunk]  # without the list around it
    objects = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    if len(objects) > 1:
        first = [choice for choice in objects if choice.get("index") in (0, None, "0")]
        return (first or objects)[:1]
    return objects


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and ("content" in value or "role" in value or "tool_calls" in value)


def read_choice(choice: dict[str, Any]) -> Delta:
    """One choice of a chunk; its finish_reason in our words, or "failed"."""
    delta, message = _part(choice.get("delta")), _part(choice.get("message"))
    part, whole = (message, True) if message and not _says_something(delta) else (delta, False)
    text, thought = read_content(part.get("content"))
    thought += _thought(part)
    if isinstance(part.get("refusal"), str):
        text += part["refusal"]
    calls = read_tool_calls(part)
    if not text and not thought and not message and not calls:
        # Together sends each token in `text` too: it counts only where there is nothing else.
        text = next((said for place in (part, choice) if (said := read_content(place.get("text"))[0])), "")
    word = choice.get("finish_reason") if "finish_reason" in choice else choice.get("done_reason")
    reason, raw = finish_reason(word)
    extras = {name: part[name] for name in EXTRAS if part.get(name) and isinstance(part[name], (list, dict))}
    return Delta(
        text,
        thought,
        calls,
        reason,
        logprobs=_logprobs(choice),
        finish_reason_raw=raw,
        extras=extras or None,
        whole=whole,
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _part(value: Any) -> dict[str, Any]:
    """A delta or a message; some send its content in its place."""
    if isinstance(value, str) or (isinstance(value, list) and value):
        return {"content": value}
    return _object(value)


def _says_something(part: dict[str, Any]) -> bool:
    return any(part.get(name) for name in ("content", "reasoning", "reasoning_content", "tool_calls", "refusal"))


def _thought(part: dict[str, Any]) -> str:
    """The thinking of a delta: the new name and the old one; some send both with the same text."""
    for name in ("reasoning", "reasoning_content", "thinking", "reasoning_text", "reasoning_details"):
        value = part.get(name)
        if isinstance(value, (str, dict, list)) and (thought := "".join(read_content(_summed(value)))):
            return thought
    return ""


def _summed(value: Any) -> Any:
    """OpenRouter's details say `summary` where others say `text`."""
    if isinstance(value, list):
        return [_summed(one) for one in value]
    return {"text": value["summary"]} if isinstance(value, dict) and "summary" in value else value


def _logprobs(choice: dict[str, Any]) -> list[dict[str, Any]] | None:
    entries = _object(choice.get("logprobs")).get("content")
    return [entry for entry in entries if isinstance(entry, dict)] or None if isinstance(entries, list) else None


def read_usage(chunk: dict[str, Any]) -> Usage | None:
    """The totals of a chunk, wherever it has them: at the top, in a choice (Kimi), in `x_groq`."""
    choices = our_choices(chunk)
    deltas = [_object(choice.get("delta")) for choice in choices]
    places = [place["usage"] for place in (chunk, _object(chunk.get("x_groq")), *choices, *deltas) if "usage" in place]
    totals = (_totals(usage) for place in places for usage in (place if isinstance(place, list) else [place]))
    return next((usage for usage in totals if usage), None)


def _totals(usage: Any) -> Usage | None:
    """The totals where at least two of the three are there; None otherwise, for a number is never made up."""
    if not isinstance(usage, dict):
        return None
    prompt, completion, total = (count(usage.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    prompt = count(usage.get("input_tokens")) if prompt is None else prompt
    completion = count(usage.get("output_tokens")) if completion is None else completion
    if prompt is None and completion is not None and total is not None:
        prompt = total - completion
    if completion is None and prompt is not None and total is not None:
        completion = total - prompt
    if prompt is None or completion is None or prompt < 0 or completion < 0:
        return None
    cached = count(_object(usage.get("prompt_tokens_details")).get("cached_tokens"))
    thought = count(_object(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    return Usage(prompt, completion, prompt + completion if total is None else total, cached, thought)


# The usual frame, decoded by its type: 0.7 µs instead of 4 (python -m benchmarks.normaliser). It names every member
# that could change the meaning: a chunk with more to say does not fit and goes through `parse`, which is its judge.


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: None = None
    completion_tokens_details: None = None


class _Part(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    reasoning_details: None = None
    thinking: None = None
    reasoning_text: None = None
    text: None = None
    images: None = None
    annotations: None = None
    audio: None = None
    citations: None = None
    search_results: None = None


class FastChoice(msgspec.Struct, gc=False):
    delta: _Part
    index: Literal[0] = 0
    finish_reason: None = None
    logprobs: None = None
    message: None = None
    text: None = None
    error: None = None


class FastChunk(msgspec.Struct, gc=False):
    choices: tuple[FastChoice]
    usage: _Usage | None = None
    error: None = None
    errors: None = None
    base_resp: None = None


_decode = msgspec.json.Decoder(FastChunk).decode


def parse_fast(frame: Frame, decode: Callable[[bytes], FastChunk] = _decode) -> Delta | None:
    """The delta of a chunk with one choice and text in it; None for any other. decode: by a wire's own type of it."""
    if frame.event:
        return None
    try:
        chunk = decode(frame.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    part = chunk.choices[0].delta
    delta = Delta(part.content or "", part.reasoning or part.reasoning_content or "")
    if usage := chunk.usage:
        delta.usage = Usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
    return delta
