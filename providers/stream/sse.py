"""The event-stream format, both ways.

wire     data: {"text": "你好"}\n\n     fields `event`, `data`, `id`, `retry`; lines that begin with `:` are comments
source   WHATWG HTML, "Server-sent events"; the Web Platform Tests' parsing cases in tests/providers/stream/test_sse.py

Beyond the standard, `Decoder` keeps an event's comments (DashScope tells an error's status in one), and hands out a
bare line of JSON (ERNIE's failures) and a line `error: …` (llama.cpp's) as frames of their own: a browser would
ignore all three.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from providers.errors import TooLarge

BOM = b"\xef\xbb\xbf"
MAX_COMMENTS = 16
MAX_OPEN = 256 << 10  # bytes of an object whose lines lack their `data:`
USUAL = b"data: "
LF, CR, NUL = 10, 13, 0  # as numbers: `10 in data` is one memchr, seven times as fast as `b"\n" in data`


class Frame(msgspec.Struct, gc=False):
    """One dispatched event.

    data      its data lines joined by LF, as bytes: what they hold is nearly always JSON, which decodes from bytes
    event     its type as it was sent; "" means `message`
    id        the stream's last event id, which is sticky
    retry     reconnection time in milliseconds, where this event set it
    comments  its comment lines without the colon
    """

    data: bytes
    event: str = ""
    id: str = ""
    retry: int | None = None
    comments: tuple[str, ...] = ()


def encode(data: str, event: str = "", id: str = "") -> bytes:
    """One event as bytes; every line of `data` becomes a data line."""
    head = (f"id: {id}\n" if id else "") + (f"event: {event}\n" if event else "")
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return (head + "".join(f"data: {line}\n" for line in lines) + "\n").encode("utf-8", "replace")


@lru_cache(maxsize=256)
def _event_and_comments(lines: bytes) -> tuple[str, tuple[str, ...]] | None:
    """What an upstream repeats in front of every data line; None if there is more to it than that."""
    event, comments = "", []
    for line in lines.split(b"\n") if lines else ():
        field, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if field == b"event":
            event = text
        elif line.startswith(b":"):
            comments.append(text)
        else:
            return None
    return event, tuple(comments[:MAX_COMMENTS])


class Decoder:
    """Bytes in, frames out, however the network cut them; the cost is linear in the bytes.

    A line, or the data of one event, longer than `max_event_bytes` sets `failed` to a TooLarge: the frames before it
    are still returned, and nothing after it. Only CR, LF and CRLF end a line, and a CR ends it at once.
    """

    def __init__(self, max_event_bytes: int = 4 << 20) -> None:
        self.failed: TooLarge | None = None
        self.ignored = False  # a line came that is neither a field nor a comment
        self.last_id = ""  # as of the last dispatch
        self.comments = 0  # lines so far, but for those in front of an event's usual fields
        self._id = ""
        self._max = max_event_bytes
        self._begin: bytes | None = b""  # what may still turn out to be a BOM; None once that is settled
        self._after_cr = False
        self._line = bytearray()  # a line that has not ended yet
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._retry: int | None = None
        self._comments: list[str] = []
        self._between = True  # nothing of an event is pending

    def feed(self, data: bytes) -> list[Frame]:
        """The events that `data` completes."""
        frames: list[Frame] = []
        if self._begin is not None:
            data = self._without_bom(data)
        if self._after_cr or CR in data:
            data = self._with_lf_only(data)
        if not data or self.failed:
            return frames
        size = len(data)
        if (
            self._between
            and size <= self._max
            and data.find(b"\n") == size - 2
            and data[-1] == LF
            and data[:6] == USUAL
        ):
            # A paced stream: one whole event of one data line.
            frames.append(Frame(data[6:-2], "", self.last_id))
            return frames
        if not self._between:
            end = data.find(b"\n\n")
            if end < 0:
                self._feed_lines(data, frames)
                return frames
            self._feed_lines(data[: end + 2], frames)
            if self.failed:
                return frames
            data = data[end + 2 :]
        self._feed_events(data, frames)
        return frames

    def inside(self, data: bytes, before: bytes, after: bytes) -> bytes | None:
        """What stands between `before` and `after` where `data` is one event of one line, `data: <before>…<after>`.

        None, and nothing is taken, where it may be anything else. It may still hold a CR.
        """
        start, end = len(before) + 6, -2 - len(after)
        if (
            self._between
            and not self._after_cr
            and data.startswith(USUAL)
            and data.startswith(before, 6)
            and data.endswith(b"\n\n")
            and data.endswith(after, start, -2)
            and len(data) <= self._max
            and self._begin is None
        ):
            return data[start:end]
        return None

    def end(self) -> Frame | None:
        """The event that the end of the body left without its blank line; the standard says to discard it."""
        frames: list[Frame] = []
        if self._begin:
            self._feed_lines(self._begin, frames)
        if self._line:
            self._feed_lines(b"\n", frames)
        self._dispatch(frames)
        return frames[0] if frames and not self.failed else None

    def _without_bom(self, data: bytes) -> bytes:
        data = (self._begin or b"") + data
        if len(data) < len(BOM) and BOM.startswith(data):
            self._begin = data
            return b""
        self._begin = None
        return data.removeprefix(BOM)

    def _with_lf_only(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _feed_events(self, data: bytes, frames: list[Frame]) -> None:
        """`data` begins between two events. Where each is one data line they cost 0.2 µs each, and not 1.2."""
        events = data.split(b"\n\n")
        rest = events.pop()
        if len(data) <= self._max:
            id = self.last_id
            usual = [Frame(e[6:], "", id) for e in events if e.startswith(b"data: ") and LF not in e]
            if len(usual) == len(events):
                frames += usual
                events = []
        for event in events:
            if not event:
                continue
            if len(event) <= self._max and (frame := self._usual_fields(event)):
                frames.append(frame)
                continue
            self._feed_lines(event + b"\n\n", frames)
            if self.failed:
                return
        if rest:
            self._feed_lines(rest, frames)

    def _usual_fields(self, event: bytes) -> Frame | None:
        """A whole event with one data line, last, and nothing unusual before it; for a third of the cost by lines."""
        head, found, data = event.partition(b"\ndata:")
        if not found and event.startswith(b"data:"):
            head, data = b"", event[5:]
        elif not found or len(head) > 200:  # what is kept by _event_and_comments is short
            return None
        if head[:3] == b"id:":
            id, _, head = head.partition(b"\n")
            parsed = _event_and_comments(head)
            if parsed is None or LF in data or NUL in id:
                return None
            self._id = (id[4:] if id[3:4] == b" " else id[3:]).decode("utf-8", "replace")
        else:
            parsed = _event_and_comments(head)
            if parsed is None or LF in data:
                return None
        self.last_id = self._id
        return Frame(data[1:] if data[:1] == b" " else data, parsed[0], self.last_id, None, parsed[1])

    def _feed_lines(self, data: bytes, frames: list[Frame]) -> None:
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._line:
            lines[0] = bytes(self._line + lines[0])
            self._line.clear()
        for line in lines:
            if len(line) > self._max:
                self._fail("a line")
            if self.failed:
                return
            if line:
                self._field(line, frames)
            else:
                self._dispatch(frames)
        self._line += rest
        # An id line alone, when a read ended behind it, belongs to the event that follows.
        fields = self._line or self._data or self._event or self._comments or self._retry is not None
        self._between = not fields and self._id == self.last_id
        if len(self._line) > self._max:
            self._fail("a line")

    def _field(self, line: bytes, frames: list[Frame]) -> None:
        name, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
            if self._data_bytes > self._max:
                self._fail("an event")
        elif not name:
            self.comments += 1
            if len(self._comments) < MAX_COMMENTS:
                self._comments.append(value[:256].decode("utf-8", "replace"))
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry":
            if value.isdigit() and len(value) < 16:
                self._retry = int(value)
        elif line.startswith(b"{"):
            frames.append(Frame(line, "", self.last_id))
        elif name == b"error" and value:
            frames.append(Frame(value, "error", self.last_id))
        elif name.strip().lower() == b"data" and value[:1] in (b"{", b"["):
            self._field(b"data:" + value, frames)
        elif not self._goes_on(line):
            self.ignored = True

    def _goes_on(self, line: bytes) -> bool:
        """Take a line without a field's name for more of an object that the last data line left open.

        Some services write JSON with indents, and `data:` before its first line alone.
        """
        if not self._data or self._data[0][:1] not in (b"{", b"[") or self._data_bytes > MAX_OPEN:
            return False
        if len(self._data) == 1 and self._data[0][-1:] in (b"}", b"]"):
            return False  # whole by itself
        self._data.append(line)
        self._data_bytes += len(line) + 1
        return True

    def _dispatch(self, frames: list[Frame]) -> None:
        self.last_id = self._id
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            frames.append(Frame(data, self._event, self.last_id, self._retry, tuple(self._comments)))
            self._data = []
            self._data_bytes = 0
        self._event = ""
        self._retry = None
        self._comments = []

    def _fail(self, what: str) -> None:
        self.failed = TooLarge(f"{what} of the upstream's stream is longer than {self._max} bytes")
        self._line.clear()
        self._data = []
