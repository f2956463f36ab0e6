"""The least that a Flask application needs to pass a stream on, for comparison: no log, no deadlines, no checks.

gunicorn -k gevent benchmarks.gateway.relay:app, with UPSTREAM as the base URL.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import requests
from flask import Flask, Response, request

app = Flask(__name__)
session = requests.Session()
session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=4096))


@app.post("/v1/chat/completions")
def completions() -> Response:
    reply = session.post(f"{os.environ['UPSTREAM']}/chat/completions", json=request.get_json(), stream=True, timeout=60)

    def passed_on() -> Iterator[bytes]:
        for line in reply.iter_lines(chunk_size=None):
            if line.startswith(b"data: {"):
                yield b"data: " + json.dumps(json.loads(line[6:])).encode() + b"\n\n"
        yield b"data: [DONE]\n\n"

    return Response(passed_on(), content_type="text/event-stream")
