"""A fault proxy: it stands between any two parts, on TCP or a Unix socket, and does to bytes what a network does.

    with Proxy(to=("127.0.0.1", 9001)) as proxy:
        proxy.set(Fault(reset_after=500))     # to connections that are open and to those that come
        proxy.set(None)                       # nothing more

One event loop in a thread of its own; `set` may be called from any thread, and has happened when it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Address = tuple[str, int] | str
READ_BYTES = 65536
RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Fault:
    """What happens to each connection; bytes are counted from the moment the fault is set, and 0 acts at once.

    latency_s         each read goes on so much later
    slices            each read goes on in pieces of these sizes, over and over, each in a write of its own
    reset_after       after so many bytes both sides get a TCP reset (over a Unix socket: a close)
    limit             after so many bytes both sides are closed, cleanly
    half_close_after  after so many bytes the receiver gets an end of file; the other direction goes on
    black_hole_after  after so many bytes nothing goes on in either direction, and nothing is closed
    refuse            a new connection is reset at once
    up                count, slice and delay the bytes towards the server, not those towards the client
    """

    latency_s: float = 0.0
    slices: tuple[int, ...] = ()
    reset_after: int | None = None
    limit: int | None = None
    half_close_after: int | None = None
    black_hole_after: int | None = None
    refuse: bool = False
    up: bool = False

    @property
    def position(self) -> int | None:
        """After how many bytes it strikes; None if it never does."""
        positions = (self.reset_after, self.limit, self.half_close_after, self.black_hole_after)
        return next((position for position in positions if position is not None), None)


class Pair:
    """One connection: its client's side and its server's."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, fault: Fault | None) -> None:
        self._client = client
        self._server = server
        self._fault = fault
        self._passed = 0
        self._slice = 0
        self.lost = False

    def begin(self, fault: Fault | None) -> None:
        """The fault from now on."""
        self._fault, self._passed = fault, 0
        if self.lost:
            # Bytes are missing: what comes now would make no sense to either side.
            self.abort(reset=True)
        elif fault and fault.position == 0:
            self._strike()

    def abort(self, reset: bool) -> None:
        for writer in (self._client, self._server):
            if reset:
                with contextlib.suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                writer.transport.abort()
            else:
                writer.close()

    def _strike(self) -> None:
        fault = self._fault
        assert fault is not None
        if fault.reset_after is not None:
            self.abort(reset=True)
        elif fault.limit is not None:
            self.abort(reset=False)
        elif fault.half_close_after is not None:
            self._end(self._server if fault.up else self._client)
        else:
            self.lost = True

    def _end(self, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            sink.write_eof()

    async def pump(self, source: asyncio.StreamReader, up: bool) -> None:
        """Carry one direction until its source ends; raises OSError where a side is gone."""
        sink = self._server if up else self._client
        while data := await source.read(READ_BYTES):
            fault = self._fault if self._fault and self._fault.up == up else None
            if fault and fault.latency_s:
                await asyncio.sleep(fault.latency_s)
            if self.lost:
                continue
            struck = False
            if fault and fault.position is not None:
                room = fault.position - self._passed
                struck, data = len(data) >= room, data[: max(0, room)]
                self._passed += len(data)
            await self._write(sink, data, fault)
            if struck:
                self._strike()
        if not self.lost:
            self._end(sink)

    async def _write(self, sink: asyncio.StreamWriter, data: bytes, fault: Fault | None) -> None:
        if sink.transport.is_closing():
            raise ConnectionResetError
        if not fault or not fault.slices:
            sink.write(data)
            await sink.drain()
            return
        while data:
            size = fault.slices[self._slice % len(fault.slices)]
            self._slice += 1
            sink.write(data[:size])
            await sink.drain()
            data = data[size:]
            # So that each piece is a segment, and a read, of its own.
            await asyncio.sleep(0)


class Proxy:
    """Listens from the moment it is made; `address` says where.

    to       (host, port), or the path of a Unix socket; may be changed, for the connections to come
    listen   a path: listen on a Unix socket there, instead of a free TCP port
    """

    def __init__(self, to: Address, listen: str | None = None) -> None:
        self.to = to
        self.accepted = 0
        self._fault: Fault | None = None
        self._pairs: set[Pair] = set()
        self._loop = asyncio.new_event_loop()
        if listen is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
            self.address: Address = self._listener.getsockname()
        else:
            Path(listen).unlink(missing_ok=True)
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(listen)
            self._listener.listen(4096)
            self.address = listen
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def port(self) -> int:
        assert not isinstance(self.address, str)
        return self.address[1]

    @property
    def live(self) -> int:
        """Connections that are open."""
        return len(self._pairs)

    def set(self, fault: Fault | None) -> None:
        """The fault from now on, for every connection; those that a black hole took are reset."""

        async def begin() -> None:
            self._fault = fault
            for pair in list(self._pairs):
                pair.begin(fault)

        self._call(begin())

    def cut(self, reset: bool = True) -> None:
        """End the connections that are open; those to come are not touched."""

        async def abort() -> None:
            for pair in list(self._pairs):
                pair.abort(reset)

        self._call(abort())

    def close(self) -> None:
        """Stop listening, reset what is open."""
        if self._loop.is_closed():
            return
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._listener.close()
        self._loop.close()
        if isinstance(self.address, str):
            Path(self.address).unlink(missing_ok=True)

    def _call(self, todo: Any) -> None:
        asyncio.run_coroutine_threadsafe(todo, self._loop).result(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        # Parts that are killed leave half-open pairs behind; that is what this proxy is for, not worth a line each.
        self._loop.set_exception_handler(lambda *_: None)
        start = asyncio.start_unix_server if isinstance(self.address, str) else asyncio.start_server
        self._loop.run_until_complete(start(self._serve, sock=self._listener))
        self._loop.run_forever()
        running = asyncio.all_tasks(self._loop)
        for task in running:
            task.cancel()
        # They end now, not when the garbage collector finds them and their loop closed.
        self._loop.run_until_complete(asyncio.gather(*running, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            if self._fault and self._fault.refuse:
                raise ConnectionRefusedError
            if isinstance(self.to, str):
                from_server, to_server = await asyncio.open_unix_connection(self.to)
            else:
                from_server, to_server = await asyncio.open_connection(*self.to)
        except OSError:
            with contextlib.suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
            return
        pair = Pair(writer, to_server, self._fault)
        self._pairs.add(pair)
        try:
            if self._fault and self._fault.position == 0:
                pair.begin(self._fault)
            await asyncio.gather(pair.pump(reader, up=True), pair.pump(from_server, up=False))
            if pair.lost:
                await asyncio.Event().wait()
        except OSError:
            pair.abort(reset=True)
        finally:
            self._pairs.discard(pair)
            pair.abort(reset=False)
