"""A random fault each second under readers that come and go: `python -m tests.reliability.soak --seed N --seconds N`.

The faults follow from the seed alone, so a run that failed can be played again. Two workers with Redis, behind nginx,
and a fault proxy at every dash of client ─ nginx ─ gateway ─ upstream and gateway ─ Redis. What must hold:

- every stream ends: with its one terminal event, or with a status that says why; never in silence
- no gap, repeat, reorder or foreign byte in any of them; the upstream asked once for each
- streams started = Σ ended, one log line each (but for those that died with a killed worker)
- afterwards memory, descriptors and greenlets are back where they were

In the second half no worker is killed or replaced, so that whatever leaks has time to show.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.reliability.numbered import problems
from tests.reliability.proxy import Fault, Proxy
from tests.reliability.reader import Reader
from tests.reliability.rig import STREAMS, Chain, Redis, changed, descriptors, folder, memory_bytes
from tests.waiting import eventually

READERS = 12
PROVIDERS = ("quick", "steady", "slow", "late", "lull")
SILENCE_S = 2.5
RETURNS = 40
LOG_AGE_S = 8
# What a reader does not take for the end, and after how many 404 in a row it believes them.
AGAIN = ("502", "503:overloaded", "503:shutting_down", "404")
UNKNOWN = 20
FAULTS = {
    "reset": Fault(reset_after=0),
    "reset after 2000 bytes": Fault(reset_after=2000),
    "close": Fault(limit=0),
    "half-close": Fault(half_close_after=0),
    "latency": Fault(latency_s=0.05),
    "slices": Fault(slices=(1, 2, 5, 11)),
    "black hole": Fault(black_hole_after=0),
    "refused": Fault(refuse=True),
}
REPLACING = ("worker kill -9", "SIGHUP")
PARTS = ("nginx reload", "nginx worker kill -9", "redis kill -9", *REPLACING)
# What may be left over: a connection kept for the next question, a timer.
SPARE_DESCRIPTORS = 12
SPARE_GREENLETS = 12
SPARE_BYTES = 24 << 20


@dataclass
class Soak:
    """One run.

    wrong   what did not hold, a sentence each
    ends    how the streams ended
    before, after   memory, descriptors and greenlets of the largest worker, when nobody is served
    """

    seed: int
    seconds: float
    say: Callable[[str], None] = print
    wrong: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    killed: int = 0
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)

    def run(self) -> list[str]:
        """Play it; returns `wrong`."""
        with folder() as where, contextlib.ExitStack() as stack:
            self.redis = Redis(where / "redis")
            stack.callback(lambda: self.redis.kill())
            self.to_redis = stack.enter_context(Proxy(to=("127.0.0.1", self.redis.port)))
            server = {
                "workers": 2, "redis_url": f"redis://127.0.0.1:{self.to_redis.port}/0", "resume_window_s": 3,
                "log_age_s": LOG_AGE_S, "drain_s": 5,
            }  # fmt: skip
            self.chain = Chain(where, stack, server=server, environ=changed("probe"))
            self.places = self.chain.places | {"gateway–Redis": self.to_redis}
            self._stopped = threading.Event()
            self._lock = threading.Lock()
            self._redis_failed_at: list[float] = []
            self._read_for(3)
            self.before = self._figures()
            self._stopped.clear()
            readers = self._readers()
            self._break()
            self._stopped.set()
            for thread in readers:
                thread.join(60)
                if thread.is_alive():
                    self.wrong.append("a reader still waits a minute after the last fault")
            self._accounts()
            self._compare()
        return self.wrong

    # -- readers

    def _readers(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self._read, args=(n,), daemon=True) for n in range(READERS)]
        for thread in threads:
            thread.start()
        return threads

    def _read_for(self, seconds: float) -> None:
        readers = self._readers()
        time.sleep(seconds)
        self._stopped.set()
        for thread in readers:
            thread.join(60)

    def _read(self, number: int) -> None:
        dice = random.Random(self.seed * 1000 + number)
        count = 0
        while not self._stopped.is_set():
            count += 1
            provider = dice.choice(PROVIDERS)
            stream = f"r{number}-{count}-{time.monotonic_ns()}"
            reader = Reader(self.chain.to_nginx.address, stream, STREAMS[provider][1], provider)  # type: ignore[arg-type]
            try:
                end = self._follow(reader, dice)
            except TimeoutError as error:
                end = "silence"
                self._note(f"silence: {error}")
            reader.leave()
            with self._lock:
                self.ends[end] += 1

    def _follow(self, reader: Reader, dice: random.Random) -> str:
        """Read the stream to its end, coming back whenever it is cut; returns how it ended."""
        begun_at = time.monotonic()
        reader.ask()
        unknown = 0
        for attempt in range(RETURNS):
            if attempt:
                reader.leave(reset=dice.random() < 0.5)
                time.sleep(dice.uniform(0.05, 0.4))
                reader.follow()
            if dice.random() < 0.1:
                reader.read_events(len(reader.events) + 3)
            else:
                reader.read(silence_s=SILENCE_S)
            # While Redis fails, the worker that does not have the answer says 404; nginx's 502 says nothing about it.
            if not reader.end.startswith("502"):
                unknown = unknown + 1 if reader.end.startswith("404") else 0
            if reader.end in ("", "cut") or (reader.end.startswith(AGAIN) and unknown < UNKNOWN):
                continue
            break
        end = reader.end or "cut"
        ends = end if end.startswith(("done", "failed")) else ""
        for problem in problems(reader.recording, ends=ends):
            if problem != "no event came":
                self._note(f"{reader.recording.stream}: {problem}")
        asked = len(self.chain.asked(reader.recording.stream))
        # With Redis gone and the worker dead too nobody can know that a key was used before.
        if asked > 1 and not self._redis_failed(begun_at):
            self._note(f"{reader.recording.stream}: the upstream was asked {asked} times")
        if not ends and not end.startswith("503:worker_died") and not self._forgotten(end, reader.answer_id, begun_at):
            parts = Counter((part.status, len(part.body)) for part in reader.recording.parts)
            self._note(f"{reader.recording.stream}, answer {reader.answer_id}: {end}; (status, bytes): {dict(parts)}")
        return end

    def _forgotten(self, end: str, answer_id: str, since: float) -> bool:
        """Whether a 404 is right: LOG_AGE_S after the end, or when worker and Redis both died."""
        if not end.startswith("404"):
            return False
        logged = any(line.get("id") == answer_id for line in self.chain.gateway.answers_logged())
        return logged or (self.killed > 0 and self._redis_failed(since))

    def _redis_failed(self, since: float) -> bool:
        return any(at >= since - 6 for at in self._redis_failed_at)

    def _note(self, problem: str) -> None:
        with self._lock:
            self.wrong.append(problem)
        self.say(f"WRONG {problem}")

    # -- faults

    def _break(self) -> None:
        dice = random.Random(self.seed)
        begun_at = time.monotonic()
        for second in range(int(self.seconds)):
            quiet = second >= self.seconds / 2
            kind = dice.choice([part for part in PARTS if not (quiet and part in REPLACING)] + [*self.places] * 2)
            name, lasts_s = dice.choice(list(FAULTS)), dice.uniform(0.05, 0.9)
            self.faults[kind] += 1
            self.say(f"{second:4d} s  {kind}" + (f": {name} for {lasts_s:.2f} s" if kind in self.places else ""))
            if kind in ("gateway–Redis", "redis kill -9"):
                self._redis_failed_at.append(time.monotonic())
            if kind in self.places:
                self.places[kind].set(FAULTS[name])
                time.sleep(lasts_s)
                self.places[kind].set(None)
            else:
                self._break_part(kind, dice)
            time.sleep(max(0.0, begun_at + second + 1 - time.monotonic()))

    def _break_part(self, part: str, dice: random.Random) -> None:
        chain = self.chain
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            if part == "worker kill -9":
                workers = chain.gateway.workers()
                if workers:
                    self.killed += 1
                    os.kill(dice.choice(workers), signal.SIGKILL)
            elif part == "SIGHUP":
                chain.gateway.signal(signal.SIGHUP)
            elif part == "nginx reload":
                chain.nginx.signal(signal.SIGHUP)
            elif part == "nginx worker kill -9":
                children = Path(f"/proc/{chain.nginx.pid}/task/{chain.nginx.pid}/children").read_text().split()
                os.kill(int(dice.choice(children)), signal.SIGKILL)
            else:
                self.redis.signal(signal.SIGKILL)
                self.redis.wait()
                self.redis.start()

    # -- afterwards

    def _accounts(self) -> None:
        gateway = self.chain.gateway
        try:
            started, ended, _ = eventually(gateway.settled_accounts, 30)
        except TimeoutError:
            self._note(f"still in flight: {gateway.accounts()[2]:g}")
            return
        lines = len(gateway.answers_logged())
        missing = started - sum(ended.values())
        # A killed worker takes the ends of what it was producing with it, and may do so between metric and log line.
        if not 0 <= missing <= self.killed * READERS or abs(lines - sum(ended.values())) > self.killed:
            self._note(f"{started:g} started, {sum(ended.values()):g} ended, {lines} log lines")

    def _figures(self) -> dict[str, float]:
        """Memory, descriptors and greenlets of the largest worker, when all that may be forgotten is forgotten."""
        gateway = self.chain.gateway
        eventually(lambda: len(gateway.workers()) == 2 and gateway.accounts()[2] == 0, 60)
        time.sleep(LOG_AGE_S + 6)
        workers = gateway.workers()
        for pid in workers:
            os.kill(pid, signal.SIGWINCH)
        files = [gateway.folder / "run" / f"greenlets-{pid}" for pid in workers]
        eventually(lambda: all(file.exists() and file.read_text().endswith("\n") for file in files))
        figures: dict[str, float] = {
            "bytes": max(map(memory_bytes, workers)),
            "descriptors": max(len(descriptors(pid)) for pid in workers),
            "greenlets": max(int(file.read_text()) for file in files),
        }
        for file in files:
            file.unlink()
        return figures

    def _compare(self) -> None:
        self.after = self._figures()
        self.say(f"before {self.before}\nafter  {self.after}")
        spare = {"bytes": SPARE_BYTES, "descriptors": SPARE_DESCRIPTORS, "greenlets": SPARE_GREENLETS}
        for name, room in spare.items():
            if self.after[name] > self.before[name] + room:
                self._note(f"{name}: {self.before[name]:g} before, {self.after[name]:g} after")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--seconds", type=float, default=600.0)
    arguments = parser.parse_args()
    soak = Soak(arguments.seed, arguments.seconds)
    print(f"seed {soak.seed}, {soak.seconds:g} s")
    wrong = soak.run()
    print(f"faults: {dict(soak.faults)}\nends: {dict(soak.ends)}")
    print(f"seed {soak.seed}: {sum(soak.ends.values())} streams, {len(wrong)} promises broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
