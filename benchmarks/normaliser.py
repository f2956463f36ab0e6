"""What a chunk costs from the upstream's bytes to deltas and events, per wire, beside other readers of the same bytes.

    python -m benchmarks.normaliser > benchmarks/results/normaliser.md

One thread, no network: each reader gets the same response body from memory, chunked as upstreams send it, one event in
one HTTP chunk. Ours reads it in pieces of 64 KiB, as `recv` brings them in a burst, and once more with one chunk per
read, as a paced stream does. Times are CPU time, the best of several runs.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import logging
import platform
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from importlib.metadata import version
from typing import Any
from unittest import mock

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from gateway.answers import steps
from gateway.answers.events import Encoder
from providers.catalogue import WIRES
from providers.configuration import ProviderConfiguration
from providers.stream.reader import ReplyReader
from providers.transport.framing import Chunked

CHUNKS = 20_000
RUNS = 5
RECV_BYTES = 64 << 10
WORDS = ("SELECT ", "name", ", ", "站点", " FROM ", "stations", "\n", "WHERE ", "line", " = ", "'1号线'", " and ")


# -- the same reply on each wire, as its upstream writes it


def openai(at: int, text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None, "token_ids": None}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def dashscope(at: int, text: str) -> dict[str, Any]:
    choice = {"message": {"content": text, "role": "assistant"}, "finish_reason": "null"}
    usage = {"total_tokens": 11 + at, "input_tokens": 10, "output_tokens": 1 + at}
    return {"output": {"choices": [choice]}, "usage": usage, "request_id": "r-1"}


def ernie(at: int, text: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 1 + at, "total_tokens": 2 + at}
    chunk = {"id": "as-1", "object": "chat.completion", "created": 1, "sentence_id": at, "is_end": False}
    return chunk | {"is_truncated": False, "result": text, "need_clear_history": False, "usage": usage}


def qianfan(at: int, text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "flag": 0}
    return {"id": "as-1", "object": "chat.completion.chunk", "created": 1, "model": "ernie-4.0-8k", "choices": [choice]}


CHUNK = {"openai": openai, "dashscope": dashscope, "ernie": ernie, "qianfan": qianfan}


def events(wire: str, count: int) -> list[bytes]:
    """The frames of one reply's text; its end is left out, for it is no chunk of text."""
    made = []
    for at in range(count):
        data = json.dumps(CHUNK[wire](at, WORDS[at % len(WORDS)]), ensure_ascii=False, separators=(",", ":")).encode()
        head = b"id:%d\nevent:result\n:HTTP_STATUS/200\ndata:" % (at + 1) if wire == "dashscope" else b"data: "
        made.append(head + data + b"\n\n")
    return made


# -- readers


def reading(wire: str, max_event_bytes: int = 4 << 20) -> ReplyReader:
    """Ours, as an adapter makes it for each reply."""
    configuration = ProviderConfiguration(
        type=wire, model="m", base_url="http://x", api_key="k", secret_key="s", incremental_output=True,
        max_event_bytes=max_event_bytes,
    )  # fmt: skip
    made: ReplyReader = WIRES[wire].load().Adapter(configuration).reply_reader("text/event-stream")
    return made


def ours(wire: str, body: bytes) -> int:
    """Bytes to deltas; how many."""
    framing, reply = Chunked(), reading(wire)
    reads = (body[at : at + RECV_BYTES] for at in range(0, len(body), RECV_BYTES))
    return sum(len(reply.feed(framing.feed(data))) for data in reads)


def ours_paced(wire: str, chunks: list[bytes]) -> int:
    """The same with one read per chunk."""
    framing, reply = Chunked(), reading(wire)
    return sum(len(reply.feed(framing.feed(chunk))) for chunk in chunks)


def ours_to_events(wire: str, body: bytes) -> int:
    """Bytes to deltas to the events that a browser gets; how many deltas."""
    framing, reply, encoder, count = Chunked(), reading(wire), Encoder("answer", 0), 0
    for at in range(0, len(body), RECV_BYTES):
        deltas = reply.feed(framing.feed(body[at : at + RECV_BYTES]))
        count += len(deltas)
        encoder.batch(steps.of(deltas))
    return count


class _Socket:
    """As much of a socket as http.client reads a response from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._data))


def response(body: bytes) -> requests.Response:
    """What `requests.post(stream=True)` gives, its chunked body in memory."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    read = http.client.HTTPResponse(_Socket(head + body), method="POST")  # type: ignore[arg-type]
    read.begin()
    made = requests.Response()
    made.status_code = 200
    made.headers["Content-Type"] = "text/event-stream"
    made.raw = HTTPResponse(
        read, headers=dict(read.getheaders()), preload_content=False, status=200, original_response=read
    )
    return made


def requests_and_json(wire: str, body: bytes) -> int:
    """`iter_lines()` and `json.loads`, as most gateways read a stream."""
    return sum(1 for line in response(body).iter_lines() if line.startswith(b"data:") and json.loads(line[5:]))


@contextlib.contextmanager
def upstream_in_memory(body: bytes) -> Iterator[None]:
    """Every request of `requests` is answered with `body`; a token is answered with a token."""

    def send(self: HTTPAdapter, request: requests.PreparedRequest, **_: Any) -> requests.Response:
        token = b'{"access_token": "24.x.2592000.9999999999.1-1", "expires_in": 2592000}'
        made = response(b"%x\r\n%s\r\n0\r\n\r\n" % (len(token), token) if "/oauth/" in (request.url or "") else body)
        made.request, made.url = request, request.url or ""
        return made

    with mock.patch.object(HTTPAdapter, "send", send):
        yield


def dashscope_sdk(wire: str, body: bytes) -> int:
    import dashscope

    with upstream_in_memory(body):
        replies: Any = dashscope.Generation.call(
            "m", prompt="x", stream=True, incremental_output=True,
            result_format="message", api_key="k",
        )  # fmt: skip
        return len([reply for reply in replies if reply.output.choices[0].message.content])


def qianfan_sdk(wire: str, body: bytes) -> int:
    import qianfan as sdk

    chat: Any
    if wire == "qianfan":
        sdk.get_config().BEARER_TOKEN = "k"
        chat = sdk.ChatCompletion(version="2")
    else:
        chat = sdk.ChatCompletion(ak="a", sk="s")
    with upstream_in_memory(body):
        replies = chat.do(messages=[{"role": "user", "content": "x"}], stream=True, model="ernie-4.0-8k", retry_count=1)
        return sum(1 for reply in replies if reply.body)


def openai_sdk(wire: str, body: bytes) -> int:
    import httpx2
    import openai as sdk

    def pieces() -> Iterator[bytes]:
        framing = Chunked()
        for at in range(0, len(body), RECV_BYTES):
            yield framing.feed(body[at : at + RECV_BYTES])

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, content=pieces())

    client = sdk.OpenAI(
        api_key="k", base_url="http://x", http_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    )
    chunks = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
    return sum(1 for chunk in chunks if chunk.choices[0].delta.content)


SDK: dict[str, Callable[[str, bytes], int]] = {
    "openai": openai_sdk,
    "dashscope": dashscope_sdk,
    "ernie": qianfan_sdk,
    "qianfan": qianfan_sdk,
}


# -- measuring


def seconds(read: Callable[[], int], expected: int, runs: int = RUNS) -> float:
    """The best of several runs; a reader that loses chunks is no competitor."""
    best = float("inf")
    for _ in range(runs):
        began = time.process_time()
        count = read()
        best = min(best, time.process_time() - began)
        if count != expected:
            raise SystemExit(f"{count} chunks were read where {expected} were written")
    return best


def per_wire(count: int) -> Iterator[str]:
    """One row per wire, in µs per chunk."""
    for wire in CHUNK:
        chunks = [b"%x\r\n%s\r\n" % (len(event), event) for event in events(wire, count)]
        body = b"".join(chunks) + b"0\r\n\r\n"
        burst = seconds(partial(ours, wire, body), count)
        paced = seconds(partial(ours_paced, wire, chunks), count)
        full = seconds(partial(ours_to_events, wire, body), count)
        lines = seconds(partial(requests_and_json, wire, body), count)
        sdk = seconds(partial(SDK[wire], wire, body), count, runs=2)
        cells = [f"{took / count * 1e6:.2f}" for took in (burst, full, paced, lines, sdk)]
        cells += [f"{len(body) / burst / 1e6:.0f}", f"{lines / burst:.0f} × · {sdk / burst:.0f} ×"]
        yield f"| {wire} | {len(body) // count} | " + " | ".join(cells) + " |"


def growth(counts: tuple[int, ...]) -> Iterator[str]:
    """One row per wire: µs per chunk as the reply gets longer."""
    for wire in CHUNK:
        cells = []
        for count in counts:
            body = b"".join(b"%x\r\n%s\r\n" % (len(event), event) for event in events(wire, count))
            cells.append(f"{seconds(partial(ours, wire, body), count) / count * 1e6:.2f}")
        yield f"| {wire} | " + " | ".join(cells) + " |"


def endless_line(name: str, read: Callable[[bytes], object], sizes: tuple[int, ...]) -> str:
    """One row: ns per byte of a line without an end; what looks at pending bytes again grows with the line."""
    cells = []
    for kilobytes in sizes:
        body = b"data: " + b"x" * (kilobytes << 10)
        began = time.process_time()
        read(body)
        cells.append(f"{(time.process_time() - began) / len(body) * 1e9:.1f}")
    return f"| {name} | " + " | ".join(cells) + " |"


def ours_in_small_reads(body: bytes) -> None:
    """512 bytes per read, which is what `iter_lines()` takes."""
    reply = reading("openai", max_event_bytes=1 << 30)
    for at in range(0, len(body), 512):
        reply.feed(body[at : at + 512])


def requests_in_small_reads(body: bytes) -> None:
    """The same body, as one HTTP chunk per 512 bytes."""
    pieces = (body[at : at + 512] for at in range(0, len(body), 512))
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    for _ in response(framed + b"0\r\n\r\n").iter_lines():
        pass


def main() -> None:
    """Print the results as Markdown."""
    logging.disable()
    names = ("msgspec", "requests", "urllib3", "dashscope", "qianfan", "openai")
    print("# What a chunk costs, from bytes to deltas\n")
    print(f"{date.today()} · `python -m benchmarks.normaliser` · Python {platform.python_version()},")
    print(f"{platform.machine()}, one thread · " + ", ".join(f"{name} {version(name)}" for name in names))
    print(
        f"\nA reply of {CHUNKS:,} chunks, µs of CPU per chunk, best of {RUNS} (the SDKs: of 2), bodies from memory.\n"
    )
    print("- **burst**: 64 KiB per read, to deltas. **to events**: the same, on to the bytes that a browser gets.")
    print("- **paced**: one event per read, to deltas.")
    print("- **requests + json**: `iter_lines()` and `json.loads` on the same bytes, and no promises kept.")
    print(
        "- **SDK**: the vendor's own client (dashscope; qianfan for ernie and qianfan; openai), answered from memory;"
    )
    print("  openai's gets the body in pieces of 64 KiB.\n")
    print("| wire | bytes/chunk | burst | to events | paced | requests + json | SDK | burst MB/s | ahead of them |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in per_wire(CHUNKS):
        print(row, flush=True)
    counts = (1_000, 10_000, 100_000)
    print("\nThe cost grows with the bytes and with nothing else: µs per chunk by the length of the reply.\n")
    print("| wire | " + " | ".join(f"{count:,} chunks" for count in counts) + " |")
    print("|---|" + "---|" * len(counts))
    for row in growth(counts):
        print(row, flush=True)
    sizes = (256, 512, 1024, 2048)
    print("\nA line without an end, 512 bytes at a time, with our cap out of the way: ns per byte.\n")
    print("| | " + " | ".join(f"{size} KiB" for size in sizes) + " |")
    print("|---|" + "---|" * len(sizes))
    print(endless_line("ours", ours_in_small_reads, sizes), flush=True)
    print(endless_line("requests' iter_lines", requests_in_small_reads, sizes))


if __name__ == "__main__":
    main()
