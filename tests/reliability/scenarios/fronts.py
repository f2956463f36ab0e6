"""nginx in front, as it is shipped: what passes, and what becomes of streams when it is reloaded or killed."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import statistics
import time
from functools import partial
from pathlib import Path

from providers.scripted import Upstream
from tests.reliability.numbered import problems
from tests.reliability.reader import Reader, question, request
from tests.reliability.rig import Chain, Gateway, Nginx, at_most, descriptors, memory_bytes
from tests.reliability.scenarios import scenario
from tests.waiting import eventually


@scenario(
    "nginx",
    "none",
    "throughout",
    "every event at once: none waits for the next",
)
def unbuffered(where: Path, stack: contextlib.ExitStack) -> None:
    chain = Chain(where, stack)
    reader = Reader(chain.nginx.address, "s1", 40, "slow").ask().read()
    assert problems(reader.recording) == []
    texts = [at for at, event in zip(reader.times, reader.events, strict=True) if event.name == "message"]
    gaps = [after - before for before, after in itertools.pairwise(texts)]
    # 50 ms apart as they were said: neither in heaps nor ever slower.
    assert 0.03 <= statistics.median(gaps) <= 0.08
    assert sum(gap < 0.005 for gap in gaps) <= len(gaps) / 4
    assert reader.reply.headers["content-type"] == "text/event-stream; charset=utf-8"


@scenario(
    "nginx",
    "reload (SIGHUP)",
    "between tokens",
    "streams complete, new ones are served throughout",
)
def reloaded(where: Path, stack: contextlib.ExitStack) -> None:
    chain = Chain(where, stack)
    readers = [Reader(chain.nginx.address, f"s{n}", 40, "slow").ask().read_events(3) for n in range(8)]
    chain.nginx.signal(signal.SIGHUP)
    for number in range(8):
        assert problems(Reader(chain.nginx.address, f"new{number}", 40, "quick").ask().read().recording) == []
    for reader in readers:
        assert problems(reader.read().recording) == []
    assert {len(chain.asked(reader.recording.stream)) for reader in readers} == {1}


@scenario(
    "nginx–gateway",
    "the gateway dies under a question, and there is another",
    "before head",
    "502 at once; asked once, by GET too; the next question goes to the other gateway",
)
def asked_once(where: Path, stack: contextlib.ExitStack) -> None:
    upstream = stack.enter_context(Upstream())
    gateways = [Gateway(where / name, upstream.url, server={"commit_after_s": 30}) for name in ("one", "two")]
    for gateway in gateways:
        stack.callback(gateway.kill)
    nginx = Nginx(where / "nginx", *(gateway.port for gateway in gateways))
    stack.callback(nginx.kill)

    def asked(stream: str) -> int:
        return sum(one.body["messages"][-1]["content"] == stream for one in upstream.asked)

    for sent, wanted in (
        ("get", request("GET", "/getAnwser?provider=mute&question=get")),
        ("post", question("post", "mute")),
    ):
        with socket.create_connection(nginx.address, 30) as sock:
            sock.sendall(wanted)
            eventually(partial(asked, sent))
            for gateway in gateways:
                for pid in gateway.workers():
                    if connected(pid, upstream.port):
                        os.kill(pid, signal.SIGKILL)
            assert sock.recv(12) == b"HTTP/1.1 502"
        assert asked(sent) == 1
        eventually(lambda: all(gateway.workers() for gateway in gateways))
    # One of the two is away: a client that asks by POST does not notice. (A new nginx holds nothing against the other.)
    gateways[0].kill()
    nginx = Nginx(where / "again", *(gateway.port for gateway in gateways))
    stack.callback(nginx.kill)
    for n in range(4):
        assert problems(Reader(nginx.address, f"after{n}", 40, "quick").ask().read().recording) == []


def connected(pid: int, port: int) -> bool:
    """Whether the process has a connection to that port of this machine."""
    remote = f"0100007F:{port:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return bool({line[9] for line in lines if line[2] == remote} & descriptors(pid).keys())


@scenario(
    "nginx",
    "kill -9",
    "between tokens",
    "streams are visibly cut; through a new nginx each reader gets exactly the rest; asked once",
)
def killed(where: Path, stack: contextlib.ExitStack) -> None:
    chain = Chain(where, stack)
    readers = [Reader(chain.nginx.address, f"s{n}", 40, "slow").ask().read_events(3) for n in range(4)]
    children = Path(f"/proc/{chain.nginx.pid}/task/{chain.nginx.pid}/children").read_text().split()
    chain.nginx.signal(signal.SIGKILL)
    for pid in children:
        os.kill(int(pid), signal.SIGKILL)
    chain.nginx.wait()
    for reader in readers:
        assert reader.read().end == "cut"
    again = Nginx(where / "again", chain.gateway.port)
    stack.callback(again.kill)
    for reader in readers:
        assert problems(reader.follow(again.address).read().recording) == []
        assert len(chain.asked(reader.recording.stream)) == 1


@scenario(
    "client",
    "takes nothing",
    "between tokens",
    "it alone is dropped after write_timeout_s; another reader of the same answer has all of it; memory is bounded",
    full=True,
)
def slow_reader(where: Path, stack: contextlib.ExitStack) -> None:
    count = 60_000
    chain = Chain(where, stack, server={"write_timeout_s": 2, "log_bytes": 32 << 20})
    chain.upstream.plan_next(f"count={count},pace=0")
    before = memory_bytes(chain.gateway.workers()[0])
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(chain.gateway.address)
        Reader(chain.gateway.address, "s1", count, "planned").ask_on(lazy)
        eager = Reader(chain.nginx.address, "s1", count, "planned").ask()
        assert problems(eager.read(timeout_s=60).recording) == []
        eventually(lambda: chain.gateway.worker_of(lazy.getsockname()[1]) == 0, at_most(5))
    assert len(chain.asked("s1")) == 1
    # The log holds the answer once; a reader's place in it costs no more than a socket buffer.
    assert memory_bytes(chain.gateway.workers()[0]) - before < 3 * len(eager.reply.body) + (32 << 20)


@scenario(
    "client",
    "asks beyond max_streams",
    "throughout",
    "503 with Retry-After at once, and room again when one ends",
)
def overloaded(where: Path, stack: contextlib.ExitStack) -> None:
    chain = Chain(where, stack, server={"max_streams": 4, "resume_window_s": 0})
    readers = [Reader(chain.nginx.address, f"s{n}", 20, "silent").ask().read_events(2) for n in range(4)]
    asked_at = time.monotonic()
    refused = Reader(chain.nginx.address, "beyond", 20, "silent").ask().read()
    assert refused.end == "503:overloaded"
    assert int(refused.reply.headers["retry-after"]) >= 1
    assert time.monotonic() - asked_at < at_most(0.5)
    readers[0].leave()
    eventually(lambda: Reader(chain.nginx.address, f"{time.monotonic_ns()}", 40, "quick").ask().read().end == "done")
    assert not chain.asked("beyond")
