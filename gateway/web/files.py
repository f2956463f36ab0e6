"""The page's files as they are sent: compressed once, with an ETag, so that a slow network carries each once."""

from __future__ import annotations

import gzip
import hashlib
import json
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from flask import Response, request
from werkzeug.exceptions import NotFound

from gateway.sentences import FILE as SENTENCES

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


# The catalogue that server and command line read too.
CATALOGUE = "sentences.json"

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
    path = SENTENCES if name == CATALOGUE else (FOLDER / name).resolve()
    if path != SENTENCES and not (path.is_relative_to(FOLDER.resolve()) and path.is_file()):
        raise NotFound
    changed_ns = path.stat().st_mtime_ns
    file = _files.get(name)
    if file is None or file.changed_ns != changed_ns:
        content = path.read_bytes()
        if path == SENTENCES:
            # The page needs no words of the commands.
            content = json.dumps(json.loads(content) | {"commands": {}}, ensure_ascii=False).encode()
        file = _files[name] = _file(Path(name), content, changed_ns)
    return file


def _file(path: Path, content: bytes, changed_ns: int) -> StaticFile:
    worth = path.suffix in COMPRESSIBLE and len(content) >= LEAST_BYTES
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    gzipped = gzip.compress(content, 9, mtime=0) if worth else None
    return StaticFile(content, gzipped, kind + charset, hashlib.sha256(content).hexdigest()[:32], changed_ns)
