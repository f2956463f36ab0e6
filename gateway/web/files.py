"""The page's files as they are sent: compressed once, with an ETag, so that a slow network carries each once."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from flask import Response, request
from werkzeug.exceptions import NotFound

FOLDER = Path(__file__).with_name("static")
# Smaller files gain nothing.
LEAST_BYTES = 400
COMPRESSIBLE = {".html", ".js", ".css", ".svg", ".json"}
TYPES = {".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file in memory; `gzipped` is None where it is sent as it is."""

    content: bytes
    gzipped: bytes | None
    content_type: str
    etag: str
    changed_ns: int


_files: dict[str, StaticFile] = {}


def send(name: str) -> Response:
    """The file `name` of the folder `static`. Raises NotFound."""
    file = _read(name)
    takes_gzip = "gzip" in request.headers.get("Accept-Encoding", "")
    content = file.gzipped if file.gzipped is not None and takes_gzip else file.content
    reply = Response(content, content_type=file.content_type)
    reply.headers["Vary"] = "Accept-Encoding"
    if content is file.gzipped:
        reply.headers["Content-Encoding"] = "gzip"
    reply.set_etag(file.etag)
    reply.make_conditional(request)
    return reply


def _read(name: str) -> StaticFile:
    path = (FOLDER / name).resolve()
    if not path.is_relative_to(FOLDER.resolve()) or not path.is_file():
        raise NotFound
    changed_ns = path.stat().st_mtime_ns
    file = _files.get(name)
    if file is None or file.changed_ns != changed_ns:
        content = path.read_bytes()
        worth = path.suffix in COMPRESSIBLE and len(content) >= LEAST_BYTES
        kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        charset = "; charset=utf-8" if kind.startswith("text/") else ""
        etag = hashlib.sha256(content).hexdigest()[:32]
        file = StaticFile(
            content, gzip.compress(content, 9, mtime=0) if worth else None, kind + charset, etag, changed_ns
        )
        _files[name] = file
    return file
