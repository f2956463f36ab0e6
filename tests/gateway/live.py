"""The server as it is shipped (gunicorn, its worker, our hooks) on a free port, and a client that sees every byte."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from providers.stream.sse import Decoder, Frame
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


class Live:
    """A running server; `port` says where. Its log is in `log`."""

    def __init__(self, configuration: dict[str, Any], port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = tempfile.TemporaryDirectory(prefix="sluice-test-")
        self.folder = Path(self._folder.name)
        self.file = self.folder / "sluice.yaml"
        server = {"bind": f"127.0.0.1:{self.port}", "metrics_bind": None} | configuration.get("server", {})
        self.file.write_text(yaml.safe_dump(configuration | {"server": server}, sort_keys=False), "utf-8")
        self.log = self.folder / "log"
        environ = os.environ | {"SLUICE_CONFIG": str(self.file), "SLUICE_RUN_DIR": str(self.folder / "run")}
        command = [sys.executable, "-m", "gunicorn", "-c", "gateway/server/gunicorn_conf.py", "wsgi:app"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text("utf-8")
            with contextlib.suppress(OSError, AssertionError), self.call("GET", "/healthz") as reply:
                if reply.status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text("utf-8"))

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def workers(self) -> list[int]:
        """The workers' process ids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
        self._folder.cleanup()
        return self.process.returncode

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
        """One request on a connection of its own; returns when the head of the reply is there."""
        return Reply(self.connect(method, path, body, headers))

    def connect(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        receive_bytes: int | None = None,
    ) -> socket.socket:
        """One request sent, nothing read; the kernel keeps about `receive_bytes` of the reply for a slow reader."""
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"Host": "localhost", "Connection": "close"}
        if body is not None:
            told |= {"Content-Type": "application/json", "Content-Length": str(len(sent))}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (told | (headers or {})).items())]
        sock = socket.socket()
        # Only what never comes should end here.
        sock.settimeout(30)
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.connect(("127.0.0.1", self.port))
        sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
        return sock

    def ask(self, question: str = "hi", headers: dict[str, str] | None = None, **fields: Any) -> Reply:
        return self.call("POST", "/getAnwser", {"question": question, **fields}, headers)


@dataclass
class Reply:
    """A reply as it comes: the head is read, `read()` gives the body's pieces as the server wrote them."""

    sock: socket.socket
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    complete: bool = False

    def __post_init__(self) -> None:
        self._buffer = b""
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        head = self._until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def __enter__(self) -> Reply:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self._buffer += data
        return bool(data)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            if not self._more():
                raise ConnectionError(f"the server closed the connection, after {self._buffer!r}")
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def read(self) -> bytes:
        """The next piece of the body; b"" at its end. Raises ConnectionError where the body was cut."""
        if self.complete or self.status in (204, 304):
            return b""
        if "content-length" in self.headers:
            while len(self._buffer) < int(self.headers["content-length"]):
                if not self._more():
                    raise ConnectionError("the body was cut")
            self.complete = True
            return self._buffer
        assert self.headers["transfer-encoding"] == "chunked"
        size = int(self._until(b"\r\n"), 16)
        while len(self._buffer) < size + 2:
            if not self._more():
                raise ConnectionError("the body was cut")
        piece, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
        self.complete = size == 0
        return piece

    def body(self) -> bytes:
        """The rest of the body."""
        return b"".join(iter(self.read, b""))

    def json(self) -> Any:
        return json.loads(self.body())

    def events(self) -> Iterator[Event]:
        """Events as they come, until the body ends."""
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame.data:
                    yield Event(frame.id or "", frame.event or "message", json.loads(frame.data))
            data = self.read()
            if not data:
                return
            self._frames += self._decoder.feed(data)


@dataclass(frozen=True)
class Event:
    id: str
    name: str
    data: dict[str, Any]

    @property
    def n(self) -> int:
        return int(self.id.rpartition(".")[2])


def text_of(events: list[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.name == "message")


def is_worker(pid: int | str) -> bool:
    with open(f"/proc/{pid}/cmdline", "rb") as told:
        return b"gunicorn" in told.read()
