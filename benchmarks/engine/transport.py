"""What a token costs the worker between the engine's socket and the answer: `python -m benchmarks.engine.transport`.

A scripted engine in another process says one token to every stream, every so many milliseconds; the worker only
iterates. CPU is the worker's own, idle ticking subtracted; lag is how late a greenlet that sleeps 5 ms wakes, while
tokens come and before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import tempfile
import time
from pathlib import Path

import gevent

from benchmarks.engine.workload import at
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.local import connection as connections
from providers.local.client import Adapter
from providers.local.wire import Ask, Hello, Piece, Step, frame, to_engine


def engine(path: str, streams: int, tokens: int, every_s: float) -> None:
    """Wait for all streams' questions, then speak to all of them at once, `tokens` times."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        worker, _ = listener.accept()
    worker.sendall(frame(Hello(1, "scripted", 4096)))
    frames, ids = to_engine(), []
    while len(ids) < streams:
        ids += [message.id for message in frames.feed(worker.recv(1 << 16)) if isinstance(message, Ask)]
    # The worker measures itself idle first.
    time.sleep(1.5)
    due = time.perf_counter()
    for i in range(tokens):
        due += every_s
        time.sleep(max(0.0, due - time.perf_counter()))
        end = ("stop", 10, tokens, 0) if i == tokens - 1 else (None, 0, 0, 0)
        worker.sendall(frame(Step([Piece(id, " token", *end) for id in ids])))
    worker.recv(1)


def lag(into: list[float], every_s: float = 0.005) -> None:
    while True:
        before = time.perf_counter()
        gevent.sleep(every_s)
        into.append(time.perf_counter() - before - every_s)


def measure(streams: int, tokens: int, every_s: float) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.sock"
        process = multiprocessing.get_context("spawn").Process(
            target=engine, args=(str(path), streams, tokens, every_s)
        )
        process.start()
        adapter = Adapter(ProviderConfiguration(type="local", model="scripted"))
        adapter._connections[0] = connections.Connection(path)
        counted = [0]

        def follow() -> None:
            for batch in adapter.ask(ChatRequest([{"role": "user", "content": "hi"}])):
                counted[0] += len(batch)

        idle: list[float] = []
        busy: list[float] = []
        readers = [gevent.spawn(follow) for _ in range(streams)]
        ticking = gevent.spawn(lag, idle)
        gevent.sleep(0.2)
        began, ticks = time.process_time(), len(idle)
        gevent.sleep(1.0)
        per_tick = (time.process_time() - began) / (len(idle) - ticks)
        ticking.kill()
        ticking = gevent.spawn(lag, busy)
        began = time.process_time()
        gevent.joinall(readers)
        cpu = time.process_time() - began - per_tick * len(busy)
        ticking.kill()
        adapter.close()
        process.join(5)
    lags = [f"{at(sorted(values), 0.99) * 1e3:.2f}" for values in (idle, busy)]
    return f"| {streams} | {cpu / counted[0] * 1e6:.1f} | {lags[0]} | {lags[1]} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.engine.transport", description=__doc__)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--every-ms", type=float, default=20)
    told = parser.parse_args()
    print("| streams | worker CPU µs per token | lag p99 idle, ms | lag p99 busy, ms |\n|---|---|---|---|")
    for streams in (1, 32, 256):
        print(measure(streams, told.tokens, told.every_ms / 1000), flush=True)


if __name__ == "__main__":
    main()
