"""The worker's side of the engine: asks, and gives each sequence's deltas to whoever iterates them. No torch.

The connection is made at the first question. While the engine loads or restarts, a connection waits in the keeper's
backlog, and the question is sent only when the engine has said hello: so a question is either never sent, or fails at
once when the engine dies.
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
from providers.delta import Delta, Usage
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
from providers.local.wire import MAX_ASK_BYTES, Ask, Cancel, Failed, Inquire, Piece, Report, frame

FAILURES: dict[str, type[ProviderError]] = {
    "bad_request": Rejected,
    "context_length": ContextTooLong,
    "overloaded": Overloaded,
    "engine_died": EngineDied,
}
# How many more questions an engine may have than the idlest one before a prefix in its cache no longer decides.
AFFINITY = 4
SCARCE = 0.1


class Adapter:
    """Asks the engine; the interface that every adapter has."""

    def __init__(self, configuration: ProviderConfiguration, name: str = "local") -> None:
        self._configuration = configuration
        self._name = name
        self._connections: list[Connection | None] = [None] * len(configuration.device)

    def check(self, request: ChatRequest) -> None:
        """Raises Rejected for what no engine could answer; what takes its tokeniser to know, it judges itself."""
        for message in request.messages:
            content = message.get("content")
            if isinstance(content, list) and any(part.get("type") != "text" for part in content):
                raise Rejected("this provider's model reads text only")

    def adjusted(self, request: ChatRequest) -> list[str]:
        """What of the request is left out, each with a reason."""
        left_out = []
        if request.tools:
            left_out.append("tools dropped: the local engine has no tool calls")
        if request.response_format and request.response_format.get("type") not in (None, "text"):
            left_out.append("response_format dropped: the local engine has none")
        return left_out

    def ask(self, request: ChatRequest) -> Iterator[list[Delta]]:
        """One attempt: batches of deltas, one for each time there was something to read.

        Raises a ProviderError. Closing it, or killing the greenlet that iterates it, cancels the sequence at once.
        """
        deadlines = self._configuration.timeouts
        began = time.monotonic()
        connection = self._chosen(request, deadlines.first_token)
        assert connection.hello is not None
        id = connection.next_id()
        framed = _framed(_asked(request, self._configuration, connection.hello.epoch, id))
        mailbox = connection.sequences[id] = Mailbox()
        ended = False
        try:
            connection.send(framed)
            kind, last = "first_token", began + deadlines.first_token
            while not ended:
                arrived = _within(mailbox, min(last, began + deadlines.total), kind)
                batch: list[Delta] = []
                for told in arrived:
                    if not isinstance(told, Piece):
                        ended = True
                        if batch:
                            yield batch
                        # A copy: the end of a connection is one exception for all its sequences.
                        raise copy(told) if isinstance(told, ProviderError) else _failure(told)
                    batch += _deltas(told)
                    ended = told.finish_reason is not None
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
            found = self._connections[device]
            if found is None or not found.connected:
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
        """Close the connections; whatever runs over them is cancelled."""
        for connection in self._connections:
            if connection:
                connection.close()
        self._connections = [None] * len(self._connections)

    def _chosen(self, request: ChatRequest, timeout_s: float) -> Connection:
        """A connection to the engine that should answer; the next best one where that cannot be asked."""
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
        """Devices, best first: where prompts that begin like this one went before, unless others have far more room."""
        busy = [len(each.sequences) if each else 0 for each in self._connections]
        free = [each.free if each else 1.0 for each in self._connections]
        first = str(request.messages[0].get("content")) if request.messages else ""
        home = crc32(f"{request.salt}\0{first}".encode()) % len(self._connections)
        order = sorted(range(len(self._connections)), key=lambda device: (busy[device], -free[device]))
        crowded = busy[home] > busy[order[0]] + AFFINITY
        if crowded or (free[home] < SCARCE and free[home] < max(free) / 2):
            return order
        return [home, *(device for device in order if device != home)]

    def _ready(self, device: int, timeout_s: float) -> Connection:
        """A connection over which that engine has said hello. Raises TimedOut, EngineDied or Unreachable."""
        connection = self._connections[device]
        if connection is None or not connection.usable:
            connection = Connection(socket_path(self._name, self._configuration, device))
            self._connections[device] = connection
        if not connection.known.wait(timeout_s):
            raise TimedOut("the local engine is still loading its model", deadline="first_token", asked=False)
        if connection.down:
            raise EngineDied(connection.down.reason, retry_after=connection.down.retry_after, asked=False)
        if connection.ended:
            ended = copy(connection.ended)
            ended.asked = False
            raise ended
        return connection


def _within(mailbox: Mailbox, deadline: float, kind: str) -> list[Any]:
    """What came, waiting until `deadline` (monotonic seconds). Raises TimedOut."""
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


def _asked(request: ChatRequest, configuration: ProviderConfiguration, epoch: int, id: int) -> Ask:
    """The request as the engine takes it: what it leaves open is as the provider's defaults say."""
    defaults = configuration.defaults
    told = {
        name: value if (value := getattr(request, name)) is not None else getattr(defaults, name)
        for name in (
            "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
            "max_tokens", "seed",
        )
    }  # fmt: skip
    return Ask(
        epoch=epoch,
        id=id,
        messages=request.messages,
        stop=list(request.stop or defaults.stop),
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        salt=request.salt,
        template=configuration.extra.get("chat_template_kwargs", {}),
        constrain=request.constrain or configuration.constrain,
        constrain_schema=request.constrain_schema,
        constrain_dialect=request.constrain_dialect,
        **told,
    )


def _framed(ask: Ask) -> bytes:
    """The ask as it goes over the socket. Raises Rejected for what the engine would close the connection for."""
    try:
        framed = frame(ask)
    except Exception as error:  # noqa: BLE001 - msgpack raises many kinds
        # Integers of more than 64 bits, halves of surrogate pairs, very many levels.
        raise Rejected(f"a message of this conversation cannot be sent to the engine: {error}") from None
    if len(framed) > MAX_ASK_BYTES:
        raise ContextTooLong(f"the messages take {len(framed):,} bytes; the engine takes {MAX_ASK_BYTES:,} at most")
    return framed


def _deltas(piece: Piece) -> list[Delta]:
    deltas = [Delta(piece.text, logprobs=piece.logprobs)] if piece.text or piece.logprobs else []
    if piece.finish_reason:
        prompt, completion = piece.prompt_tokens, piece.completion_tokens
        usage = Usage(prompt, completion, prompt + completion, cached_tokens=piece.cached_tokens)
        deltas.append(Delta(finish_reason=piece.finish_reason, usage=usage))
    return deltas


def _failure(failed: Failed) -> ProviderError:
    kind = FAILURES.get(failed.code, EngineFailed)
    return kind(
        failed.message,
        retry_after=failed.retry_after,
        asked=failed.code != "overloaded",
        try_again=failed.code == "overloaded",
    )
