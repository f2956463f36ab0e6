"""A chunked request body, read without keeping the event loop.

gunicorn's own reader copies what it has once per chunk: a body of a million one-byte chunks held the loop for 14 s.
This one walks through each read once, and lets other greenlets run.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any

import gevent
from gunicorn.http import message
from gunicorn.http.body import CHUNK_EXT_RE, ChunkedReader
from gunicorn.http.errors import ChunkMissingTerminator, InvalidChunkExtension, InvalidChunkSize, NoMoreData

# Other greenlets run after this many seconds of reading.
SLICE_S = 0.005
# The length of a line with a chunk's size and its extensions, as gunicorn bounds it.
MAX_SIZE_LINE = 8190
# Chunks between two looks at the clock: a chunk takes about a microsecond.
CHUNKS_PER_LOOK = 500


class FairChunkedReader(ChunkedReader):
    def parse_chunked(self, unreader: Any) -> Iterator[bytes]:
        """The body's bytes, those of many small chunks at once. Raises gunicorn's ParseException and NoMoreData."""
        data, at = b"", 0
        began = time.monotonic()
        while True:
            chunks: list[bytes] = []
            for _ in range(CHUNKS_PER_LOOK):
                end = data.find(b"\r\n", at)
                if end < 0:
                    break
                size = _size(data[at:end])
                if size == 0:
                    yield b"".join(chunks)
                    self.parse_trailers(unreader, data[end + 2 :])
                    return
                if end + 2 + size + 2 > len(data):
                    if size > len(data):
                        # A large chunk goes out as it comes.
                        yield b"".join(chunks)
                        chunks = []
                        data = yield from _large(unreader, data[end + 2 :], size)
                        at = 0
                        continue
                    break
                chunks.append(data[end + 2 : end + 2 + size])
                at = end + 2 + size + 2
                if data[at - 2 : at] != b"\r\n":
                    raise ChunkMissingTerminator(b"")
            else:
                end = 0
            if chunks:
                yield b"".join(chunks)
            if time.monotonic() - began > SLICE_S:
                # A timer, not sleep(0): that would run ready greenlets, and no timer or socket.
                gevent.sleep(0.0005)
                began = time.monotonic()
            if end == 0:
                continue
            if end < 0 and len(data) - at > MAX_SIZE_LINE:
                raise InvalidChunkSize(b"a line without its end")
            more = unreader.read()
            if not more:
                raise NoMoreData()
            data, at = data[at:] + more, 0


def _size(line: bytes) -> int:
    """The size in a chunk's first line; raises InvalidChunkSize or InvalidChunkExtension."""
    digits, semicolon, extension = line.partition(b";")
    if semicolon:
        digits = digits.rstrip(b" \t")
        if b"\r" in extension or not CHUNK_EXT_RE.fullmatch(b";" + extension):
            raise InvalidChunkExtension("malformed")
    if not digits or len(digits) > 16 or digits.strip(b"0123456789abcdefABCDEF"):
        raise InvalidChunkSize(b"not a size")
    return int(digits, 16)


def _large(unreader: Any, rest: bytes, size: int) -> Generator[bytes, None, bytes]:
    """Yields the data of one large chunk; returns what came after it."""
    while size > len(rest):
        size -= len(rest)
        yield rest
        rest = unreader.read(None, read_ahead=size)
        if not rest:
            raise NoMoreData()
    yield rest[:size]
    rest = rest[size:]
    while len(rest) < 2:
        more = unreader.read()
        if not more:
            raise NoMoreData()
        rest += more
    if rest[:2] != b"\r\n":
        raise ChunkMissingTerminator(b"")
    return rest[2:]


def install() -> None:
    """Have gunicorn's requests use it."""
    message.ChunkedReader = FairChunkedReader
