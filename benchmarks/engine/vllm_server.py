"""Runs in vLLM's own environment: reads workloads as lines of JSON, answers with the tokens' times; see targets.py."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any


async def client(
    engine: Any, number: int, prompt: list[int], parameters: Any, began: float, round_: int
) -> list[float]:
    times: list[float] = []
    async for output in engine.generate({"prompt_token_ids": prompt}, parameters, request_id=f"{round_}-{number}"):
        now = time.perf_counter() - began
        times += [now] * (len(output.outputs[0].token_ids) - len(times))
    return times


async def main(folder: str, dtype: str, threads: str) -> None:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", f"0-{int(threads) - 1}")
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    engine_arguments = AsyncEngineArgs(
        model=folder, dtype=dtype, max_model_len=4096, max_num_seqs=256, enable_prefix_caching=True
    )
    engine = AsyncLLM.from_engine_args(engine_arguments)
    print(json.dumps({"ready": True}), flush=True)
    for round_, line in enumerate(sys.stdin):
        asked = json.loads(line)
        parameters = SamplingParams(temperature=asked["temperature"], max_tokens=asked["new"], ignore_eos=True)
        began = time.perf_counter()
        clients = [client(engine, i, prompt, parameters, began, round_) for i, prompt in enumerate(asked["prompts"])]
        print(json.dumps({"tokens": await asyncio.gather(*clients)}), flush=True)
    engine.shutdown()
    # Its destructors look for modules that are gone by then.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
