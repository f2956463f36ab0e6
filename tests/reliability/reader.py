"""A reader of one numbered stream on a plain socket: it can leave, return and be rude, and keeps every byte."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.reliability.forms import FORMS, Form
from tests.reliability.numbered import TERMINAL, Event, Part, Recording, ended

PATIENCE_S = 15.0


@dataclass(slots=True)
class Reply:
    """An HTTP reply as it comes: `whole` says that its framing came to its end."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    whole: bool = False
    _pending: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take what one read brought."""
        self._pending += data
        if not self.status:
            head, blank, rest = self._pending.partition(b"\r\n\r\n")
            if not blank:
                return
            first, *lines = head.decode("latin-1").split("\r\n")
            self.status = int(first.split()[1])
            self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            self._pending = rest
        if self.headers.get("transfer-encoding") != "chunked":
            self.body += self._pending
            self._pending = b""
            length = self.headers.get("content-length")
            self.whole = self.status == 204 or (length is not None and len(self.body) >= int(length))
            return
        while not self.whole:
            size, line_end, rest = self._pending.partition(b"\r\n")
            if not line_end or len(rest) < int(size, 16) + 2:
                return
            self.whole = int(size, 16) == 0
            self.body += rest[: int(size, 16)]
            self._pending = rest[int(size, 16) + 2 :]


def request(method: str, path: str, body: Any = None, **headers: str) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    content = b"" if body is None else json.dumps(body).encode()
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


def question(stream: str, provider: str, form: Form = FORMS["answers"], keyed: bool = True, **fields: Any) -> bytes:
    """The request that asks for a numbered stream; asked twice with its key, it is still one answer."""
    path, body = form.asking(stream, provider, fields)
    return request("POST", path, body, **({"Idempotency_Key": stream} if keyed else {}))


class Reader:
    """One stream's reader; `fields` are further ones of its question.

    form     how it asks and comes back; `keyed`: with an Idempotency-Key
    events   those that came, over all its connections; of a form that restarts those of the last one.
             `times` has when, in seconds, monotonic
    broke    the last connection ended before its reply did
    """

    def __init__(
        self,
        address: tuple[str, int],
        stream: str,
        count: int = 40,
        provider: str = "steady",
        form: str = "answers",
        keyed: bool = True,
        **fields: Any,
    ) -> None:
        self.address = address
        self.provider = provider
        self.form = FORMS[form]
        self.keyed = keyed
        self.fields = fields
        self.recording = Recording(stream, count, read=self.form.events, restarts=self.form.restarts)
        self.reply = Reply()
        self.events: list[Event] = []
        self.times: list[float] = []
        self.broke = False
        self.answer_id = ""
        self._sock: socket.socket | None = None
        self._read = 0

    # -- going

    def ask(self) -> Reader:
        """Send the question."""
        return self._send(self._question())

    def ask_on(self, sock: socket.socket) -> Reader:
        """The same over a connection that is there already."""
        return self._send(self._question(), sock=sock)

    def _question(self) -> bytes:
        return question(self.recording.stream, self.provider, self.form, self.keyed, **self.fields)

    def follow(self, address: tuple[str, int] | None = None) -> Reader:
        """Return to the answer, after the last event that came; who knows no answer asks again, with the same key."""
        self.address = address or self.address
        return self._follow()

    def follow_on(self, sock: socket.socket) -> Reader:
        """The same over a connection that is there already."""
        return self._follow(sock)

    def _follow(self, sock: socket.socket | None = None) -> Reader:
        returning = self.form.returning(self)
        if returning is None:
            return self._send(self._question(), sock=sock)
        path, headers = returning
        wanted = request("GET", path, **{name.replace("-", "_"): value for name, value in headers.items()})
        return self._send(wanted, after=self.events[-1].id if self.events else "", sock=sock)

    def _send(self, wanted: bytes, after: str = "", sock: socket.socket | None = None) -> Reader:
        self.leave()
        self.recording.parts.append(Part(after))
        self.reply, self._read, self.broke = Reply(), 0, False
        if self.form.restarts:
            self.events, self.times = [], []
        try:
            self._sock = sock or socket.create_connection(self.address, PATIENCE_S)
            self._sock.sendall(wanted)
        except OSError:
            self.broke = True
        return self

    # -- reading

    def read(
        self,
        until: Callable[[Reader], bool] | None = None,
        timeout_s: float = PATIENCE_S,
        silence_s: float | None = None,
    ) -> Reader:
        """Read until `until` holds, the reply is whole or its connection has ended; raises TimeoutError.

        silence_s   give the connection up when no byte came for so long, heartbeats counted
        """
        deadline = time.monotonic() + timeout_s
        while not self.over and not (until and until(self)):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.recording.stream}: nothing more after {len(self.events)} events")
            self._sock.settimeout(left if silence_s is None else min(left, silence_s))  # type: ignore[union-attr]
            try:
                data = self._sock.recv(65536)  # type: ignore[union-attr]
            except TimeoutError:
                self.broke = silence_s is not None
                continue
            except OSError:
                data = b""
            if data:
                self._take(data)
            else:
                self.broke = True
        return self

    def read_events(self, count: int) -> Reader:
        """Read until `count` events came in all."""
        return self.read(lambda reader: len(reader.events) >= count)

    def read_bytes(self, count: int) -> Reader:
        """Read at most `count` bytes, of the head too, and not one more."""
        while count and not self.over:
            self._sock.settimeout(PATIENCE_S)  # type: ignore[union-attr]
            try:
                data = self._sock.recv(count)  # type: ignore[union-attr]
            except OSError:
                data = b""
            if data:
                count -= len(data)
                self._take(data)
            else:
                self.broke = True
        return self

    def read_in_pieces(self, dice: random.Random, most_bytes: int) -> int:
        """Read to the end, leaving after every 1 to `most_bytes` bytes and coming back; returns how often it left."""
        left = 0
        while not self.read_bytes(dice.randint(1, most_bytes)).over:
            self.leave(reset=dice.random() < 0.5)
            self.follow()
            left += 1
        return left

    def _take(self, data: bytes) -> None:
        self.reply.feed(data)
        part = self.recording.parts[-1]
        part.status = self.reply.status
        self.answer_id = self.reply.headers.get("x-answer-id", self.answer_id)
        if self.reply.status == 200:
            part.body = self.reply.body
            complete = self.reply.body.rfind(b"\n\n") + 2
            if complete > self._read:
                # A form that counts its events itself counts them from the beginning.
                first = 0 if self.form.restarts else self._read
                new = list(self.form.events(bytes(self.reply.body[first:complete])))
                new = new[len(self.events) :] if self.form.restarts else new
                self._read = complete
                self.events += new
                self.times += [time.monotonic()] * len(new)

    @property
    def over(self) -> bool:
        return self.broke or self.reply.whole

    @property
    def end(self) -> str:
        """How it ended: done, failed:<code>, a status with its code such as `502:truncated`, cut; "" if it did not."""
        if self.events and self.events[-1].name in TERMINAL:
            return ended(self.events[-1])
        if self.reply.status >= 400:
            try:
                return f"{self.reply.status}:{json.loads(self.reply.body)['error']['code']}"
            except (ValueError, KeyError, TypeError):
                return f"{self.reply.status}"
        return "cut" if self.broke else ""

    # -- leaving

    def leave(self, reset: bool = False) -> float:
        """Close the connection, with a TCP reset if `reset`; returns when it was done (seconds, monotonic)."""
        if self._sock is not None:
            if reset:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._sock.close()
            self._sock = None
        return time.monotonic()

    def half_close(self) -> float:
        """Shut the sending side."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]
        return time.monotonic()

    @property
    def port(self) -> int:
        """This side's port, by which the worker that serves it can be found."""
        assert self._sock is not None
        return int(self._sock.getsockname()[1])


def fetch(address: tuple[str, int], method: str, path: str, body: Any = None, **headers: str) -> Reply:
    """One whole request and its reply."""
    reply = Reply()
    with socket.create_connection(address, PATIENCE_S) as sock:
        sock.sendall(request(method, path, body, Connection="close", **headers))
        while not reply.whole and (data := sock.recv(65536)):
            reply.feed(data)
    return reply
