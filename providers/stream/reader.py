"""The body of one response, bytes in, batches of deltas out: frames, chunks and promises in one pure object.

A body is read as an event stream if it begins like one, whatever its label says; as JSON (a whole reply, or an error)
if it begins like JSON; as HTML never.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import msgspec

from providers.delta import Delta
from providers.errors import BrokenProtocol, CutOff, ProviderError, TooLarge, UpstreamFailed
from providers.stream.normaliser import Normaliser
from providers.stream.sse import BOM, Decoder, Frame
from providers.stream.template import Template, string

DONE = b"[DONE]"
# The words of services that leave the brackets out, and the names of events that say the same without data.
_DONE_WORDS = frozenset({b"DONE", b"<DONE>", b"[END]", b"[FINISHED]"})
_DONE_EVENTS = frozenset({"done", "end", "complete", "completed", "finish", "finished", "stop", "close"})
_RECORD = b"\x1e"  # before each text of application/json-seq (RFC 7464)
_BLANK = b" \t\r\n\f\v" + _RECORD
# Control characters may stand in strings as they are: some servers do not escape line ends.
_lenient = json.JSONDecoder(strict=False)
_BETWEEN = re.compile(r"(?:[\s,\x1e]|data:)*")
MAX_PINGS = 20
# Frames whose template is looked for in vain before the search is given up: in each something else changes too.
LESSONS = 3
# Deltas of a reply before the search begins: a shorter reply would pay for it and gain nothing.
LEARN_AFTER = 3
_LIKE_SSE = (b"data", b"event", b"id:", b"id\n", b"id\r", b"retry", b"error:", b":")


class ChunkParser(Protocol):
    """What an adapter knows about the chunks of its wire.

    deltas_before  how many deltas came before the chunk that is parsed now
    """

    deltas_before: int

    done_marker: bool
    """[DONE] ends the stream."""
    ends_at_finish: bool
    """Nothing follows the chunk that has the finish_reason."""
    has_template: bool
    """`parse_fast` looks at a frame's data alone and keeps nothing of it: frames of one template need no parsing."""

    def end(self) -> list[Delta]:
        """What it held back, when nothing more comes."""

    def parse_fast(self, frame: Frame) -> Delta | None:
        """The delta of the wire's usual frame, read fast; None where `parse` has to look at it."""

    def parse(self, chunk: dict[str, Any], frame: Frame) -> Iterable[Delta]:
        """What a chunk says; raises a ProviderError where it reports a failure."""


class ReplyReader:
    """One reply as it is read.

    `feed` and `end` return what came, and set `failure` instead of raising it: what came before it in the same read is
    still part of the reply. `ended` is True after the last delta was returned: nothing that follows matters.
    """

    def __init__(self, parser: ChunkParser, normaliser: Normaliser, *, label: str = "", max_event_bytes: int = 4 << 20):
        """label: the response's content type."""
        self.ended = False
        self.failure: ProviderError | None = None
        self.events = 0  # with data, so far; the idle deadline is between them
        self.answering = False  # some delta came that adds to the reply
        self._parser = parser
        self._deltas = 0  # that the parser gave so far
        self._normaliser = normaliser
        self._labelled_sse = "text/event-stream" in label
        self._max_bytes = max(max_event_bytes, normaliser.max_answer_bytes)
        self._decoder = Decoder(max_event_bytes)
        # Not bound: a reference to itself would leave each reply's memory to the garbage collector.
        self._form = ReplyReader._undecided
        self._first_line = 0  # where the JSON's first line ends: 0 = not yet known, -1 = the lines are one value
        self._kept = bytearray()
        self._pings = 0
        self._template: Template | None = None
        self._lessons = LESSONS if parser.has_template else 0

    def usual(self, data: bytes) -> str | None:
        """The text of one more frame that is equal to those before but for its text; None: `feed` has to read it.

        It takes the place of `feed`, whose batch would be this text alone, for a quarter of the instructions
        (`python -m benchmarks.gateway.instructions`, paced_chunk). Nothing is taken where None is returned.
        """
        template = self._template
        if template is None:
            return None
        inside = self._decoder.inside(data, template.before, template.after)
        if inside is None or self.ended:
            return None
        try:
            text = string(inside)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None  # half a character, or no JSON
        if not self._normaliser.push_text(text):
            return None
        self.events += 1
        self._deltas += 1
        self._pings = 0
        self._lessons = LESSONS
        self.answering = True
        return text

    def feed(self, data: bytes) -> list[Delta]:
        """The batch that these bytes bring; empty if they complete nothing."""
        return self._form(self, data)

    def end(self, *, cut: bool = False) -> list[Delta]:
        """The batch that the end of the body brings. cut: the framing says that the body was not complete."""
        out: list[Delta] = []
        if self.ended or self.failure:
            return out
        try:
            self._end(cut, out)
        except ProviderError as error:
            self._fail(error, out)
        return out

    def fail(self, error: ProviderError) -> list[Delta]:
        """The batch to hand out before `error`, which came from below, such as a deadline."""
        out: list[Delta] = []
        self._fail(error, out)
        return out

    @property
    def comments(self) -> int:
        """Comment lines so far: an upstream that sends one is still there."""
        return self._decoder.comments

    @property
    def finished(self) -> bool:
        """A finish_reason came behind some of the reply: whatever happens now, the reply is complete."""
        return self._normaliser.finished

    # -- how the body begins

    def _undecided(self, data: bytes) -> list[Delta]:
        self._kept += data
        begins = bytes(self._kept).removeprefix(BOM).lstrip(_BLANK)
        if not begins:
            # Blank lines keep some connections awake before the reply begins.
            self._kept = bytearray(BOM if self._kept.startswith(BOM) else b"")
            return []
        if len(begins) < 5 and any(like.startswith(begins) for like in (*_LIKE_SSE, BOM)):
            return []
        if begins.startswith(b"<"):
            self.failure = BrokenProtocol("the upstream answered with a page (HTML or XML), not with a reply")
            return []
        if begins.startswith((b"{", b"[", b'"')):
            self._form, self._kept = ReplyReader._json, bytearray()
            return self._json(begins)
        if not (self._labelled_sse or begins.startswith(_LIKE_SSE)):
            self.failure = BrokenProtocol("the upstream's reply is neither an event stream nor JSON")
            return []
        kept, self._kept = bytes(self._kept), bytearray()
        self._form = ReplyReader._events
        return self._events(kept)

    def _json(self, data: bytes) -> list[Delta]:
        """One JSON value, or JSON lines: a first line that is whole, and something behind it."""
        if self._first_line == 0 and (end := data.find(b"\n")) >= 0:
            self._first_line = len(self._kept) + end
        more = data[max(0, self._first_line - len(self._kept)) :] if self._first_line > 0 else b""
        self._kept += data
        if more.strip():
            first, self._first_line = bytes(self._kept[: self._first_line]), -1
            if isinstance(_decoded(first.strip().removeprefix(BOM)), dict):
                kept, self._kept = bytes(self._kept), bytearray()
                self._form = ReplyReader._json_lines
                return self._json_lines(kept.removeprefix(BOM))
        if len(self._kept) > self._max_bytes:
            self.failure = TooLarge(f"the upstream's reply is longer than {self._max_bytes} bytes")
        return []

    def _json_lines(self, data: bytes) -> list[Delta]:
        if b"\n" not in data:
            self._kept += data
            lines = []
        else:
            *lines, rest = (bytes(self._kept) + data).split(b"\n")
            self._kept = bytearray(rest)
        stripped = [line.strip(_BLANK) for line in lines]
        out = self._read([Frame(line) for line in stripped if line])
        if len(self._kept) > self._max_bytes and not self.ended and not self.failure:
            self._fail(TooLarge(f"the upstream's reply is longer than {self._max_bytes} bytes"), out)
        return out

    # -- an event stream

    def _events(self, data: bytes) -> list[Delta]:
        out = self._read(self._decoder.feed(data))
        if self._decoder.failed and not self.ended and not self.failure:
            self._fail(self._decoder.failed, out)
        return out

    def _read(self, frames: list[Frame]) -> list[Delta]:
        out: list[Delta] = []
        if frames:
            self.events += len(frames)
            try:
                self._frames(frames, out)
            except ProviderError as error:
                self._fail(error, out)
        return out

    def _frames(self, frames: list[Frame], out: list[Delta]) -> None:
        at = 0
        while at < len(frames) and not self.ended:
            if self._template is not None:
                at += self._leading(frames[at:] if at else frames, out)
            at = self._parse_from(at, frames, out)
        if self.ended:
            self._finish(out, said_done=True)

    def _parse_from(self, at: int, frames: list[Frame], out: list[Delta]) -> int:
        """Parse frame after frame until one ends the stream or has a new template; returns where to go on."""
        parse_fast, deltas = self._parser.parse_fast, []
        try:
            while at < len(frames):
                frame = frames[at]
                at += 1
                delta = parse_fast(frame)
                if delta is not None:
                    self._pings = 0
                    deltas.append(delta)
                    count = self._deltas + len(deltas)
                    if self._lessons and count > LEARN_AFTER and delta.text and self._learn(frame, delta):
                        break
                elif self._unusual(frame, deltas):
                    break
        finally:
            if deltas:
                self._push(deltas, out)
        return at

    def _leading(self, frames: list[Frame], out: list[Delta]) -> int:
        """Read the frames that the template fits, from the first one on; returns how many."""
        assert self._template is not None
        texts = self._template.leading(frames)
        if not texts or not self._normaliser.push_text("".join(texts)):
            return 0
        self._lessons = LESSONS
        self._pings = 0
        self._deltas += len(texts)
        self.answering = self._normaliser.begun
        out += [Delta(text) for text in texts if text]
        return len(texts)

    def _learn(self, frame: Frame, delta: Delta) -> bool:
        """Find the template of a frame that was parsed; the next one may differ from it in its text alone."""
        self._lessons -= 1
        if frame.event or delta.reasoning or delta.usage:
            return False
        self._template = Template.of(frame.data, delta.text, self._parser.parse_fast)
        return self._template is not None

    def _push(self, deltas: list[Delta], out: list[Delta]) -> None:
        self._deltas += len(deltas)
        self._normaliser.push(deltas, out)
        self.answering = self._normaliser.begun

    def _unusual(self, frame: Frame, deltas: list[Delta]) -> bool:
        """Read a frame that is not the usual one; True if it ends the stream."""
        for data in _parts(frame.data):
            data = _stripped(data)
            if _is_done(data, frame):
                if not self._parser.done_marker:
                    continue  # not this upstream's word: something in between added it
                self.ended = True
                return True
            chunk = _decoded(data)
            if isinstance(chunk, str) and chunk.startswith("{"):
                # A chunk that was made into a string once too often.
                chunk = _decoded(chunk.encode("utf-8", "replace"))
            if isinstance(chunk, (dict, list)):
                self._pings = 0
                if self._chunks(chunk if isinstance(chunk, list) else [chunk], frame, deltas):
                    return True
            elif frame.event == "error":
                self._report(chunk if isinstance(chunk, str) else data.decode("utf-8", "replace"), frame)
            elif data.startswith((b"{", b"[")) and chunk is None:
                raise BrokenProtocol("the upstream sent an event that is not whole JSON")
            elif data != b"null":
                self._pings += 1
                if self._pings >= MAX_PINGS:
                    raise BrokenProtocol(f"the upstream sent {MAX_PINGS} events in a row that are not JSON")
        return False

    def _chunks(self, chunks: list[Any], frame: Frame, deltas: list[Delta]) -> bool:
        """Parse the chunks of one event; True if they end the stream."""
        for chunk in chunks:
            if not isinstance(chunk, dict):
                continue
            self._parser.deltas_before = self._deltas + len(deltas)
            for delta in self._parsed(chunk, frame):
                deltas.append(delta)
                if delta.finish_reason and self._parser.ends_at_finish and self._said_something(deltas):
                    self.ended = True
                    return True
        return False

    def _report(self, words: str, frame: Frame) -> None:
        """Raise the failure that `words`, which came in place of an error's object, stand for."""
        for _ in self._parsed({"error": {"message": words}, "message": words}, frame):
            pass
        raise UpstreamFailed(words or "the upstream sent an error without a message")

    def _said_something(self, deltas: list[Delta]) -> bool:
        return self._normaliser.begun or any(delta.text or delta.reasoning or delta.tool_calls for delta in deltas)

    def _parsed(self, chunk: dict[str, Any], frame: Frame) -> Iterator[Delta]:
        try:
            for delta in self._parser.parse(chunk, frame):
                yield _sound(delta)
        except (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError, msgspec.MsgspecError):
            # An adapter reads the shape that its wire has; what has another one is not this wire.
            raise BrokenProtocol("the upstream sent JSON of an unknown shape") from None

    # -- the end, and failures

    def _end(self, cut: bool, out: list[Delta]) -> None:
        if self._form is ReplyReader._events:
            frame = None if cut else self._decoder.end()
            if frame and all(part.startswith(DONE) or _decoded(part) is not None for part in _parts(frame.data)):
                self.events += 1
                self._frames([frame], out)
            if not self.ended and not self.finished and not self.events and not cut and self._decoder.ignored:
                raise BrokenProtocol("the upstream's event stream holds no event")
            if not self.ended:
                self._finish(out)
        elif self._form is ReplyReader._json:
            self._whole(cut, out)
        elif self._form is ReplyReader._json_lines:
            last = bytes(self._kept).strip(_BLANK)
            if last and not cut and _decoded(last) is not None:
                self.events += 1
                self._frames([Frame(last)], out)
            if not self.ended:
                self._finish(out)
        elif cut or not self._kept.strip():
            raise CutOff("the upstream closed the connection before the reply began")
        else:
            raise BrokenProtocol("the upstream's reply is neither an event stream nor JSON")
        self.ended = True

    def _whole(self, cut: bool, out: list[Delta]) -> None:
        """The whole body is one chunk: a reply that was not streamed, or an error."""
        body = bytes(self._kept).strip(_BLANK).removeprefix(BOM)
        chunk = _decoded(body)
        if isinstance(chunk, str) and chunk.startswith("{"):
            chunk = _decoded(chunk.encode("utf-8", "replace"))
        if chunk is None and len(parts := _parts(body)) > 1:
            chunk = [_decoded(part) for part in parts]
        if isinstance(chunk, str):
            self._report(chunk, Frame(body))
        if not isinstance(chunk, (dict, list)):
            if cut:
                raise CutOff("the upstream's JSON reply was cut off")
            raise BrokenProtocol("the upstream's JSON reply is not whole JSON")
        self.events = 1
        self._normaliser.expect_all()
        deltas: list[Delta] = []
        try:
            self._chunks(chunk if isinstance(chunk, list) else [chunk], Frame(body), deltas)
        finally:
            self._push(deltas, out)
        if not (self._normaliser.begun or self._normaliser.finish_reason):
            raise BrokenProtocol("the upstream's reply is JSON of an unknown shape: it has neither text nor an end")
        self._finish(out, said_done=True)

    def _finish(self, out: list[Delta], said_done: bool = False) -> None:
        """The reply is over: hand out what was held back, and its end."""
        if held := self._parser.end():
            self._push(held, out)
        self._normaliser.end(out, said_done=said_done)

    def _fail(self, error: ProviderError, out: list[Delta]) -> None:
        """The reply is complete all the same if its finish_reason came; what was held back goes out first."""
        self.ended = self.finished
        self.failure = None if self.finished else error
        try:
            if self.finished:
                self._normaliser.end(out)
            else:
                self._normaliser.release(out)
        except ProviderError as second:
            self.ended, self.failure = False, self.failure or second


def _is_done(data: bytes, frame: Frame) -> bool:
    """Whether an event is the upstream's word that nothing follows."""
    word = data[:12].upper().strip(b'"')
    if word.startswith(DONE) or word in _DONE_WORDS:
        return True
    return frame.event.lower() in _DONE_EVENTS and data in (b"", b"{}", b"null", b'""', b"[]", b"true")


def _stripped(data: bytes) -> bytes:
    """The data without its own byte order mark and without a second "data:", as some proxies put before each line."""
    data = data.removeprefix(BOM)
    return data[5:].strip() if data.startswith(b"data:") else data


def _sound(delta: Delta) -> Delta:
    """The delta, if each member is what its name says; JSON can hold anything. Raises TypeError if not."""
    if not (isinstance(delta.text, str) and isinstance(delta.reasoning, str)):
        raise TypeError("text that is no text")
    for call in delta.tool_calls:
        if not (isinstance(call.index, int) and isinstance(call.arguments, str)):
            raise TypeError("a tool call that is none")
        call.id, call.name = _whole_characters(call.id), _whole_characters(call.name)
    if delta.logprobs is not None and not all(isinstance(entry, dict) for entry in delta.logprobs):
        raise TypeError("log probabilities that are none")
    return delta


def _whole_characters(name: str) -> str:
    """A name or an id; unlike text it does not go on in the next delta, so half a character in it is U+FFFD at once."""
    return name.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _parts(data: bytes) -> list[bytes]:
    """The data as one piece; as its lines where it is not JSON as a whole but each line is, or is the end marker."""
    data = data.strip(_BLANK)
    if b"\n" in data and _decoded(data) is None:
        lines = [line.strip(_BLANK) for line in data.split(b"\n") if line.strip(_BLANK)]
        if all(line.startswith(DONE) or _decoded(line) is not None for line in lines):
            return lines
    if b"}" in data[:-1] and data.startswith(b"{") and _decoded(data) is None:
        return _glued(data) or [data]
    return [data]


def _glued(data: bytes) -> list[bytes]:
    """Objects that were written without a line end between them, and the end marker; none where one is not whole."""
    text = data.decode("utf-8", "replace")
    parts: list[bytes] = []
    at = 0
    while between := _BETWEEN.match(text, at):
        at = between.end()
        if at == len(text):
            return parts
        if text.startswith("[DONE]", at):
            return [*parts, DONE]
        try:
            _, end = _lenient.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        parts.append(text[at:end].encode("utf-8", "surrogatepass"))
        at = end
    return []


def _decoded(data: bytes) -> Any:
    """JSON as an upstream may write it (lone surrogates, NaN, invalid UTF-8 as U+FFFD); None if it is none, or null."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _lenient.decode(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
