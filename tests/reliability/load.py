"""Many readers at once, in one event loop of a thread of its own; each stream is recorded for the checker."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import dataclass, field

from tests.reliability.numbered import Part, Recording, problems
from tests.reliability.reader import Reply, question

PATIENCE_S = 60.0
_loads = itertools.count(1)


@dataclass(slots=True)
class Read:
    """One stream that was asked for and read to its end on one connection. Times are seconds, monotonic."""

    recording: Recording
    asked_at: float
    first_at: float = 0.0
    ended_at: float = 0.0
    status: int = 0
    whole: bool = False
    trouble: str = ""

    def problems(self, ends: str = "done") -> list[str]:
        """What is wrong with it; [] if it came whole, in a reply that was framed to its end."""
        if self.trouble:
            return [self.trouble]
        if self.status != 200:
            return [f"status {self.status}: {bytes(self.recording.parts[0].body[:200])!r}"]
        return problems(self.recording, ends) + ([] if self.whole else ["the reply's framing is cut"])


@dataclass
class Load:
    """`streams` readers, each asking for a stream of `provider` with `count` chunks, over and over if `again`.

    begin_s   spread the first questions over so many seconds
    """

    address: tuple[str, int]
    streams: int
    provider: str = "steady"
    count: int = 40
    again: bool = False
    begin_s: float = 0.0
    reads: list[Read] = field(default_factory=list)
    begun: int = 0

    def __enter__(self) -> Load:
        self._name = f"l{next(_loads)}"
        self._stopped = False
        self._names = itertools.count(1)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> list[Read]:
        """Ask nothing new, wait for what runs; every stream's reading."""
        self._stopped = True
        self._thread.join(PATIENCE_S + 30)
        assert not self._thread.is_alive(), "readers still wait"
        return self.reads

    def wait_begun(self, count: int, timeout_s: float = 30.0) -> None:
        """Wait until so many streams have their first event."""
        deadline = time.monotonic() + timeout_s
        while self.begun < count:
            assert time.monotonic() < deadline, f"only {self.begun} of {count} streams began"
            time.sleep(0.02)

    def broken(self, ends: str = "done") -> dict[str, list[str]]:
        """What is wrong with the streams that did not come whole."""
        found = {read.recording.stream: read.problems(ends) for read in self.reads}
        return {stream: wrong for stream, wrong in found.items() if wrong}

    async def _run(self) -> None:
        await asyncio.gather(*(self._reader(n) for n in range(self.streams)))

    async def _reader(self, number: int) -> None:
        await asyncio.sleep(self.begin_s * number / self.streams)
        while True:
            read = Read(Recording(f"{self._name}s{next(self._names)}", self.count, [Part()]), time.monotonic())
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._read(read)
            except TimeoutError:
                read.trouble = f"nothing more after {len(read.recording.parts[0].body)} bytes"
            except OSError as error:
                read.trouble = f"{type(error).__name__}: {error}"
            read.ended_at = time.monotonic()
            self.reads.append(read)
            if not self.again or self._stopped:
                return

    async def _read(self, read: Read) -> None:
        reply = Reply()
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(question(read.recording.stream, self.provider))
            while not reply.whole and (data := await reader.read(65536)):
                reply.feed(data)
                if not read.first_at and b"data:" in reply.body:
                    read.first_at = time.monotonic()
                    self.begun += 1
        finally:
            read.status, read.whole = reply.status, reply.whole
            read.recording.parts[0].body = reply.body
            writer.close()


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie; 0 for none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0
