"""The local engine killed, stopped, confused and orphaned, with a tiny model of its own."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from providers.local.wire import Ask, Failed, Hello, Piece, Step, frame, from_engine
from providers.sampling import Sampling
from providers.scripted import Upstream
from tests.parts import require
from tests.reliability.numbered import problems
from tests.reliability.proxy import Fault, Proxy
from tests.reliability.reader import Reader, fetch
from tests.reliability.rig import Gateway, at_most
from tests.reliability.scenarios import scenario
from tests.waiting import eventually

LOADED_S = 60.0
SILENCE_S = 15.0


_making = threading.Lock()


def model() -> Path:
    """A tiny random model that can go on for thousands of tokens; made by the first test that needs it."""
    require("torch")
    with _making:
        return _made()


@cache
def _made() -> Path:
    from tests.providers.local.models import make_model

    where = Path(tempfile.mkdtemp(prefix="sluice-model-"))
    atexit.register(shutil.rmtree, where, ignore_errors=True)
    make_model(where / "model", "qwen3", max_position_embeddings=8192)
    return where / "model"


class Local:
    """A gateway with a local provider, whose engine serves, and the hosted ones beside it."""

    def __init__(
        self,
        where: Path,
        stack: contextlib.ExitStack,
        folder: Path | None = None,
        environ: dict[str, str] | None = None,
    ) -> None:
        self.upstream = stack.enter_context(Upstream())
        local = {
            "type": "local", "model": str(folder or model()), "threads": 1, "kv_cache_mb": 64, "max_batch": 8,
            "defaults": {"max_tokens": 7000},
        }  # fmt: skip
        server = {"resume_window_s": 0, "drain_s": 1}
        self.gateway = Gateway(
            where / "gateway", self.upstream.url, server=server, providers={"local": local}, environ=environ
        )
        stack.callback(self.gateway.kill)
        self.ready()

    def ready(self) -> None:
        """Wait until the engine serves."""
        eventually(lambda: fetch(self.gateway.address, "GET", "/readyz").status == 200, LOADED_S)

    @property
    def supervisor(self) -> int:
        return next(
            pid for pid in self.gateway.children() if b"supervisor" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )

    @property
    def engine(self) -> int:
        """The engine's process id; 0 while there is none."""
        children = Path(f"/proc/{self.supervisor}/task/{self.supervisor}/children").read_text().split()
        return int(children[0]) if children else 0

    @property
    def socket(self) -> Path:
        return next((self.gateway.folder / "run").glob("*.sock"))

    def ask(self, name: str, provider: str = "local", **fields: Any) -> Reader:
        return Reader(self.gateway.address, name, 0 if provider == "local" else 40, provider, **fields).ask()

    def answered(self, name: str) -> Reader:
        """A short reply of the engine's, asked for."""
        return self.ask(name, max_tokens=50)


def told_within(readers: list[Reader], since: float, seconds: float, end: str) -> None:
    """Each reader's terminal event came within so many seconds of `since`."""
    for reader in readers:
        reader.read(timeout_s=seconds + 20)
        assert problems(reader.recording, ends=end) == []
        assert reader.times[-1] - since <= seconds, f"it came after {reader.times[-1] - since:.2f} s"


@scenario(
    "engine",
    "kill -9",
    "between tokens",
    "its readers get `failed:engine_died` within 1 s, hosted streams are not touched; a question asked "
    "meanwhile is answered when the model is loaded again",
)
def killed(where: Path, stack: contextlib.ExitStack) -> None:
    local = Local(where, stack)
    mine = [local.ask(f"hello {n}").read_events(4) for n in range(8)]
    hosted = local.ask("s1", "slow").read_events(3)
    os.kill(local.engine, signal.SIGKILL)
    killed_at = time.monotonic()
    told_within(mine, killed_at, at_most(1), "failed:engine_died")
    meanwhile = local.answered("hello again")
    assert problems(hosted.read().recording) == []
    assert problems(meanwhile.read(timeout_s=LOADED_S).recording) == []


@scenario(
    "supervisor",
    "kill -9",
    "between tokens",
    "its engine ends with it, whose readers get `failed:engine_died` within 1 s; hosted streams are not touched; both "
    "are started again",
    full=True,
)
def supervisor_killed(where: Path, stack: contextlib.ExitStack) -> None:
    local = Local(where, stack)
    mine = [local.ask(f"hello {n}").read_events(4) for n in range(4)]
    hosted = local.ask("s1", "slow").read_events(3)
    engine, supervisor = local.engine, local.supervisor
    os.kill(supervisor, signal.SIGKILL)
    told_within(mine, time.monotonic(), at_most(1), "failed:engine_died")
    assert problems(hosted.read().recording) == []
    eventually(lambda: not Path(f"/proc/{engine}").exists())
    eventually(lambda: "has died; it is started again" in local.gateway.said())
    eventually(lambda: not Path(f"/proc/{supervisor}").exists() and len(local.gateway.children()) > 2, LOADED_S)
    assert problems(local.answered("hello again").read(timeout_s=LOADED_S).recording) == []


@scenario(
    "engine",
    "SIGSTOP",
    "between tokens",
    "its readers get `failed:engine_timeout` after 15 s of silence, hosted streams are not touched; it is"
    " killed, and serves again",
    full=True,
)
def stopped(where: Path, stack: contextlib.ExitStack) -> None:
    local = Local(where, stack)
    mine = [local.ask(f"hello {n}").read_events(4) for n in range(4)]
    first = local.engine
    os.kill(first, signal.SIGSTOP)
    stopped_at = time.monotonic()
    for number in range(3):
        assert problems(local.ask(f"s{number}", "slow").read().recording) == []
    told_within(mine, stopped_at, SILENCE_S + at_most(2), "failed:engine_timeout")
    local.ready()
    assert local.engine not in (0, first)
    assert problems(local.answered("hello").read(timeout_s=LOADED_S).recording) == []


@scenario(
    "engine",
    "crash loop",
    "before first token",
    "503 with a plain reason and Retry-After at once, not a hang; hosted streams are not touched; serving"
    " again once the cause is gone",
    full=True,
)
def crash_loop(where: Path, stack: contextlib.ExitStack) -> None:
    folder = where / "model"
    shutil.copytree(model(), folder)
    local = Local(where, stack, folder)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    os.kill(local.engine, signal.SIGKILL)
    eventually(lambda: fetch(local.gateway.address, "GET", "/readyz").status == 503)

    # A question that comes while it tries to load waits, and gets the result of that try.
    assert local.ask("hello").read(timeout_s=LOADED_S).end in ("503:engine_died", "failed:engine_died")
    asked_at = time.monotonic()
    for number in range(8):
        reader = local.ask(f"hello {number}").read()
        assert reader.end == "503:engine_died"
        assert int(reader.reply.headers["retry-after"]) >= 1
    assert time.monotonic() - asked_at <= at_most(1)
    assert problems(local.ask("s1", "steady").read().recording) == []
    weights.write_bytes(whole)
    local.ready()
    assert problems(local.answered("hello at last").read(timeout_s=LOADED_S).recording) == []


@scenario(
    "worker–engine",
    "garbage for the engine",
    "between tokens",
    "that connection is closed; no other one is touched",
    full=True,
)
def garbage_for_the_engine(where: Path, stack: contextlib.ExitStack) -> None:
    local = Local(where, stack)
    before = local.engine
    reader = local.ask("hello").read_events(4)
    dice = random.Random(9)
    rubbish = [
        dice.randbytes(2000), b"\xff" * 64, (5).to_bytes(4, "big") + b"12345", (1 << 31).to_bytes(4, "big"),
        (200).to_bytes(4, "big") + b"half", frame(Ask(1, 1, [{"role": "user", "content": "x"}]))[:-3], b"",
    ]  # fmt: skip
    for data in rubbish:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(local.socket))
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while sock.recv(65536):
                    pass
    assert problems(reader.read(timeout_s=LOADED_S).recording) == []
    assert local.engine == before
    assert problems(local.answered("hello again").read(timeout_s=LOADED_S).recording) == []


@scenario(
    "worker–engine",
    "garbage for the worker",
    "before first token",
    "`upstream_protocol` at once, hosted streams are not touched, and the next question is answered",
    full=True,
)
def garbage_for_the_worker(where: Path, stack: contextlib.ExitStack) -> None:
    local = Local(where, stack)
    path = local.socket
    real = path.with_suffix(".real")
    hosted = local.ask("s1", "slow").read_events(3)
    path.rename(real)
    with socket.socket(socket.AF_UNIX) as liar:
        liar.bind(str(path))
        liar.listen()
        threading.Thread(target=_lie, args=(liar,), daemon=True).start()
        # The worker's connection to the engine itself has to end first.
        os.kill(local.engine, signal.SIGKILL)
        ends = ("502:upstream_protocol", "failed:upstream_protocol")
        eventually(lambda: local.ask(f"hello {time.monotonic_ns()}").read().end in ends, at_most(5))
        liar.shutdown(socket.SHUT_RDWR)
    path.unlink()
    real.rename(path)
    assert problems(hosted.read().recording) == []
    assert problems(local.answered("hello again").read(timeout_s=LOADED_S).recording) == []


def _lie(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            sock, _ = listener.accept()
            sock.sendall(b"\xff\xfe\xfd\xfc garbage")
            sock.close()


@scenario(
    "worker–engine",
    "reset",
    "between tokens",
    "`failed:engine_died` within 1 s; the engine lets go of the sequence; the next question is answered",
    full=True,
)
def cut(where: Path, stack: contextlib.ExitStack) -> None:
    local = Local(where, stack)
    path = local.socket
    real = path.with_suffix(".real")
    path.rename(real)
    proxy = stack.enter_context(Proxy(to=str(real), listen=str(path)))
    # The worker has a connection to the engine itself by now; this one goes through the proxy.
    os.kill(local.engine, signal.SIGKILL)
    eventually(lambda: local.answered(f"hi {time.monotonic_ns()}").read(timeout_s=LOADED_S).end == "done", LOADED_S)
    proxy.set(Fault(slices=(1, 3, 7)))
    reader = local.ask("hello").read_events(4)
    proxy.set(Fault(reset_after=0))
    cut_at = time.monotonic()
    told_within([reader], cut_at, at_most(1), "failed:engine_died")
    proxy.set(None)
    assert problems(local.answered("hello again").read(timeout_s=LOADED_S).recording) == []
    proxy.close()
    real.rename(path)


@scenario(
    "worker–engine",
    "a question for a dead engine",
    "before first token",
    "the epoch tells: it is refused, and never run",
    full=True,
)
def stale_epoch(where: Path, stack: contextlib.ExitStack, environ: dict[str, str] | None = None) -> None:
    local = Local(where, stack, environ=environ)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(local.socket))
        frames = from_engine()
        messages: list[Any] = []
        while not messages:
            messages += frames.feed(sock.recv(65536))
        hello = messages.pop(0)
        assert isinstance(hello, Hello)
        sock.sendall(frame(Ask(hello.epoch - 1, 7, [{"role": "user", "content": "hello"}], Sampling(max_tokens=5))))
        while not messages:
            messages += frames.feed(sock.recv(65536))
        assert isinstance(messages[0], Failed), f"it was run: {messages[0]}"
        assert (messages[0].id, messages[0].code) == (7, "engine_died")
        sock.sendall(frame(Ask(hello.epoch, 8, [{"role": "user", "content": "hello"}], Sampling(max_tokens=5))))
        messages.clear()
        while not messages:
            messages += frames.feed(sock.recv(65536))
        assert isinstance(messages[0], Step)
        assert isinstance(messages[0].pieces[0], Piece)


@scenario(
    "client",
    "leaves, of the engine",
    "between tokens",
    "its sequence is cancelled at once: the engine has nothing to do",
    full=True,
)
def left(where: Path, stack: contextlib.ExitStack) -> None:
    local = Local(where, stack)
    readers = [local.ask(f"hello {n}").read_events(4) for n in range(4)]
    for reader in readers:
        reader.leave()
    left_at = time.monotonic()
    # The engine's processor time stands still once it has no sequence left.
    spent = Path(f"/proc/{local.engine}/stat")

    def idle() -> bool:
        before = _ticks(spent)
        time.sleep(0.3)
        return _ticks(spent) - before <= 1

    eventually(idle, at_most(0.6))
    assert time.monotonic() - left_at <= at_most(1)
    ended = [line["cause"] for line in local.gateway.answers_logged()]
    assert ended == ["cancelled"] * 4


def _ticks(stat: Path) -> int:
    """Processor time in hundredths of a second."""
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@scenario(
    "gateway",
    "kill -9 of the master",
    "with an engine",
    "supervisor and engine end with it",
)
def orphaned(where: Path, stack: contextlib.ExitStack) -> None:
    local = Local(where, stack)
    local.ask("hello").read_events(4)
    processes = [local.engine, *local.gateway.children()]
    local.gateway.signal(signal.SIGKILL)
    local.gateway.wait()
    eventually(lambda: not [pid for pid in processes if Path(f"/proc/{pid}").exists()], at_most(3))
