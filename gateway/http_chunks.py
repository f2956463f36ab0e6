"""A reply's body in HTTP chunks that every client survives.

Clients written around `iter_content(chunk_size=1024)` decode each piece alone: a chunk that is no larger, and ends
between characters, reaches them whole.
"""

from __future__ import annotations

# Bytes of one HTTP chunk at most.
CHUNK_BYTES = 1024

_SIZES = [b"%x\r\n" % size for size in range(CHUNK_BYTES + 1)]


def split(data: bytes) -> list[bytes]:
    """`data`, which is UTF-8, in pieces of at most CHUNK_BYTES that end between characters."""
    pieces: list[bytes] = []
    start, last = 0, len(data) - CHUNK_BYTES
    while start < last:
        end = start + CHUNK_BYTES
        # A byte 10xxxxxx stands inside a character, of which it is the second, third or fourth.
        if data[end] & 0xC0 == 0x80:
            end -= 1
            if data[end] & 0xC0 == 0x80:
                end -= 1
                if data[end] & 0xC0 == 0x80:
                    end -= 1
        pieces.append(data[start:end])
        start = end
    pieces.append(data[start:])
    return pieces


def chunked(data: bytes) -> bytes:
    """`data`, which is not empty, as HTTP chunks; they may go out in one system call.

    Up to CHUNK_BYTES nothing is copied twice (0.7 µs). Above it costs 1.1 ns a byte, where one chunk of any size took
    0.06 ns: python -m timeit -s "from gateway.http_chunks import chunked as c; d = '地铁站'.encode() * 7200" "c(d)"
    """
    size = len(data)
    if size <= CHUNK_BYTES:
        return _SIZES[size] + data + b"\r\n"
    parts: list[bytes] = []
    for piece in split(data):
        parts += (_SIZES[len(piece)], piece, b"\r\n")
    return b"".join(parts)
