"""What a token costs the worker between the engine's socket and the answer: `python -m benchmarks.engine.transport`.

A scripted engine in another process says one token to every stream, every so many milliseconds; the worker only
iterates. CPU is the worker's own, the idle heartbeat's subtracted; lag is how late a greenlet reads what another
process sends each 5 ms, while tokens come and before. `--generating 16` measures the lag beside a real engine (50M,
one thread) that generates for so many clients, in turns with one that is idle.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import struct
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import gevent
from gevent.socket import wait_read

from benchmarks.engine.shapes import make
from benchmarks.engine.vllm_target import CACHE
from benchmarks.engine.workload import at
from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.local import connection as connections
from providers.local import supervisor
from providers.local.client import Adapter
from providers.local.wire import Ask, Hello, Piece, Step, frame, to_engine
from providers.sampling import Sampling

MOMENT = struct.Struct("d")


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


def heartbeats(pipe: Connection) -> None:
    """Say every 5 ms what time it is."""
    while True:
        time.sleep(0.005)
        pipe.send_bytes(MOMENT.pack(time.perf_counter()))


class Lag:
    """How late the worker reads what comes, as a greenlet of its own sees it.

    From another process: a timer would show epoll, which counts in milliseconds. A greenlet that sleeps 5 ms wakes on
    the dot if nothing else ever comes, and up to 1 ms late after anything at all has come in between.
    """

    def __init__(self) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe(duplex=False)
        self._process = spawning.Process(target=heartbeats, args=(theirs,), daemon=True)
        self._process.start()
        self.into: list[float] = []
        self._greenlet = gevent.spawn(self._read)

    def _read(self) -> None:
        while True:
            wait_read(self._pipe.fileno())
            (sent_at,) = MOMENT.unpack(self._pipe.recv_bytes())
            self.into.append(time.perf_counter() - sent_at)

    def close(self) -> None:
        self._greenlet.kill()
        self._process.kill()


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
        beating = Lag()
        beating.into = []
        gevent.sleep(1.0)
        readers = [gevent.spawn(follow) for _ in range(streams)]
        gevent.sleep(0.2)
        beating.into = idle
        began = time.process_time()
        gevent.sleep(1.0)
        per_beat = (time.process_time() - began) / len(idle)
        beating.into = busy
        began = time.process_time()
        gevent.joinall(readers)
        cpu = time.process_time() - began - per_beat * len(busy)
        beating.close()
        adapter.close()
        # A socket that somebody waits for is closed by the loop.
        gevent.sleep(0.01)
        process.join(5)
    lags = [f"{at(sorted(values), 0.99) * 1e3:.2f}" for values in (idle, busy)]
    return f"| {streams} | {cpu / counted[0] * 1e6:.1f} | {lags[0]} | {lags[1]} |"


def generating(clients: int, models: Path) -> str:
    """The worker's lag beside a real engine, idle and generating."""
    lags: dict[bool, list[float]] = {False: [], True: []}
    configuration = ProviderConfiguration(type="local", model=str(make(models, "50M", "bfloat16")), max_context=1024)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SLUICE_RUN_DIR"] = folder
        kept = supervisor.start("local", configuration, Path(folder))
        adapter = Adapter(configuration)

        def ask(i: int) -> None:
            words = " ".join(f"w{300 + (i * 64 + n) % 3000}" for n in range(16))
            for _ in adapter.ask(ChatRequest([{"role": "user", "content": words}], Sampling(max_tokens=64, seed=i))):
                pass

        ask(0)
        beating = Lag()
        gevent.sleep(1)
        for _ in range(5):
            for busy, mine in lags.items():
                beating.into = mine
                if busy:
                    gevent.joinall([gevent.spawn(ask, i) for i in range(clients)], raise_error=True)
                else:
                    gevent.sleep(2)
        beating.close()
        adapter.close()
        assert kept.stdin
        kept.stdin.close()
        kept.wait(10)
    idle, busy = (at(sorted(mine), 0.99) * 1e3 for mine in lags.values())
    return f"{clients} clients: lag p99 {idle:.2f} ms beside an idle engine, {busy:.2f} ms beside one that generates"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.engine.transport", description=__doc__)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--every-ms", type=float, default=20)
    parser.add_argument("--generating", type=int, metavar="CLIENTS")
    parser.add_argument("--models", default=CACHE, type=Path)
    arguments = parser.parse_args()
    if arguments.generating:
        print(generating(arguments.generating, arguments.models))
        return
    print("| streams | worker CPU µs per token | lag p99 idle, ms | lag p99 busy, ms |\n|---|---|---|---|")
    for streams in (1, 32, 256):
        print(measure(streams, arguments.tokens, arguments.every_ms / 1000), flush=True)


if __name__ == "__main__":
    main()
