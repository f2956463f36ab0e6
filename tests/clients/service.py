"""A small OpenAI-like model service for the tests of clients: what it replies is the model's name."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Line ends that are none in JSON or in server-sent events, and are cut at by httpx's and requests' iter_lines.
SEPARATED = "一\u2028二\u2029三\x85四"
LONG = "地铁站名👩‍👧" * 1000
COUNTED = [f"<{n}>" for n in range(1, 31)]

MANY = [f"<{n}:{'x' * 4000}>" for n in range(1, 41)]

# model → the pieces of its reply
REPLIES: dict[str, list[str]] = {
    "plain": list("一二三四五六"),
    "separated": list(SEPARATED),
    "long": [LONG],
    "silent": list("一二三四五六"),
    "counted": COUNTED,
    "slow": COUNTED,
    "many": MANY,
    "sql": ["好的。\n```sql\n", "SELECT id, name FROM dtzpt", " ORDER BY id\n```\n"],
}
# model → the seconds before each piece
PACES_S = {"counted": 0.05, "slow": 0.2}
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":'}}


class Service:
    """A running service; `url` ends in /v1, `asked` has every request's body. A server for each test module."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.closed: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

            def do_POST(self) -> None:
                service.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def questions(self, text: str) -> int:
        """How often `text` was asked."""
        return sum(text in json.dumps(body, ensure_ascii=False) for body in self.asked)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.asked.append(body | {"path": handler.path})
        if handler.path.endswith("/embeddings"):
            return _json(handler, 200, _embeddings(body))
        if handler.path == "/v1/completions":
            return _text_completion(handler, body)
        if body["model"] == "refused":
            return _json(handler, 401, {"error": {"message": "bad key", "code": "invalid_api_key"}})
        if not body.get("stream"):
            return _json(handler, 200, _whole(body))
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        try:
            if body["model"] == "many":
                handler.wfile.write(b"".join(_frames(body)))
                return None
            for frame in _frames(body):
                handler.wfile.write(frame)
        except OSError:
            self.closed.append(body["model"])
        return None


def _json(handler: BaseHTTPRequestHandler, status: int, reply: Any) -> None:
    data = json.dumps(reply).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    data = [{"object": "embedding", "index": n, "embedding": [0.5, float(len(text))]} for n, text in enumerate(texts)]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def _text_completion(handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
    """As vLLM streams it; the text begins with what looks like a thought, and is no thought here."""
    pieces = ["<think>", "def f(x):", "\n    return", " x"]
    choices = [{"index": 0, "text": piece, "logprobs": None, "finish_reason": None} for piece in pieces]
    choices.append({"index": 0, "text": "", "logprobs": None, "finish_reason": "length"})
    frames = [{"id": "cmpl-1", "object": "text_completion", "choices": [choice]} for choice in choices]
    lines = [json.dumps(frame) for frame in (*frames, {"id": "cmpl-1", "choices": [], "usage": _USAGE})]
    data = "".join(f"data: {line}\n\n" for line in (*lines, "[DONE]")).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def _whole(body: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(REPLIES[body["model"]])}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "model": body["model"], "choices": [choice], "usage": _USAGE}


_USAGE = {"prompt_tokens": 7, "completion_tokens": 6, "total_tokens": 13}


def _chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'x', 'choices': [choice], **more})}\n\n".encode()


def _frames(body: dict[str, Any]) -> Iterator[bytes]:
    model = body["model"]
    if model == "tools" and any(message["role"] == "tool" for message in body["messages"]):
        model = "plain"
    if model == "tools":
        yield _chunk({"tool_calls": [CALL]})
        yield _chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"杭州"}'}}]})
        yield _chunk({}, "tool_calls", usage=_USAGE)
        yield b"data: [DONE]\n\n"
        return
    if model == "thinks":
        yield _chunk({"reasoning_content": "先想一想。"})
        model = "plain"
    pieces = REPLIES.get(model, REPLIES["plain"])
    for n, piece in enumerate(pieces):
        if model == "silent" and n == 3:
            time.sleep(0.6)
        if model in PACES_S:
            time.sleep(PACES_S[model])
        if body["model"] == "cut" and n == 3:
            return
        if body["model"] == "fails" and n == 3:
            yield b'data: {"error": {"message": "the model fell over", "code": "server_error"}}\n\n'
            return
        yield _chunk({"content": piece})
    yield _chunk({}, "stop", usage=_USAGE)
    yield b"data: [DONE]\n\n"
