"""Files, bodies and heads that should not be: what careless operators and hostile clients send to a running gateway."""

from __future__ import annotations

import contextlib
import itertools
import resource
import signal
import socket
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from providers.scripted.body import FLOODS
from tests.reliability.numbered import problems
from tests.reliability.reader import Reader
from tests.reliability.rig import STREAMS, Gateway, at_most
from tests.reliability.scenarios import scenario
from tests.reliability.scenarios.workers import gateway
from tests.waiting import eventually

# What is appended to a good file → nothing of it may end a running server.
BROKEN = (
    "text2sql: {language: 2026-02-30}",
    "limits: &a {requests: [*a]}",
    "limits: " + "[" * 3000,
    f"limits: {{streams_per_key: {'9' * 10_000}}}",
    "limits: !!python/object/apply:os.abort []",
    "server: {}",
    "\t",
)


def assert_paced(readers: Iterable[Reader]) -> None:
    """Assert that each stream came whole, and never stood still."""
    for reader in readers:
        assert problems(reader.recording) == []
        gaps = [later - earlier for earlier, later in itertools.pairwise(reader.times)]
        assert max(gaps) < at_most(0.5), f"a stream stood still for {max(gaps):.2f} s"


def kept(made: Gateway, times: int) -> bool:
    """Whether the log has said that often that the old configuration stays."""
    return made.said().count("the old one stays") >= times


@scenario(
    "gateway",
    "SIGHUP with files that break a parser",
    "between tokens",
    "each keeps the old configuration, and the log says why; streams go on",
)
def reloaded_with_broken_files(where: Path, stack: contextlib.ExitStack) -> None:
    _, made = gateway(where, stack, server={"workers": 1})
    reader = Reader(made.address, "s1", STREAMS["slow"][1], "slow").ask().read_events(2)
    good = made.file.read_text("utf-8")
    for n, text in enumerate(BROKEN, 1):
        made.file.write_text(f"{good}\n{text}\n", "utf-8")
        made.signal(signal.SIGHUP)
        eventually(partial(kept, made, n), 30)
    assert problems(Reader(made.address, "s2", STREAMS["steady"][1], "steady").ask().read().recording) == []
    assert problems(reader.read().recording) == []
    assert "Traceback" not in made.said()


@scenario(
    "upstream",
    "five answers flood at once: heads, comments, events of null, chunks of one byte",
    "between others' tokens",
    "each ends by its deadline; other streams come at their pace",
)
def flooded_by_upstreams(where: Path, stack: contextlib.ExitStack) -> None:
    limits = {"connect": 1, "first_token": 2, "idle": 2, "total": 4}
    upstream, made = gateway(where, stack, server={"workers": 1}, provider={"timeouts": limits})
    readers = [Reader(made.address, f"f{n}", STREAMS["slow"][1], "slow").ask().read_events(2) for n in range(5)]
    pool = stack.enter_context(ThreadPoolExecutor(2 * len(readers)))
    reading = [pool.submit(reader.read) for reader in readers]
    floods = [f"flood={kind}" for kind in ("head", *FLOODS, "comments")]
    upstream.plan_next(*floods)
    flooded = [pool.submit(Reader(made.address, f"u{n}", 9, "planned").ask().read) for n in range(len(floods))]
    assert all(isinstance(reader.result().end, str) and "done" not in reader.result().end for reader in flooded)
    assert_paced(read.result() for read in reading)


# What gunicorn's worker needs beside connections: its libraries' files, the log, the metrics' maps, the notifier.
FEW_DESCRIPTORS = 96


@scenario(
    "gateway",
    "out of file descriptors",
    "between tokens",
    "running streams go on; new connections are `503:overloaded`; when there are descriptors again, questions are "
    "answered by the same upstream, whose breaker did not open",
)
def out_of_descriptors(where: Path, stack: contextlib.ExitStack) -> None:
    breaker = {"breaker": {"at_least": 2, "open_s": 60}}
    _, made = gateway(where, stack, server={"workers": 1}, provider=breaker)
    readers = [Reader(made.address, f"s{n}", STREAMS["slow"][1], "slow").ask().read_events(2) for n in range(3)]
    limit = resource.prlimit(made.workers()[0], resource.RLIMIT_NOFILE)
    resource.prlimit(made.workers()[0], resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS, limit[1]))
    idle = [socket.create_connection(made.address, 5) for _ in range(FEW_DESCRIPTORS)]
    ends = [Reader(made.address, f"n{n}", 40, "quick").ask().read().end for n in range(5)]
    assert set(ends) <= {"503:overloaded"}, ends
    for reader in readers:
        assert problems(reader.read().recording) == []
    for sock in idle:
        sock.close()
    resource.prlimit(made.workers()[0], resource.RLIMIT_NOFILE, limit)
    for n in range(10):
        reader = eventually(partial(answered, made, f"a{n}"), 10)
        assert problems(reader.recording) == []


def answered(made: Gateway, stream: str) -> Reader | None:
    """The stream's reader once it was answered; None where it was refused as overloaded."""
    reader = Reader(made.address, stream, STREAMS["quick"][1], "quick").ask().read()
    assert reader.end in ("done", "503:overloaded"), reader.end
    return reader if reader.end == "done" else None


HEAD = b"POST /getAnwser HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@scenario(
    "client",
    "sends its body in one-byte chunks",
    "between others' tokens",
    "400, and nothing is asked; other streams come at their pace",
)
def flooded_with_chunks(where: Path, stack: contextlib.ExitStack) -> None:
    upstream, made = gateway(where, stack, server={"workers": 1})
    readers = [Reader(made.address, f"f{n}", STREAMS["slow"][1], "slow").ask().read_events(2) for n in range(5)]
    # Read all the while, so that a pause of the gateway shows in the times.
    pool = stack.enter_context(ThreadPoolExecutor(len(readers)))
    reading = [pool.submit(reader.read) for reader in readers]
    with socket.create_connection(made.address, 30) as sock:
        sock.settimeout(30)
        sock.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 500_000 + b"0\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 400"
    assert_paced(read.result() for read in reading)
    assert len(upstream.asked) == 5


@scenario(
    "client",
    "sends a head without end",
    "before the question",
    "it is refused or cut, and keeps no memory; questions are answered meanwhile",
)
def endless_heads(where: Path, stack: contextlib.ExitStack) -> None:
    _, made = gateway(where, stack, server={"workers": 1})
    socks = [stack.enter_context(socket.create_connection(made.address, 30)) for _ in range(10)]
    for sock in socks:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    for n in range(40):
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.sendall(b"X-%d: " % n + b"y" * 8000 + b"\r\n")
    began = time.monotonic()
    reader = Reader(made.address, "s1", STREAMS["steady"][1], "steady").ask().read()
    assert problems(reader.recording) == []
    assert time.monotonic() - began < at_most(5)
    for sock in socks:
        sock.settimeout(30)
        with contextlib.suppress(ConnectionError):
            assert sock.recv(12) in (b"", b"HTTP/1.1 431", b"HTTP/1.1 400")
