"""What Python under gevent costs at least for a stream passed on: no log, no deadlines, no checks, no errors.

python -m benchmarks.gateway.probe PORT UPSTREAM_PORT. Raw sockets, msgspec for JSON, and a callback of the event loop
for each read; a greenlet only while a question is read and its connection to the upstream is made.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import gevent
import msgspec
from gevent.server import StreamServer


class Part(msgspec.Struct):
    content: str = ""


class Choice(msgspec.Struct):
    delta: Part
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    choices: list[Choice]


class Asked(msgspec.Struct):
    messages: list[dict[str, Any]]


decode, asked = msgspec.json.Decoder(Chunk).decode, msgspec.json.Decoder(Asked).decode
encode = msgspec.json.Encoder().encode
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BEFORE = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
idle: list[Any] = []
upstream_port = 0


def request(sock: Any) -> bytes:
    """The body of the next request; b"" at the end of the connection."""
    data = b""
    while more := sock.recv(65536):
        data += more
        head, end, body = data.partition(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        if end and at >= 0 and len(body) >= int(head[at + 15 :].split(b"\r\n", 1)[0]):
            return body
    return b""


def serve(client: Any, _: Any) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while body := request(client):
        upstream = idle.pop() if idle else gevent.socket.create_connection(("127.0.0.1", upstream_port))
        question = encode({"model": "m", "stream": True, "messages": asked(body).messages})
        head = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(question)
        upstream.sendall(head + question)
        relay(upstream, client)
        idle.append(upstream)
    client.close()


def relay(upstream: Any, client: Any) -> None:
    """Pass one reply on; the greenlet sleeps until it has ended."""
    receive, send = upstream._sock.recv, client._sock.send  # the plain sockets, which never switch
    ended, first, kept = gevent.event.Event(), [HEAD], b""
    watcher = gevent.get_hub().loop.io(upstream.fileno(), 1)

    def readable() -> None:
        nonlocal kept
        out = first.pop() if first else b""
        *events, kept = (kept + receive(65536)).split(b"\n\n")
        for event in events:
            data = event[event.find(b"data: ") + 6 :]
            if data == b"[DONE]":
                send(out + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
                ended.set()
                return
            text = BEFORE + encode(decode(data).choices[0].delta) + b"}]}\n\n"
            out += b"%x\r\n%b\r\n" % (len(text), text)
        if out:
            send(out)

    watcher.start(readable)
    ended.wait()
    watcher.stop()
    watcher.close()
    if not kept.endswith(b"0\r\n\r\n"):
        upstream.recv(64)  # the end of the body


if __name__ == "__main__":
    upstream_port = int(sys.argv[2])
    StreamServer(("127.0.0.1", int(sys.argv[1])), serve, backlog=4096).serve_forever()
