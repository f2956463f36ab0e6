"""What the engine promises beside speed: `python -m benchmarks.engine.promises prefix neighbours masks`.

prefix       tokens/s when the prompts' shared beginning is in the cache, over tokens/s when the cache is empty
neighbours   the others' tokens/s when one of them gives no numbers, or is cancelled, over theirs when all is well
masks        how much longer a step takes when every sequence is constrained to SQL

All on a model of random weights. The two sides of a ratio take turns in one run, and their medians are compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.engine.shapes import SHAPES, make
from benchmarks.engine.targets import Ours, as_an_engine
from benchmarks.engine.vllm_target import CACHE
from benchmarks.engine.workload import figures, workload
from providers.local.wire import Ask, Piece
from providers.sampling import Sampling

SCHEMA = {
    "dtzpt": ["id", "name", "line", "district", "opened", "lng"],
    "lines": ["line", "colour", "length_km"],
    "riders": ["station", "day", "riders"],
}
BAD_AT = 8
"""The step at which one of the neighbours goes wrong."""


def prefix(folder: Path, arguments: argparse.Namespace) -> str:
    ours = Ours(folder, "cpu", arguments.dtype, arguments.threads)
    rates: dict[bool, list[float]] = {True: [], False: []}
    ours.run(workload(1, 512, 64, 4, 0, seed=999))
    for turn in range(arguments.repeat):
        for cached in (False, True):
            ours.reset()
            if cached:
                ours.run(workload(1, 512, 64, 1, 0, seed=998))
            asked = workload(arguments.clients, 512, 64, 64, 0, seed=turn)
            if not cached:
                # Nothing is shared, neither with an earlier workload nor among these.
                asked.prompts = [[300 + i, *prompt[1:]] for i, prompt in enumerate(asked.prompts)]
            rates[cached].append(figures(ours.run(asked)).tokens_per_second)
    cold, warm = median(rates[False]), median(rates[True])
    return f"prefix: {warm:.0f} tokens/s against {cold:.0f}: {warm / cold:.2f} ×"


class Engine:
    """A loop as the engine's process has it, without its sockets."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        from providers.local.engine.serving.assembly import build
        from providers.local.engine.serving.folder import open_folder
        from providers.local.options import Options

        options = Options(str(folder), "cpu", arguments.dtype, arguments.threads, max_context=1024, kv_cache_mb=1024)
        self.loop, _ = build(open_folder(str(folder)), options, lambda: None)
        self.asked = 0

    def begin(self, clients: int, tokens: int, **asking: Any) -> list[int]:
        """So many questions of 64 words, one token each; their numbers."""
        for _ in range(clients):
            self.asked += 1
            words = " ".join(f"w{300 + (self.asked * 64 + i) % 3000}" for i in range(16))
            self.loop.ask((0, self.asked), Ask(0, self.asked, [{"role": "user", "content": words}],
                                               Sampling(max_tokens=tokens, seed=self.asked, **asking)))  # fmt: skip
        self.loop.preprocessing.settle()
        return list(range(self.asked - clients + 1, self.asked + 1))

    def finish(self, before_step: Callable[[int], None] = lambda _: None) -> tuple[float, dict[int, str]]:
        """Seconds until all is answered, and each one's text."""
        texts: dict[int, str] = {}
        step, began = 0, time.perf_counter()
        while self.loop.busy:
            before_step(step)
            for (_, number), message in self.loop.step():
                if isinstance(message, Piece):
                    texts[number] = texts.get(number, "") + message.text
            step += 1
        return time.perf_counter() - began, texts


def neighbours(folder: Path, arguments: argparse.Namespace) -> str:
    engine = Engine(folder, arguments)
    runner: Any = engine.loop._runner
    draw, tokens = runner._draw, 64
    bad = [0]

    def poisoned(chunks: Any, logits: Any, *others: Any) -> Any:
        rows = [chunk.sequence for chunk in chunks for _ in range(1 + len(chunk.draft))]
        for row, logit in zip(rows, logits, strict=True):
            if row.key[1] == bad[0] and row.generated >= BAD_AT:
                logit.fill_(float("nan"))
        return draw(chunks, logits, *others)

    runner._draw = poisoned
    rates: dict[str, list[float]] = {"well": [], "poisoned": [], "cancelled": []}
    for _ in range(arguments.repeat + 1):
        for how, mine in rates.items():
            numbers = engine.begin(arguments.clients, tokens, temperature=0.0)
            bad[0] = numbers[0] if how == "poisoned" else 0

            def cancel(step: int, key: tuple[int, int] = (0, numbers[0]), how: str = how) -> None:
                if how == "cancelled" and step == BAD_AT:
                    engine.loop.cancel(key)

            seconds, texts = engine.finish(cancel)
            assert all(texts[number] for number in numbers[1:])
            mine.append((arguments.clients - 1) * tokens / seconds)
    well, poisoned_, cancelled = (median(mine[1:]) for mine in rates.values())
    return (
        f"neighbours: {well:.0f} tokens/s of {arguments.clients - 1}; "
        f"poisoned {poisoned_ / well:.2f} ×, cancelled {cancelled / well:.2f} ×"
    )


def masks(folder: Path, arguments: argparse.Namespace) -> str:
    from providers.local.engine.serving.grammars import Grammars

    engine = Engine(folder, arguments)
    runner, make_sequence = engine.loop._runner, engine.loop.preprocessing.make
    text, vocabulary, _ = make_sequence.keywords["grammars"]._told  # type: ignore[attr-defined]
    # A random model seldom ends its prose; so it may have a few characters only, and ends with a token of its own.
    make_sequence.keywords["grammars"] = Grammars(text, vocabulary, [vocabulary - 1], prose=4)  # type: ignore[attr-defined]
    waited = [0.0]
    apply = runner._masks.apply  # type: ignore[attr-defined]

    def timed(begun: Any, logits: Any) -> None:
        began = time.perf_counter()
        apply(begun, logits)
        waited[0] += time.perf_counter() - began

    runner._masks.apply = timed  # type: ignore[attr-defined]
    lines = []
    for clients in (1, arguments.clients):
        shares = []
        for _ in range(arguments.repeat + 1):
            waited[0] = 0.0
            engine.begin(clients, 64, temperature=1.5, constrain="sql", constrain_schema=SCHEMA)
            seconds, _ = engine.finish()
            shares.append(waited[0] / (seconds - waited[0]))
        lines.append(f"{clients} clients {median(shares[1:]):.1%}")
    return f"masks: waiting for them and applying them, of the rest of a step: {', '.join(lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.engine.promises", description=__doc__)
    parser.add_argument("what", nargs="+", choices=["prefix", "neighbours", "masks"])
    parser.add_argument("--shape", default="50M", choices=SHAPES)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--threads", default=1, type=int)
    parser.add_argument("--clients", default=16, type=int)
    parser.add_argument("--repeat", default=5, type=int)
    parser.add_argument("--models", default=CACHE, type=Path)
    arguments = parser.parse_args()
    folder = make(arguments.models, arguments.shape, arguments.dtype)
    for what in arguments.what:
        print({"prefix": prefix, "neighbours": neighbours, "masks": masks}[what](folder, arguments), flush=True)


if __name__ == "__main__":
    as_an_engine("benchmarks.engine.promises")
    main()
