"""gunicorn's response object, as far as a reply is written past it.

gunicorn has no public way to write a reply's head and body with one system call. tests/contracts/test_gunicorn.py names
each attribute used here, and says what to look at when a new gunicorn lacks one.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from gunicorn import util

from gateway.http_chunks import chunked

_written = functools.lru_cache(maxsize=2)(util.http_date)


def _date(timestamp: float | None = None) -> str:
    written: str = _written(int(time.time() if timestamp is None else timestamp))
    return written


def install() -> None:
    """Have gunicorn write the Date of a second once: it costs as much as the rest of a reply's head."""
    util.http_date = _date


class GunicornReply:
    """`write` is what gunicorn's start_response returned: a bound method of its response object."""

    def __init__(self, write: Any) -> None:
        self._response = write.__self__

    @property
    def is_chunked(self) -> bool:
        """Whether more of the body goes out in HTTP chunks."""
        chunked: bool = self._response.chunked
        return chunked

    def framed(self, data: bytes, *, last: bool) -> bytes:
        """`data` as the next bytes of the reply: behind the head if that was not sent, chunked, ended if `last`."""
        response, framed = self._response, data
        if response.chunked and data:
            framed = chunked(data)
        if not response.headers_sent:
            response.headers_sent = True
            fields = (f"{name}: {value}\r\n" for name, value in response.headers)
            framed = "".join([*response.default_headers(), *fields, "\r\n"]).encode("latin-1") + framed
        if response.chunked and last:
            framed += b"0\r\n\r\n"
            # For gunicorn: nothing is left to write, so the connection can be kept.
            response.chunked, response.response_length = False, 0
        return framed
