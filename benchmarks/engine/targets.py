"""The ways to generate that are compared. Each is loaded once, and then given one workload after the other.

seed           a thread with `model.generate` and a TextIteratorStreamer per request: the usual recipe
static         `model.generate` over all requests as one padded batch
transformers   transformers' continuous batching
ours           scheduler, runner, detokeniser and stop strings of the engine, in this process
vllm           vLLM in an environment of its own; see vllm_target.py
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.engine.alone import engine_alone
from benchmarks.engine.workload import Times, Workload

ROOT = Path(__file__).resolve().parent.parent.parent

# No workload takes so long; a manager whose thread died would be waited for for ever.
DEADLINE_S = 900


class Target:
    """Something that answers workloads."""

    def __init__(self, folder: Path, device: str, dtype: str, threads: int) -> None:
        self.folder, self.device, self.dtype, self.threads = folder, device, dtype, threads

    def run(self, workload: Workload) -> Times:
        raise NotImplementedError

    def cpu_s(self) -> float:
        """CPU seconds used so far, by all its threads and processes."""
        return time.process_time()

    def close(self) -> None:
        """Give back memory and processes."""


class _Transformers(Target):
    def __init__(self, folder: Path, device: str, dtype: str, threads: int) -> None:
        super().__init__(folder, device, dtype, threads)
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(threads)
        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device).eval()
        self.model.generation_config.pad_token_id = 0

    def close(self) -> None:
        del self.model

    def _told(self, workload: Workload) -> dict[str, Any]:
        sampled = (
            {"do_sample": True, "temperature": workload.temperature} if workload.temperature else {"do_sample": False}
        )
        return {"max_new_tokens": workload.new, "min_new_tokens": workload.new} | sampled


class Seed(_Transformers):
    def run(self, workload: Workload) -> Times:
        from transformers import TextIteratorStreamer

        times = Times([[] for _ in workload.prompts])
        began = time.perf_counter()

        class Streamer(TextIteratorStreamer):  # type: ignore[misc]
            def __init__(self, tokenizer: Any, mine: list[float]) -> None:
                super().__init__(tokenizer, skip_prompt=True)
                self.mine = mine

            def put(self, value: Any) -> None:
                if not self.next_tokens_are_prompt:
                    self.mine.append(time.perf_counter() - began)
                super().put(value)

        def generate(prompt: list[int], streamer: Any) -> None:
            ids = self.torch.tensor([prompt], device=self.device)
            mask = self.torch.ones_like(ids)
            self.model.generate(ids, attention_mask=mask, streamer=streamer, **self._told(workload))

        threads = []
        for prompt, mine in zip(workload.prompts, times.tokens, strict=True):
            streamer = Streamer(self.tokenizer, mine)
            threads.append(threading.Thread(target=generate, args=(prompt, streamer)))
            threads.append(threading.Thread(target=lambda streamer=streamer: list(streamer)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return times


class Static(_Transformers):
    def run(self, workload: Workload) -> Times:
        began = time.perf_counter()
        ids = self.torch.tensor(workload.prompts, device=self.device)
        out = self.model.generate(ids, attention_mask=self.torch.ones_like(ids), **self._told(workload))
        self.tokenizer.batch_decode(out)
        end = time.perf_counter() - began
        return Times([[end] * workload.new for _ in workload.prompts])


class Continuous(_Transformers):
    """Its manager allocates for long when it starts, so one is kept for all workloads of a temperature."""

    manager: Any = None
    temperature = -1.0
    asked = 0

    def __init__(self, folder: Path, device: str, dtype: str, threads: int) -> None:
        if device == "cpu" and importlib.util.find_spec("psutil") is None:
            # Its manager's thread dies of it, and no caller gets an error.
            raise RuntimeError("transformers' continuous batching on a CPU needs psutil")
        super().__init__(folder, device, dtype, threads)

    def run(self, workload: Workload) -> Times:
        if self.temperature != workload.temperature:
            self._start(workload)
        times = {}
        began = time.perf_counter()
        for prompt in workload.prompts:
            self.asked += 1
            self.manager.add_request(prompt, request_id=str(self.asked), max_new_tokens=workload.new, streaming=True)
            times[str(self.asked)] = list[float]()
        left = len(workload.prompts)
        while left:
            result = self.manager.get_result(timeout=5)
            if result is None:
                if time.perf_counter() - began > DEADLINE_S:
                    raise RuntimeError(f"transformers' manager did not answer in {DEADLINE_S} s")
                if not self.manager.is_running():
                    raise RuntimeError("transformers' manager died")
                continue
            mine = times[result.request_id]
            mine += [time.perf_counter() - began] * (len(result.generated_tokens) - len(mine))
            left -= bool(result.is_finished())
        return Times(list(times.values()))

    def _start(self, workload: Workload) -> None:
        from transformers import GenerationConfig

        self.close()
        config: dict[str, Any] = {"max_new_tokens": workload.new, "eos_token_id": -1, "pad_token_id": 0}
        if workload.temperature:
            config |= {"do_sample": True, "temperature": workload.temperature}
        self.manager = self.model.init_continuous_batching(generation_config=GenerationConfig(**config))
        self.temperature = workload.temperature
        self.manager.start()

    def close(self) -> None:
        if self.manager:
            self.manager.stop(block=True)
            self.manager = None


class Ours(Target):
    """Without sockets: what else is here runs in one process too. `benchmarks.engine.transport` measures those."""

    def __init__(self, folder: Path, device: str, dtype: str, threads: int) -> None:
        super().__init__(folder, device, dtype, threads)
        engine_alone()
        import torch
        from tokenizers import Tokenizer

        from providers.local.engine.blocks import Blocks
        from providers.local.engine.compute import kernels
        from providers.local.engine.compute.budget import measure_budget
        from providers.local.engine.compute.config import read_config
        from providers.local.engine.compute.kvcache import BLOCK_TOKENS, KVCache
        from providers.local.engine.compute.model import Model
        from providers.local.engine.compute.runner import Runner
        from providers.local.engine.compute.weights import Weights
        from providers.local.engine.detokeniser import ByteVocabulary
        from providers.local.engine.serving.folder import open_folder
        from providers.local.engine.serving.memory import plan
        from providers.local.options import Options

        torch.set_num_threads(threads)
        opened = open_folder(str(folder))
        config = read_config(opened.config)
        options = Options(
            str(folder), device, dtype, max_batch=256 if device.startswith("cuda") else 64, max_context=4096
        )
        planned = plan(opened, config, options)
        weights = Weights(opened.name, opened.weight_files, planned.dtype, planned.device, lambda: None)
        model = Model(config, weights, planned.max_context, kernels.available(weights.device, weights.dtype))
        self.runner = Runner(model, KVCache(config, planned.blocks, planned.dtype, planned.device))
        self.runner.capture(options.max_batch, planned.max_context, lambda: None)
        self.planned = planned
        self.blocks, self.block_tokens = planned.blocks, BLOCK_TOKENS
        self.max_batch = options.max_batch
        self.vocabulary = ByteVocabulary(Tokenizer.from_file(str(folder / "tokenizer.json")))
        # As many tokens a step as the engine would choose when it starts.
        self.budget = measure_budget(
            self.runner, Blocks(planned.blocks, BLOCK_TOKENS), planned.max_context, lambda: None
        )
        self.reset()

    def reset(self) -> None:
        """Forget the prefix cache."""
        from providers.local.engine.blocks import Blocks
        from providers.local.engine.scheduler import Scheduler

        self.scheduler = Scheduler(Blocks(self.blocks, self.block_tokens), self.max_batch, 10_000, self.budget)

    def _launch(self) -> tuple[list[Any], Any] | None:
        """The next step, launched; None where all is done."""
        chunks = self.scheduler.plan()
        return (chunks, self.runner.launch(chunks)) if chunks else None

    def run(self, workload: Workload) -> Times:
        from providers.local.engine.output import OutputBuffer
        from providers.local.engine.sequence import Sequence
        from providers.local.engine.stopping import StopStrings
        from providers.sampling import Sampling

        times = Times([[] for _ in workload.prompts])
        began = time.perf_counter()
        for i, prompt in enumerate(workload.prompts):
            sequence = Sequence((0, i), list(prompt), workload.new, Sampling(temperature=workload.temperature, seed=i))
            sequence.output = OutputBuffer(self.vocabulary, self.vocabulary.detokeniser(), StopStrings(["\n\n\n\n"]))
            self.scheduler.add(sequence)
        in_flight = self._launch()
        while in_flight:
            chunks, launched = in_flight
            drawn = self.runner.collect(launched)
            now = time.perf_counter() - began
            for chunk in chunks:
                self.scheduler.mark_computed(chunk.sequence, chunk.start + chunk.count)
            for result in drawn:
                sequence = result.chunk.sequence
                sequence.append(result.tokens[0] or 0)
                times.tokens[sequence.key[1]].append(now)
                if sequence.generated == workload.new:
                    self.scheduler.remove(sequence)
            # In the engine's order: see loop.py.
            in_flight = self._launch() if self.runner.ahead else None
            for result in drawn:
                result.chunk.sequence.output.take(result.chunk.sequence.tokens[-1], None, None)
            in_flight = in_flight or self._launch()
        return times


def as_an_engine(module: str) -> None:
    """Start this process again with what an engine's process is started with, unless it was."""
    engine_alone()
    from providers.local.options import ENVIRONMENT

    if not ENVIRONMENT.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], ENVIRONMENT | os.environ)  # noqa: S606 - itself again


TARGETS: dict[str, Callable[[Path, str, str, int], Target]] = {
    "seed": Seed, "static": Static, "transformers": Continuous, "ours": Ours,
}  # fmt: skip
