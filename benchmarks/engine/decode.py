"""Decode steps by themselves: `python -m benchmarks.engine.decode --device cuda --shape 7B --dtype bfloat16`.

batch       tokens/s, and the share of the bandwidth measured in this run that reading weights and cache takes
replay      of a decode step's time, how much the captured graph runs (a GPU only)
sampled     tokens/s with every sampling parameter set, over greedy ones
admission   the gaps between tokens of 31 replies while a prompt of 4,000 tokens is admitted
cached      the time to the first token of a prompt of 2,000 tokens that is in the cache, over that of a cold one

Every sequence has a prompt of its own random ids, so that nothing but `cached` finds anything in the cache.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.engine.machine import bandwidth, versions
from benchmarks.engine.shapes import SHAPES, make
from benchmarks.engine.targets import Ours, as_an_engine
from benchmarks.engine.vllm_target import CACHE
from benchmarks.engine.workload import at

EVERY = {
    "temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.1, "presence_penalty": 0.2,
    "frequency_penalty": 0.2,
}  # fmt: skip
GREEDY = {"temperature": 0.0}
MANY = 32


class Steps:
    """The engine's scheduler and runner in the engine's order, without text."""

    def __init__(self, ours: Ours) -> None:
        self.ours = ours
        self._ids = random.Random(7)
        self._count = 0

    def ask(self, count: int, tokens: int, new: int, sampling: dict[str, Any] = GREEDY) -> list[Any]:
        """So many sequences with prompts of random ids."""
        return [
            self.ask_for([self._ids.randrange(300, 4000) for _ in range(tokens)], new, sampling) for _ in range(count)
        ]

    def ask_for(self, prompt: list[int], new: int, sampling: dict[str, Any] = GREEDY) -> Any:
        from providers.local.engine.sequence import Sequence
        from providers.sampling import Sampling

        self._count += 1
        sequence = Sequence((0, self._count), list(prompt), new, Sampling(seed=self._count, **sampling))
        self.ours.scheduler.add(sequence)
        return sequence

    def run(self) -> Iterator[tuple[float, list[Any]]]:
        """When each step's ids were there, and the sequences that drew one; ends when all is answered."""
        scheduler, runner = self.ours.scheduler, self.ours.runner
        in_flight = None
        while in_flight or scheduler.running or scheduler.waiting:
            if in_flight is None:
                chunks = scheduler.plan()
                in_flight = chunks, runner.launch(chunks)
            chunks, launched = in_flight
            drawn = runner.collect(launched)
            now = time.perf_counter()
            for chunk in chunks:
                scheduler.mark_computed(chunk.sequence, chunk.start + chunk.count)
            drew = [result.chunk.sequence for result in drawn]
            for result in drawn:
                sequence = result.chunk.sequence
                sequence.append(result.tokens[0] or 0)
                if sequence.generated == sequence.max_new_tokens:
                    scheduler.remove(sequence)
            in_flight = None
            if runner.ahead and (chunks := scheduler.plan()):
                in_flight = chunks, runner.launch(chunks)
            yield now, drew

    def decode(self, count: int, tokens: int, new: int, sampling: dict[str, Any] = GREEDY) -> float:
        """The median seconds of a step in which `count` sequences decode and nothing else happens."""
        self.ask(count, tokens, new, sampling)
        took, before = [], 0.0
        whole = 0
        for now, drew in self.run():
            # The first whole step follows a prompt's.
            whole = whole + 1 if len(drew) == count else 0
            if whole > 2:
                took.append(now - before)
            before = now
        return median(took)


def batch(steps: Steps, arguments: argparse.Namespace) -> str:
    read = bandwidth(arguments.device, arguments.threads)
    planned = steps.ours.planned
    lines = [f"batch (read bandwidth {read / 1e9:.0f} GB/s, weights {planned.weight_bytes / 1e9:.2f} GB):"]
    for count in arguments.clients:
        seconds = steps.decode(count, arguments.prompt, arguments.new)
        held = count * (arguments.prompt + arguments.new / 2) * planned.block_bytes / steps.ours.block_tokens
        share = (planned.weight_bytes + held) / seconds / read
        lines.append(f"  {count:>4} sequences {count / seconds:>9.0f} tokens/s, {share:.0%} of the bandwidth")
    return "\n".join(lines)


def replay(steps: Steps, arguments: argparse.Namespace) -> str:
    graphs = steps.ours.runner._graphs
    if graphs is None:
        return "replay: no graphs on this device"
    import torch

    plain = dict(graphs._steps)
    spans: list[tuple[Any, Any]] = []

    def timed(work: Any) -> None:
        begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begun.record()
        work()
        ended.record()
        spans.append((begun, ended))

    graphs._steps = {size: lambda work=work: timed(work) for size, work in plain.items()}
    seconds = steps.decode(MANY, arguments.prompt, arguments.new)
    graphs._steps = plain
    inside = median(begun.elapsed_time(ended) for begun, ended in spans) / 1e3
    return f"replay: {inside / seconds:.2f} of a step of {MANY} sequences ({seconds * 1e3:.2f} ms)"


def sampled(steps: Steps, arguments: argparse.Namespace) -> str:
    greedy, every = (
        median(steps.decode(MANY, arguments.prompt, arguments.new, how) for _ in range(3)) for how in (GREEDY, EVERY)
    )
    return (
        f"sampled: {greedy / every:.2f} × greedy at {MANY} sequences ({every * 1e3:.2f} against {greedy * 1e3:.2f} ms)"
    )


def admission(steps: Steps, arguments: argparse.Namespace) -> str:
    readers = {sequence.key for sequence in steps.ask(MANY - 1, arguments.prompt, arguments.new)}
    gaps: list[float] = []
    before, asked = 0.0, False
    for now, drew in steps.run():
        here = sum(sequence.key in readers for sequence in drew)
        if here == len(readers):
            if before:
                gaps.append(now - before)
            before = now
            if len(gaps) == 8 and not asked:
                steps.ask(1, min(4000, steps.ours.planned.max_context - 8), 4)
                asked = True
    gaps.sort()
    p50, p99 = at(gaps, 0.5), at(gaps, 0.99)
    return f"admission: gaps p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms: {p99 / p50:.1f} ×"


def cached(steps: Steps, arguments: argparse.Namespace) -> str:
    first: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(3):
        prompt = steps.ask(1, 2000, 1)[0].tokens
        list(steps.run())
        for known, mine in first.items():
            asked = prompt if known else [prompt[0] ^ 1, *prompt[1:]]
            began = time.perf_counter()
            steps.ask_for([*asked, 301], 1)
            mine.append(next(now for now, drew in steps.run() if drew) - began)
    cold, warm = median(first[False]), median(first[True])
    return f"cached: first token after {warm * 1e3:.1f} ms, of a cold prompt {cold * 1e3:.1f}: {warm / cold:.2f} ×"


WAYS = {"batch": batch, "replay": replay, "sampled": sampled, "admission": admission, "cached": cached}


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.engine.decode", description=__doc__)
    parser.add_argument("--what", default=list(WAYS), type=lambda text: text.split(","))
    parser.add_argument("--shape", default="50M", choices=SHAPES)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", default=1, type=int)
    parser.add_argument("--clients", default="1,32", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--prompt", default=512, type=int)
    parser.add_argument("--new", default=128, type=int)
    parser.add_argument("--models", default=CACHE, type=Path)
    arguments = parser.parse_args()
    print(f"python -m benchmarks.engine.decode {' '.join(sys.argv[1:])}\n{json.dumps(versions())}", flush=True)
    ours = Ours(
        make(arguments.models, arguments.shape, arguments.dtype), arguments.device, arguments.dtype, arguments.threads
    )
    steps = Steps(ours)
    for what in arguments.what:
        ours.reset()
        print(WAYS[what](steps, arguments), flush=True)


if __name__ == "__main__":
    as_an_engine("benchmarks.engine.decode")
    main()
