"""Workers that are ended, reloaded, recycled and killed under streams."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from providers.scripted import Upstream
from tests.reliability.load import Load
from tests.reliability.numbered import problems
from tests.reliability.reader import Reader, fetch, request
from tests.reliability.rig import STARTED_S, STREAMS, Gateway, Nginx, UpstreamProcess, answers, at_most, changed
from tests.reliability.scenarios import scenario
from tests.waiting import eventually

DRAIN_S = 3


def gateway(where: Path, stack: contextlib.ExitStack, **options: Any) -> tuple[Upstream, Gateway]:
    """An upstream and a gateway with two workers."""
    upstream = stack.enter_context(Upstream())
    options["server"] = {"workers": 2, "resume_window_s": 0} | options.get("server", {})
    made = Gateway(where / "gateway", upstream.url, **options)
    stack.callback(made.kill)
    return upstream, made


def on_worker(made: Gateway, worker: int, names: str, provider: str, count: int = 40) -> Reader:
    """A reader whose stream this worker produces; the connections that others accepted are let go unused."""
    sock = connected_to(made, lambda pid: pid == worker)
    return Reader(made.address, f"{names}-{sock.getsockname()[1]}", count, provider).ask_on(sock)


def connected_to(made: Gateway, wanted: Callable[[int], bool]) -> socket.socket:
    """A connection whose other end is a worker that is `wanted`, as soon as one serves.

    A worker that takes it first is stopped for the next try: on one processor it would be the same one each time.
    """
    stopped = set()
    try:
        while True:
            sock = socket.create_connection(made.address, 5)
            worker = eventually(partial(made.worker_of, sock.getsockname()[1]), STARTED_S, every_s=0.002)
            if wanted(worker):
                return sock
            sock.close()
            os.kill(worker, signal.SIGSTOP)
            stopped.add(worker)
    finally:
        for worker in stopped:
            os.kill(worker, signal.SIGCONT)


def taken_by(made: Gateway) -> int:
    """The worker that takes a request now."""
    with socket.create_connection(made.address, 15) as sock:
        sock.sendall(request("GET", "/healthz"))
        assert sock.recv(12) == b"HTTP/1.1 200"
        return made.worker_of(sock.getsockname()[1])


def taken_by_another(made: Gateway, workers: set[int]) -> bool:
    """Whether none of these takes a request now."""
    return taken_by(made) not in workers


@scenario(
    "gateway",
    "SIGTERM",
    "all states",
    "answers finish within drain_s, the rest end with `failed:shutting_down`; new questions are refused; exit "
    "within drain_s + 1 s; every stream accounted for",
)
def terminated(where: Path, stack: contextlib.ExitStack) -> None:
    patient = {"timeouts": {"first_token": 30, "idle": 30}}
    _, made = gateway(where, stack, server={"drain_s": DRAIN_S, "heartbeat_s": 5}, provider=patient)
    nginx = Nginx(where / "nginx", made.port)
    stack.callback(nginx.kill)
    idle = socket.create_connection(made.address, 5)
    readers = {}
    for way, address in (("direct", made.address), ("nginx", nginx.address)):
        for provider in ("steady", "long", "mute", "speechless", "silent"):
            count = STREAMS[provider][1]
            readers[way, provider] = Reader(address, f"{way}-{provider}", count, provider).ask()
    for (_, provider), reader in readers.items():
        if provider in ("steady", "long", "silent"):
            reader.read_events(2)
    signalled_at = time.monotonic()
    made.signal(signal.SIGTERM)
    ends = {}
    for (way, provider), reader in readers.items():
        ends[way, provider] = reader.read(timeout_s=DRAIN_S + 20).end
        expected = "done" if provider == "steady" else "failed:shutting_down"
        if expected == "failed:shutting_down" and reader.reply.status != 200:
            assert ends[way, provider] == "503:shutting_down", ends
        else:
            assert problems(reader.recording, ends=expected) == [], (way, provider)
    assert made.wait() == 0
    took_s = time.monotonic() - signalled_at
    idle.close()
    assert took_s <= DRAIN_S + at_most(1), f"exit took {took_s:.2f} s"
    lines = made.answers_logged()
    assert len(lines) == len(readers)
    assert sum(line["cause"] == "shutting_down" for line in lines) == 8


@scenario(
    "gateway",
    "SIGTERM",
    "no streams",
    "exit at once",
    full=True,
)
def terminated_idle(where: Path, stack: contextlib.ExitStack) -> None:
    _, made = gateway(where, stack)
    idle = stack.enter_context(socket.create_connection(made.address, 5))
    idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert idle.recv(12) == b"HTTP/1.1 200"
    signalled_at = time.monotonic()
    made.signal(signal.SIGTERM)
    assert made.wait() == 0
    took_s = time.monotonic() - signalled_at
    assert took_s <= at_most(1), f"exit took {took_s:.2f} s"


@scenario(
    "gateway",
    "SIGINT to all its processes, as a terminal sends it",
    "between tokens",
    "every stream ends with `failed:shutting_down` at once; exit within 1 s; every stream accounted for",
)
def interrupted(where: Path, stack: contextlib.ExitStack) -> None:
    _, made = gateway(where, stack, server={"drain_s": 60})
    readers = [Reader(made.address, f"s{n}", 400, "long").ask().read_events(2) for n in range(6)]
    signalled_at = time.monotonic()
    for pid in (made.pid, *made.children()):
        os.kill(pid, signal.SIGINT)
    for reader in readers:
        assert problems(reader.read().recording, ends="failed:shutting_down") == []
    assert made.wait() == 0
    took_s = time.monotonic() - signalled_at
    assert took_s <= at_most(1), f"exit took {took_s:.2f} s"
    assert [line["cause"] for line in made.answers_logged()] == ["shutting_down"] * len(readers)


def reloaded(where: Path, stack: contextlib.ExitStack, times: int, streams: int, pace_s: float) -> None:
    """SIGHUP under load: every stream whole on its first connection, and none waits for a first byte."""
    upstream = UpstreamProcess(where / "upstream")
    stack.callback(upstream.kill)
    steady = {"type": "openai", "base_url": [upstream.url + "/v1"], "model": f"m@count=40,pace={pace_s}"}
    _, made = gateway(where, stack, providers={"load": steady}, server={"drain_s": 1})
    before = set(made.workers())
    with Load(made.address, streams, "load", again=True, begin_s=40 * pace_s) as load:
        load.wait_begun(streams)
        for _ in range(times):
            workers = set(made.workers())
            made.signal(signal.SIGHUP)
            # As soon as a new worker has taken a question, the next one: old ones are still ending.
            eventually(partial(taken_by_another, made, workers), 60, every_s=0.1)
        reads = load.finish()
    assert load.broken() == {}
    assert len(reads) >= streams
    waited_s = max(read.first_at - read.asked_at for read in reads)
    assert waited_s < at_most(1) + 2 * pace_s, f"somebody waited {waited_s:.2f} s for the first text"
    assert set(upstream.asked().values()) == {1}
    eventually(lambda: len(made.workers()) == 2, 30)
    assert not before & set(made.workers())


@scenario(
    "gateway",
    "SIGHUP three times",
    "between tokens",
    "40 streams at a time, longer than drain_s: none broken, none kept waiting",
)
def reloaded_a_little(where: Path, stack: contextlib.ExitStack) -> None:
    reloaded(where, stack, times=3, streams=40, pace_s=0.05)


@scenario(
    "gateway",
    "SIGHUP ten times",
    "between tokens",
    "500 streams at a time: none broken, none kept waiting",
    full=True,
)
def reloaded_under_load(where: Path, stack: contextlib.ExitStack) -> None:
    reloaded(where, stack, times=10, streams=500, pace_s=0.25)


@scenario(
    "gateway",
    "SIGHUP with a bad file",
    "between tokens",
    "the old configuration stays, and the log says why",
    full=True,
)
def reloaded_badly(where: Path, stack: contextlib.ExitStack) -> None:
    _, made = gateway(where, stack)
    reader = Reader(made.address, "s1", provider="slow").ask().read_events(2)
    workers = set(made.workers())
    made.file.write_text("providers: {}\nsurprise: 1\n")
    made.signal(signal.SIGHUP)
    eventually(lambda: not workers & set(made.workers()))
    assert "the configuration is bad, the old one stays" in made.said()
    assert problems(reader.read().recording) == []
    assert problems(Reader(made.address, "s2", provider="steady").ask().read().recording) == []


@scenario(
    "gateway",
    "SIGHUP, and new workers cannot start",
    "between tokens",
    "the old ones go on serving, and the log says why; the next SIGHUP tries again",
    full=True,
)
def reloaded_in_vain(where: Path, stack: contextlib.ExitStack) -> None:
    _, made = gateway(where, stack, environ=changed("no start"), server={"workers": 1})
    reader = Reader(made.address, "s1", provider="slow").ask().read_events(2)
    old = set(made.workers())
    obstacle = made.folder / "run" / "no-start"
    obstacle.touch()
    made.signal(signal.SIGHUP)
    eventually(lambda: "a new worker cannot start" in made.said(), 30)
    assert problems(reader.read().recording) == []
    assert problems(Reader(made.address, "s2", provider="steady").ask().read().recording) == []
    assert old <= set(made.workers())
    obstacle.unlink()
    made.signal(signal.SIGHUP)
    eventually(lambda: not old & set(made.workers()), 30)
    assert problems(Reader(made.address, "s3", provider="steady").ask().read().recording) == []


@scenario(
    "gateway",
    "SIGTERM just after SIGHUP",
    "between tokens",
    "the old workers' streams too have their terminal event; exit within drain_s + 1 s",
    full=True,
)
def terminated_while_reloading(where: Path, stack: contextlib.ExitStack) -> None:
    _, made = gateway(where, stack, server={"drain_s": 1})
    old = [Reader(made.address, f"old{n}", 400, "long").ask().read_events(2) for n in range(4)]
    workers = set(made.workers())
    made.signal(signal.SIGHUP)
    eventually(lambda: len(set(made.workers()) - workers) >= 2)
    eventually(lambda: answers(made.port))
    young = [Reader(made.address, f"new{n}", 400, "long").ask().read_events(2) for n in range(4)]
    signalled_at = time.monotonic()
    made.signal(signal.SIGTERM)
    for reader in old + young:
        assert problems(reader.read().recording, ends="failed:shutting_down") == []
    made.wait()
    assert time.monotonic() - signalled_at <= 1 + at_most(1)


@scenario(
    "worker",
    "max_requests reached",
    "between tokens",
    "streams go on; no new question waits for a worker",
)
def recycled(where: Path, stack: contextlib.ExitStack, workers: int = 2) -> None:
    _, made = gateway(where, stack, arguments=("--max-requests", "12"), server={"workers": workers})
    first = set(made.workers())
    # One on each worker: neither can leave before it has ended.
    long = [on_worker(made, worker, f"long{worker}", "slow").read_events(2) for worker in first]
    waited: list[float] = []
    begun_at = time.monotonic()
    # Until each has had its requests, and its stream has ended.
    while time.monotonic() < begun_at + 5 or (first & set(made.workers()) and time.monotonic() < begun_at + 60):
        asked_at = time.monotonic()
        reader = Reader(made.address, f"s{len(waited)}", 40, "quick").ask()
        assert problems(reader.read().recording) == []
        waited.append(reader.times[0] - asked_at)
    assert max(waited) < at_most(0.5), sorted(waited)[-3:]
    for reader in long:
        assert problems(reader.read().recording) == []
    assert not first & set(made.workers())


@scenario(
    "worker",
    "max_requests reached, the only worker",
    "between tokens",
    "streams go on; no new question waits for a worker",
    full=True,
)
def recycled_alone(where: Path, stack: contextlib.ExitStack) -> None:
    recycled(where, stack, workers=1)


@scenario(
    "worker",
    "kill -9",
    "between tokens",
    "its streams are visibly cut, through nginx too; the other worker's are not touched; new questions are served",
    full=True,
)
def killed(where: Path, stack: contextlib.ExitStack) -> None:
    _, made = gateway(where, stack)
    nginx = Nginx(where / "nginx", made.port)
    stack.callback(nginx.kill)
    victim, other = made.workers()
    mine = [on_worker(made, victim, f"mine{n}", "slow").read_events(3) for n in range(3)]
    theirs = [on_worker(made, other, f"theirs{n}", "slow").read_events(3) for n in range(3)]
    through = [Reader(nginx.address, f"nginx{n}", 40, "slow").ask().read_events(3) for n in range(6)]
    os.kill(victim, signal.SIGKILL)
    for reader in mine:
        assert reader.read().end == "cut"
        assert problems(reader.recording, ends="") == []
    for reader in theirs:
        assert problems(reader.read().recording) == []
    for reader in through:
        assert reader.read().end in ("cut", "done")
    served = Reader(nginx.address, "after", provider="quick").ask().read()
    assert problems(served.recording) == []
    eventually(lambda: len(made.workers()) == 2)
    # Without Redis an answer dies with its worker.
    assert fetch(made.address, "GET", f"/answers/{mine[0].answer_id}").status == 404


@scenario(
    "gateway",
    "kill -9 of the master",
    "between tokens",
    "nothing is left running",
    full=True,
)
def master_killed(where: Path, stack: contextlib.ExitStack) -> None:
    _, made = gateway(where, stack, server={"drain_s": 1})
    reader = Reader(made.address, "s1", 400, "long").ask().read_events(3)
    children = made.children()
    made.signal(signal.SIGKILL)
    made.wait()
    assert reader.read().end in ("cut", "failed:shutting_down")
    eventually(lambda: not [pid for pid in children if Path(f"/proc/{pid}").exists()])
