"""Instructions that the worker executes for each unit of the stream path: `make instructions`.

Counted by valgrind's callgrind, so load on the machine does not change them; they repeat within 1 %.

question          one question on /v1/chat/completions whose reply has 3 chunks in one write, connections kept
burst_chunk       one chunk of a reply of 200 chunks in one write
paced_chunk       one chunk that comes alone: the next one is sent when the client has this one
paced_chunk_sse   the same on /getAnwser

The committed counts are in benchmarks/results/instructions.json. Exit code 1 where one of them has grown by more than
10 %, on the Python that they were counted with; `--write` writes the new ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import yaml

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "benchmarks" / "results" / "instructions.json"
CONTROL = "callgrind_control"
MORE_ALLOWED = 1.10
SHORT, LONG = 3, 200
QUESTIONS, STREAMS, PACED = 40, 5, 60
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
# A worker under callgrind is some fifty times slower, on a machine that may be busy too.
TIMEOUT_S = 300


def frame(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    """One of vLLM's frames, as one chunk of an HTTP body."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


TOKEN = frame({"content": " token"})
LAST = frame({"content": ""}, "stop") + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Upstream:
    """Answers with as many chunks as the question says: in one write, or, paced, each after a `more.release()`."""

    def __init__(self) -> None:
        self.more = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            while body := _request(sock):
                how, _, chunks = json.loads(body)["messages"][-1]["content"].partition(" ")
                if how == "whole":
                    sock.sendall(HEAD + TOKEN * int(chunks) + LAST)
                    continue
                sock.sendall(HEAD)
                for _ in range(int(chunks)):
                    self.more.acquire()
                    sock.sendall(TOKEN)
                self.more.acquire()
                sock.sendall(LAST)


def _request(sock: socket.socket) -> bytes:
    """The body of the next request; b"" at the end of the connection."""
    received = b""
    while True:
        head, end, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and length and len(body) >= int(length[1]):
            return body
        if not (data := sock.recv(65536)):
            return b""
        received += data


class Worker:
    """Sluice's one worker under callgrind, and a client's connection to it."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        provider = {
            "type": "openai", "base_url": f"http://127.0.0.1:{upstream.port}/v1", "model": "m", "retries": 0,
            "timeouts": {"connect": 60, "first_token": TIMEOUT_S, "idle": TIMEOUT_S, "total": 3 * TIMEOUT_S},
        }  # fmt: skip
        server = {"bind": f"127.0.0.1:{self.port}", "metrics_bind": None, "workers": 1}
        configuration = {"default": "p", "providers": {"p": provider}, "server": server | {"commit_after_s": TIMEOUT_S}}
        file = folder / "sluice.yaml"
        file.write_text(yaml.safe_dump(configuration), "utf-8")
        self._folder, self._upstream = folder, upstream
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--trace-children=yes", "-q"]
        command += [f"--callgrind-out-file={folder}/out.%p", sys.executable, "-m", "gunicorn"]
        environment = {"SLUICE_CONFIG": str(file), "SLUICE_RUN_DIR": str(folder / "run"), "PYTHONHASHSEED": "1"}
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "-c", "benchmarks/gateway/counted_conf.py", "wsgi:app"],
                cwd=ROOT, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._dumps = 0
        self._sock = self._connected()
        self.pid = self._worker()

    def close(self) -> None:
        self._sock.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _connected(self) -> socket.socket:
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise SystemExit(f"the server did not start:\n{(self._folder / 'log').read_text('utf-8')}")
            with contextlib.suppress(OSError):
                sock = socket.create_connection(("127.0.0.1", self.port), TIMEOUT_S)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
            time.sleep(0.2)
        raise SystemExit("the server did not start in time")

    def _worker(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self.ask("/v1/chat/completions", "whole", SHORT)
        return int(children.read_text().split()[-1])

    def ask(self, path: str, how: str, chunks: int) -> None:
        """Ask, and read the reply to its end."""
        content = f"{how} {chunks}"
        fields = {"question": content, "database": "none"}
        if path.startswith("/v1"):
            fields = {"stream": True, "messages": [{"role": "user", "content": content}]}
        body = json.dumps(fields).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        self._sock.sendall(head.encode() + b"\r\n\r\n" + body)
        if how == "paced":
            self._upstream.more.release()
        received, seen = b"", 0
        while not received.endswith(b"\r\n0\r\n\r\n") and received != b"0\r\n\r\n":
            if not (data := self._sock.recv(65536)):
                raise SystemExit(f"the connection ended:\n{(self._folder / 'log').read_text('utf-8')}")
            received += data
            if how == "paced":
                tokens = received.count(b" token")
                for _ in range(tokens - seen):
                    self._upstream.more.release()
                seen = tokens
        text = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", received.partition(b"\r\n\r\n")[2])
        if text.count(b" token") != chunks or b" 200 " not in received[:20]:
            raise SystemExit(f"not the reply that was sent: {received!r}")

    def counted(self, run: Callable[[], object]) -> tuple[int, float]:
        """Instructions that the worker executes while `run` does, and the seconds it took."""
        # The server closes a connection that was idle.
        self._sock.close()
        self._sock = self._connected()
        self._control("-z")
        began = time.monotonic()
        run()
        took = time.monotonic() - began
        self._control("-d")
        self._dumps += 1
        dump = (self._folder / f"out.{self.pid}.{self._dumps}").read_text("utf-8", "replace")
        found = re.search(r"^summary: (\d+)", dump, re.MULTILINE)
        assert found is not None, "callgrind wrote no summary"
        return int(found[1]), took

    def start_counting(self) -> None:
        self._control("-i", "on")

    def _control(self, *arguments: str) -> None:
        command = [CONTROL, *arguments, str(self.pid)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode or "Error" in done.stdout + done.stderr:
            raise SystemExit(f"callgrind_control failed: {done.stdout}{done.stderr}")


@contextlib.contextmanager
def worker() -> Iterator[Worker]:
    with tempfile.TemporaryDirectory(prefix="sluice-count-", ignore_cleanup_errors=True) as name:
        running = Worker(Path(name), Upstream())
        try:
            yield running
        finally:
            running.close()


def count() -> dict[str, int]:
    """Unit → instructions."""
    api, sse = "/v1/chat/completions", "/getAnwser"
    with worker() as running:
        running.start_counting()
        for path, how, chunks in ((api, "whole", SHORT), (api, "whole", LONG), (api, "paced", 9), (sse, "paced", 9)):
            for _ in range(3):
                running.ask(path, how, chunks)
        # The worker's timers, which tick while a unit is counted.
        idle, seconds = running.counted(lambda: time.sleep(5))
        per_s = idle / seconds

        def total(times: int, path: str, how: str, chunks: int) -> float:
            def run() -> None:
                for _ in range(times):
                    running.ask(path, how, chunks)

            found, took = running.counted(run)
            return (found - per_s * took) / times

        question = total(QUESTIONS, api, "whole", SHORT)
        burst = (total(STREAMS, api, "whole", LONG) - question) / (LONG - SHORT)
        # What does not belong to a chunk is the same in both.
        paced = (total(STREAMS, api, "paced", PACED) - total(STREAMS, api, "paced", SHORT)) / (PACED - SHORT)
        paced_sse = (total(STREAMS, sse, "paced", PACED) - total(STREAMS, sse, "paced", SHORT)) / (PACED - SHORT)
    named = {"question": question, "burst_chunk": burst, "paced_chunk": paced, "paced_chunk_sse": paced_sse}
    return {name: round(value) for name, value in named.items()}


@click.command(help=__doc__)
@click.option("--write", is_flag=True, help="Write the counts as the committed ones.")
def main(write: bool) -> None:
    if shutil.which(CONTROL) is None:
        print(f"instructions: skipped, {CONTROL} is not here (install valgrind)")
        return
    python = " ".join(sys.version.split())
    found = count()
    if write:
        COMMITTED.write_text(json.dumps({"python": python, "instructions": found}, indent=2) + "\n", "utf-8")
    committed = (
        json.loads(COMMITTED.read_text("utf-8")) if COMMITTED.exists() else {"python": "", "instructions": found}
    )
    grown = []
    for name, value in found.items():
        before = committed["instructions"][name]
        print(f"{name:<16} {value:>10,}   committed {before:>10,}   {value / before - 1:+.1%}")
        if value > before * MORE_ALLOWED:
            grown.append(name)
    if committed["python"] != python:
        print(f"instructions: not judged, the committed ones were counted with Python {committed['python']}")
    elif grown:
        print(f"instructions: more than 10 % above the committed counts: {', '.join(grown)}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
