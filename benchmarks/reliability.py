"""The figures behind docs/reliability.md, through the shipped nginx.conf: `python -m benchmarks.reliability [NAME …]`.

streams    2,000 streams at once through one worker: chunks lost, repeated, reordered, foreign; what they cost
leaving    how soon the upstream is closed when the client leaves, in four windows, direct and through nginx
resuming   10,000 cuts at random bytes of running streams: byte-identical, the upstream asked once
soak       ten minutes with a random fault each second: every promise kept, and nothing left over

Numbered chunks, judged offline by tests/reliability/numbered.py. Results go to results/reliability.md.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections import Counter
from pathlib import Path

import click

from providers.scripted import Upstream
from tests.reliability.__main__ import versions
from tests.reliability.load import Load, percentile
from tests.reliability.numbered import problems
from tests.reliability.reader import Reader
from tests.reliability.rig import (
    STREAMS,
    Chain,
    Gateway,
    Nginx,
    UpstreamProcess,
    connecting_to,
    descriptors,
    folder,
    memory_bytes,
    unreachable,
)
from tests.reliability.soak import READERS, Soak
from tests.waiting import eventually

RESULT = Path(__file__).with_name("results") / "reliability.md"
CLOSED_S = 0.2


def streams(count: int, chunks: int, every_s: float) -> list[str]:
    """`count` streams at once, each of `chunks` chunks `every_s` apart, begun within 10 s."""
    with folder() as where, contextlib.ExitStack() as stack:
        upstream = UpstreamProcess(where / "upstream")
        stack.callback(upstream.kill)
        provider = {
            "type": "openai", "base_url": [upstream.url + "/v1"], "model": f"m@count={chunks},pace={every_s}",
            "timeouts": {"first_token": 60},
        }  # fmt: skip
        server = {"workers": 1, "max_streams": count, "heartbeat_s": 10}
        gateway = Gateway(where / "gateway", server=server, providers={"load": provider})
        stack.callback(gateway.kill)
        nginx = Nginx(where / "nginx", gateway.port)
        stack.callback(nginx.kill)
        worker = gateway.workers()[0]
        before = memory_bytes(worker)
        with Load(nginx.address, count, "load", chunks, begin_s=10) as load:
            load.wait_begun(count, 120)
            eventually(lambda: gateway.accounts()[2] == count, 30)
            grown = memory_bytes(worker) - before
            reads = load.finish()
        wrong = load.broken()
        asked = upstream.asked()
        first = [read.first_at - read.asked_at for read in reads]
        stall = stalls(gateway)
    kinds = Counter(problem.split(":")[0] for found in wrong.values() for problem in found)
    lost = dict(kinds) or 0
    waited = f"{ms(first, 0.5)} · {ms(first, 0.99)} · {ms(first, 1)}"
    return [
        "## Streams at once",
        "",
        f"{count:,} streams of {chunks} chunks, {every_s:g} s apart, through nginx and one worker.",
        "",
        "| | |",
        "|---|---|",
        f"| streams that came whole | {len(reads) - len(wrong):,} of {len(reads):,} |",
        f"| chunks lost, repeated, reordered, foreign | {lost} of {len(reads) * chunks:,} |",
        f"| upstream asked | {sum(asked.values()):,} times, at most {max(asked.values())} a stream |",
        f"| first text, p50 · p99 · max (the upstream says it after {every_s:g} s) | {waited} |",
        f"| worker's memory, each open stream | {grown / count / 1024:.0f} KB |",
        f"| event loop late by more than 50 ms | {stall} |",
    ]


def stalls(gateway: Gateway) -> str:
    """How often the worker's loop ran its timer more than 50 ms late."""
    samples = gateway.metrics()
    within = samples.get('sluice_event_loop_stall_seconds_bucket{le="0.05"}', 0)
    measured = samples.get('sluice_event_loop_stall_seconds_bucket{le="+Inf"}', 0)
    return f"{measured - within:g} of {measured:g} times"


def leaving(samples: int) -> list[str]:
    """From the client's close to the upstream's; the heartbeat is 10 s, so only the watched socket can tell."""
    rows = []
    with folder() as where, contextlib.ExitStack() as stack:
        chain = Chain(where, stack, server={"resume_window_s": 0, "heartbeat_s": 10})
        for window, provider in (
            ("before the first token", "mute"),
            ("between tokens", "slow"),
            ("in silence", "silent"),
        ):
            for way, address in (("direct", chain.gateway.address), ("nginx", chain.nginx.address)):
                took = [_left(chain, address, f"{window}-{way}-{n}", provider) for n in range(samples)]
                rows.append((window, way, took))
    with folder() as where, unreachable() as (host, port), contextlib.ExitStack() as stack:
        connecting = {"timeouts": {"connect": 60}, "base_url": [f"http://{host}:{port}/v1"]}
        chain = Chain(where, stack, server={"resume_window_s": 0, "heartbeat_s": 10}, provider=connecting)
        for way, address in (("direct", chain.gateway.address), ("nginx", chain.nginx.address)):
            took = [_gave_up(chain, address, f"{way}{n}", port) for n in range(samples)]
            rows.insert(0, ("before connect", way, took))
    lines = [
        "## A client that leaves",
        "",
        f"{samples} times in each window, half of them with a TCP reset: until the upstream's connection is closed.",
        "",
        "| window | way | p50 | p99 | max | within 0.2 s |",
        "|---|---|---|---|---|---|",
    ]
    for window, way, took in rows:
        within = sum(seconds <= CLOSED_S for seconds in took)
        figures = f"{ms(took, 0.5)} | {ms(took, 0.99)} | {ms(took, 1)}"
        lines.append(f"| {window} | {way} | {figures} | {within} of {len(took)} |")
    return lines


def _left(chain: Chain, address: tuple[str, int], name: str, provider: str) -> float:
    reader = Reader(address, name, STREAMS[provider][1], provider).ask()
    if provider == "mute":
        chain.upstream.wait_until(lambda: bool(chain.asked(name)))
    else:
        reader.read_events(2)
    left_at = reader.leave(reset=name.endswith(tuple("02468")))
    closed_at = chain.closed_at(name, 20)
    return float("inf") if closed_at is None else closed_at - left_at


def _gave_up(chain: Chain, address: tuple[str, int], name: str, port: int) -> float:
    """The same while the connection to the upstream is still being made."""
    before = connecting_to(port)
    reader = Reader(address, name).ask()
    (socket,) = eventually(lambda: connecting_to(port) - before, every_s=0.002)
    worker = chain.gateway.workers()[0]
    left_at = reader.leave(reset=name.endswith(tuple("02468")))
    eventually(lambda: socket not in descriptors(worker), every_s=0.001)
    return time.monotonic() - left_at


def resuming(cuts: int, threads: int = 4) -> list[str]:
    """Readers that leave after every few bytes and come back, until they have left `cuts` times in all."""
    left, whole, wrong = Counter[int](), Counter[int](), []
    with folder() as where, contextlib.ExitStack() as stack:
        upstream = stack.enter_context(Upstream())
        gateway = Gateway(where / "gateway", upstream.url, server={"resume_window_s": 5})
        stack.callback(gateway.kill)
        nginx = Nginx(where / "nginx", gateway.port)
        stack.callback(nginx.kill)

        def read(number: int) -> None:
            dice = random.Random(number)
            while left.total() < cuts:
                address = nginx.address if whole[number] % 2 else gateway.address
                reader = Reader(address, f"t{number}-{whole[number]}", 40, "steady").ask()
                left[number] += reader.read_in_pieces(dice, 1500)
                wrong.extend(problems(reader.recording))
                whole[number] += 1

        begun = [threading.Thread(target=read, args=(number,)) for number in range(threads)]
        for thread in begun:
            thread.start()
        for thread in begun:
            thread.join()
        asked = Counter(asked.body["messages"][-1]["content"] for asked in upstream.asked)
    return [
        "## Coming back",
        "",
        "Readers of running streams that leave after 1 to 1,500 bytes, in the middle of a head, an event or a",
        "character, half of them with a TCP reset, and come back with the last id they have; direct and through nginx.",
        "",
        "| | |",
        "|---|---|",
        f"| cuts | {left.total():,} |",
        f"| streams, of 40 chunks each | {whole.total():,} |",
        f"| with a gap, repeat, reorder or foreign byte | {len(wrong)}{': ' + wrong[0] if wrong else ''} |",
        f"| upstream asked | {sum(asked.values()):,} times, at most {max(asked.values())} a stream |",
    ]


def soak(seed: int, seconds: float) -> list[str]:
    """A random fault each second, for so long; see tests/reliability/soak.py for what must hold."""
    played = Soak(seed, seconds, say=lambda line: None)
    played.run()
    return soaked(played)


def soaked(played: Soak) -> list[str]:
    """What a soak gave."""
    before, after = played.before, played.after

    def counted(found: Counter[str]) -> str:
        return ", ".join(f"{name} {count:,}" for name, count in sorted(found.items()))

    return [
        "## A random fault each second",
        "",
        f"{played.seconds:g} s, seed {played.seed}, {READERS} readers that come and go; two workers with Redis, behind",
        "nginx, and a fault proxy at every dash. Memory and the like: of the larger worker, when no client is served.",
        "",
        "| | |",
        "|---|---|",
        f"| promises broken | {len(played.wrong)}{': ' + played.wrong[0] if played.wrong else ''} |",
        f"| streams | {played.ends.total():,}: {counted(played.ends)} |",
        f"| faults | {played.faults.total():,}: {counted(played.faults)} |",
        f"| memory before, after | {before['bytes'] / 1e6:.0f} MB, {after['bytes'] / 1e6:.0f} MB |",
        f"| descriptors before, after | {before['descriptors']:g}, {after['descriptors']:g} |",
        f"| greenlets before, after | {before['greenlets']:g}, {after['greenlets']:g} |",
    ]


def ms(seconds: list[float], share: float) -> str:
    return f"{1000 * percentile(seconds, share):.0f} ms"


MEASURES = {
    "streams": lambda: streams(2000, 40, 1.0),
    "leaving": lambda: leaving(200),
    "resuming": lambda: resuming(10_000),
    "soak": lambda: soak(20261120, 600),
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(MEASURES)))
def main(names: tuple[str, ...]) -> None:
    """Measure, print, and write what was measured into results/reliability.md; the other sections stay."""
    page = RESULT.read_text("utf-8") if RESULT.exists() else ""
    sections = dict(re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- / -->", page, re.DOTALL))
    for name in names or MEASURES:
        lines = MEASURES[name]()
        lines.insert(2, f"{time.strftime('%Y-%m-%d')} · `python -m benchmarks.reliability {name}` · {versions()}\n")
        sections[name] = "\n".join(lines)
        click.echo(sections[name] + "\n")
    written = [f"<!-- {name} -->\n{sections[name]}\n<!-- / -->" for name in MEASURES if name in sections]
    RESULT.write_text("# Streams under stress\n\n" + "\n\n".join(written) + "\n", "utf-8")


if __name__ == "__main__":
    main()
