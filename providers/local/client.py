"""The worker's side of the engine: sends requests and yields each sequence's deltas. No torch.

The connection is opened at the first request. While the engine loads or restarts, a connection waits in the
supervisor's backlog, and a request is sent only after the engine's hello. So a request is either not sent at all, or
fails at once when the engine dies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import copy
from typing import Any
from zlib import crc32

import gevent

from providers.chat import ChatRequest
from providers.configuration import ProviderConfiguration
from providers.delta import Delta, ToolCallDelta, Usage
from providers.errors import (
    ContextTooLong,
    EngineDied,
    EngineFailed,
    Overloaded,
    ProviderError,
    Rejected,
    TimedOut,
    Unreachable,
)
from providers.local import socket_path
from providers.local.connection import Connection, Mailbox
from providers.local.wire import (
    EXTENSIONS,
    MAX_ASK_BYTES,
    PARAMETERS,
    TAGS,
    Ask,
    Cancel,
    Failed,
    Inquire,
    Piece,
    Report,
    frame,
)

FAILURES: dict[str, type[ProviderError]] = {
    "bad_request": Rejected,
    "context_length": ContextTooLong,
    "overloaded": Overloaded,
    "engine_died": EngineDied,
}
# An engine with so many more requests than the idlest one is no longer preferred for its cached prefix.
AFFINITY = 4
SCARCE = 0.1


class Adapter:
    """The local engine as an adapter."""

    def __init__(self, configuration: ProviderConfiguration, name: str = "local") -> None:
        self._configuration = configuration
        self._name = name
        self._connections: list[Connection | None] = [None] * len(configuration.device)

    def check(self, request: ChatRequest) -> None:
        """Raises Rejected for requests that no engine can answer. The engine checks what needs its tokeniser."""
        for message in request.messages:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                if part.get("type") != "text":
                    raise Rejected(f"messages: this provider's model reads text only, got a part {part.get('type')!r}")

    def parameter_changes(self, request: ChatRequest) -> list[str]:
        """What of the request is dropped, each with a reason."""
        unknown = sorted((request.extra.keys() - EXTENSIONS) | (request.sampling.chosen().keys() - PARAMETERS))
        return [f"{name} dropped: the local engine does not have it" for name in unknown]

    def ask(self, request: ChatRequest) -> Iterator[list[Delta]]:
        """One attempt: batches of deltas, one per read.

        Raises a ProviderError. Closing it, or killing the greenlet that iterates it, cancels the sequence at once.
        """
        deadlines = self._configuration.timeouts
        began = time.monotonic()
        connection = self._connection(request, deadlines.first_token)
        assert connection.hello is not None
        id = connection.next_id()
        framed = _framed(_ask(request, self._configuration, connection.hello.epoch, id))
        mailbox = connection.sequences[id] = Mailbox()
        ended = False
        try:
            connection.send(framed)
            kind, last = "first_token", began + deadlines.first_token
            while not ended:
                arrived = _within(mailbox, min(last, began + deadlines.total), kind)
                batch: list[Delta] = []
                for message in arrived:
                    if not isinstance(message, Piece):
                        ended = True
                        if batch:
                            yield batch
                        # A copy, because all sequences of a connection share one exception.
                        raise copy(message) if isinstance(message, ProviderError) else _failure(message)
                    batch += _deltas(message)
                    ended = message.finish_reason is not None
                yield batch
                kind, last = "idle", time.monotonic() + deadlines.idle
        finally:
            del connection.sequences[id]
            if not ended and connection.usable:
                connection.send(Cancel(id))

    def status(self, timeout_s: float = 1.0) -> dict[str, Any]:
        """The engine's report, and `state`: serving, loading, down or absent (with `reason`).

        Of several engines the figures are added up where they can be, and each one's own are in `engines`.
        """
        reports = [self._report(device, timeout_s) for device in range(len(self._connections))]
        if len(reports) == 1:
            return reports[0]
        best = min(reports, key=lambda report: ("serving", "loading", "down", "absent").index(report["state"]))
        alike = ("max_context", "block_tokens", "uptime_s")
        summed = {
            name: value if name in alike else sum(report.get(name, 0) for report in reports)
            for name, value in best.items()
            if isinstance(value, int | float)
        }
        return best | summed | {"engines": reports}

    def _report(self, device: int, timeout_s: float) -> dict[str, Any]:
        try:
            connection = self._ready(device, timeout_s)
        except TimedOut as error:
            connection_so_far = self._connections[device]
            if connection_so_far is None or not connection_so_far.connected:
                return {"state": "absent", "reason": "no local engine is running for this provider"}
            return {"state": "loading", "reason": error.message}
        except Unreachable as error:
            return {"state": "absent", "reason": error.message}
        except ProviderError as error:
            return {"state": "down", "reason": error.message}
        mailbox = Mailbox()
        connection.reports.append(mailbox)
        try:
            connection.send(Inquire())
            with gevent.Timeout(timeout_s, False):
                report = mailbox.take()[0]
                if isinstance(report, Report):
                    return {"state": "serving"} | {name: getattr(report, name) for name in report.__struct_fields__}
                return {"state": "down", "reason": report.message}
            return {"state": "serving", "reason": "the engine is busy and did not report in time"}
        finally:
            connection.reports.remove(mailbox)

    def close(self) -> None:
        """Close the connections; their sequences are cancelled."""
        for connection in self._connections:
            if connection:
                connection.close()
        self._connections = [None] * len(self._connections)

    def _connection(self, request: ChatRequest, timeout_s: float) -> Connection:
        """A connection to the preferred engine, or to the next one if that cannot be reached."""
        if len(self._connections) == 1:
            return self._ready(0, timeout_s)
        failure: ProviderError | None = None
        for device in self._by_preference(request):
            try:
                return self._ready(device, timeout_s)
            except (EngineDied, Unreachable) as error:
                failure = failure or error
        assert failure is not None
        raise failure

    def _by_preference(self, request: ChatRequest) -> list[int]:
        """Devices, best first: the one that got prompts of this beginning before, unless others have far more room."""
        busy = [len(each.sequences) if each else 0 for each in self._connections]
        free = [each.free if each else 1.0 for each in self._connections]
        first = str(request.messages[0].get("content")) if request.messages else ""
        home = crc32(f"{request.cache_salt}\0{first}".encode()) % len(self._connections)
        order = sorted(range(len(self._connections)), key=lambda device: (busy[device], -free[device]))
        crowded = busy[home] > busy[order[0]] + AFFINITY
        if crowded or (free[home] < SCARCE and free[home] < max(free) / 2):
            return order
        return [home, *(device for device in order if device != home)]

    def _ready(self, device: int, timeout_s: float) -> Connection:
        """A connection that has received the engine's hello. Raises TimedOut, EngineDied or Unreachable."""
        connection = self._connections[device]
        if connection is None or not connection.usable:
            connection = Connection(socket_path(self._name, self._configuration, device))
            self._connections[device] = connection
        if not connection.known.wait(timeout_s):
            raise TimedOut("the local engine is still loading its model", deadline="first_token", request_sent=False)
        if connection.down:
            raise EngineDied(connection.down.reason, retry_after=connection.down.retry_after, request_sent=False)
        if connection.ended:
            ended = copy(connection.ended)
            ended.request_sent = False
            raise ended
        return connection


def _within(mailbox: Mailbox, deadline: float, kind: str) -> list[Any]:
    """The messages that arrive until `deadline` (monotonic seconds). Raises TimedOut."""
    if mailbox.arrived:
        return mailbox.take()
    timeout = gevent.Timeout(max(0.0, deadline - time.monotonic()))
    try:
        with timeout:
            return mailbox.take()
    except gevent.Timeout as expired:
        if expired is not timeout:
            raise
        raise TimedOut("the local engine took too long", deadline=kind) from None


def _ask(request: ChatRequest, configuration: ProviderConfiguration, epoch: int, id: int) -> Ask:
    """The engine's message for the request; open parameters take the provider's defaults."""
    think, tags = _thinking(configuration.think_tags)
    return Ask(
        epoch=epoch,
        id=id,
        messages=request.messages,
        sampling=request.sampling.over(configuration.default_sampling),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        cache_salt=request.cache_salt,
        template=configuration.extra.get("chat_template_kwargs", {}),
        constrain=request.constrain or configuration.constrain,
        constrain_schema=request.constrain_schema,
        constrain_dialect=request.constrain_dialect,
        tools=request.tools or [],
        tool_choice=request.tool_choice,
        parallel_tool_calls=request.parallel_tool_calls is not False,
        response_format=request.response_format or {},
        think=think,
        think_tags=tags,
        options={name: value for name, value in request.extra.items() if name in EXTENSIONS and value is not None},
    )


def _thinking(configured: Any) -> tuple[str, tuple[str, str]]:
    """How the engine tells thoughts from text, as `think_tags` is configured: a word, or a pair of tags."""
    if isinstance(configured, list | tuple):
        opening, closing = configured
        return "auto", (opening, closing)
    words = {True: "always", False: "never"}
    return words.get(configured, str(configured)), TAGS


def _framed(ask: Ask) -> bytes:
    """The encoded ask. Raises Rejected or ContextTooLong for one that would make the engine close the connection."""
    try:
        framed = frame(ask)
    except Exception as error:  # noqa: BLE001 - msgpack raises many kinds
        # Integers of more than 64 bits, halves of surrogate pairs, very many levels.
        raise Rejected(f"messages: cannot be sent to the engine: {error}") from None
    if len(framed) > MAX_ASK_BYTES:
        raise ContextTooLong(f"messages: must be at most {MAX_ASK_BYTES:,} bytes for the engine, got {len(framed):,}")
    return framed


def _deltas(piece: Piece) -> list[Delta]:
    calls = [ToolCallDelta(*call) for call in piece.tool_calls or ()]
    deltas = []
    if piece.text or piece.reasoning or calls or piece.logprobs:
        deltas.append(Delta(piece.text, piece.reasoning, calls, logprobs=piece.logprobs))
    if piece.finish_reason:
        prompt, completion = piece.prompt_tokens, piece.completion_tokens
        usage = Usage(prompt, completion, prompt + completion, cached_tokens=piece.cached_tokens)
        if piece.reasoning_tokens:
            usage.reasoning_tokens = piece.reasoning_tokens
        deltas.append(Delta(finish_reason=piece.finish_reason, usage=usage))
    return deltas


def _failure(failed: Failed) -> ProviderError:
    kind = FAILURES.get(failed.code, EngineFailed)
    return kind(
        failed.message,
        retry_after=failed.retry_after,
        request_sent=failed.code != "overloaded",
        upstream_said_retry=failed.code == "overloaded",
    )
