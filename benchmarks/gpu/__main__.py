"""Everything that a GPU should tell, in one command: `python -m benchmarks.gpu --out results.json`.

    correct    every family's tiny model in float32, ids beside transformers' on the same device; the decode kernel
               beside plain attention on random shapes
    ceilings   bandwidth of a copy, matrix products in the dtype
    decode     tokens/s at batch 1, 32 and 256, and the share of the measured bandwidth; the embedding table, of which
               a step reads a few rows, is not counted
    sampled    a step with every sampling parameter over a greedy one
    admission  gaps between the tokens of 31 replies while a prompt of 4,000 tokens is admitted
    cached     the first token of a cached prompt over a cold one's

It needs torch, transformers, tokenizers, safetensors and, on a GPU, triton. It prints as it goes, stops before
--limit-s with what it has, and writes JSON. On a CPU (`--device cpu --shape tiny`) it shows that it runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import traceback
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.engine.decode import EVERY, GREEDY, MANY, Steps, admission, cached
from benchmarks.engine.machine import bandwidth, versions
from benchmarks.engine.targets import Ours
from benchmarks.gpu.random_model import RandomEngine

Result = dict[str, Any]


def correct(arguments: Namespace) -> Result:
    """How many of each family's replies have transformers' ids."""
    import torch

    from tests.providers.local.models import FAMILIES, make_model

    found: Result = {}
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            judge = make_model(Path(folder), family, max_position_embeddings=4096).to(arguments.device)
            # An end token ends nothing here: the steps go on behind one.
            judge.generation_config.eos_token_id = None
            steps = Steps(Ours(Path(folder), arguments.device, "float32", 1))
            chance = torch.Generator().manual_seed(1)
            prompts = [torch.randint(5, 390, (n,), generator=chance).tolist() for n in (1, 15, 40, 130)]
            sequences = [steps.ask_for(prompt, 24) for prompt in prompts]
            for _ in steps.run():
                pass
            equal = 0
            for prompt, sequence in zip(prompts, sequences, strict=True):
                ids = torch.tensor([prompt], device=arguments.device)
                mask = torch.ones_like(ids)
                theirs = judge.generate(ids, attention_mask=mask, max_new_tokens=24, do_sample=False)
                equal += theirs[0].tolist() == sequence.tokens
            found[family] = f"{equal} of {len(prompts)}"
    return found


def kernel(arguments: Namespace) -> Result:
    """The largest differences between the kernels and their plain twins, on random shapes."""
    import torch

    if not arguments.device.startswith("cuda"):
        return {"kernel": "no GPU"}
    from providers.local.engine.compute.kernels import fused, plain

    found: Result = {}
    device, dtype = arguments.device, torch.bfloat16
    for batch, kv_heads, group, dim, blocks in (
        (1, 4, 7, 128, 64),
        (32, 2, 7, 64, 40),
        (5, 8, 4, 128, 3),
        (2, 8, 1, 80, 9),
    ):
        every = (group + 2) * kv_heads
        kv = torch.randn(blocks * batch + 1, 16, 2 * kv_heads, dim, device=device, dtype=dtype)
        qkv = torch.randn(batch, every, dim, device=device, dtype=dtype)
        tables = torch.arange(1, blocks * batch + 1, device=device).view(batch, blocks)
        lengths = torch.randint(1, blocks * 16, (batch,), device=device)
        turns = torch.rand(2, blocks * 16, 1, dim, device=device, dtype=dtype).unbind(0)
        wide = torch.randn(batch, 2 * every * dim, device=device, dtype=dtype)
        x, delta = wide.chunk(2, -1)
        results = []
        for way in (fused, plain):
            mine, cache = qkv.clone(), kv.clone()
            q = way.rotate(mine, group * kv_heads, turns, lengths - 1, lengths + 15, cache, None, 1e-6)
            h = way.add_norm(x.clone(), delta.contiguous(), None, wide[0, : x.shape[1]], 1e-6)
            results.append([q, cache, way.decode(q, cache, tables, lengths), h, way.activate(wide)])
        found[f"{batch}×{kv_heads}×{group}×{dim}"] = [
            (mine.float() - theirs.float()).abs().max().item() for mine, theirs in zip(*results, strict=True)
        ]
    return found


def ceilings(arguments: Namespace) -> Result:
    """Bytes/s of reading, and products/s of a square matrix."""
    import torch

    side = 8192 if arguments.device.startswith("cuda") else 1024
    matrix = torch.randn(side, side, device=arguments.device, dtype=getattr(torch, arguments.dtype))

    def product() -> None:
        torch.mm(matrix, matrix)
        if matrix.is_cuda:
            torch.cuda.synchronize()

    product()
    began = time.perf_counter()
    for _ in range(5):
        product()
    seconds = (time.perf_counter() - began) / 5
    arguments.read = bandwidth(arguments.device, 1)
    return {"read_gb_s": arguments.read / 1e9, "matrix_tflop_s": 2 * side**3 / seconds / 1e12}


def speed(arguments: Namespace) -> Result:
    """Decode steps by themselves, then beside other work."""
    engine = RandomEngine(
        arguments.shape, arguments.device, arguments.dtype, max(MANY, *arguments.clients), not arguments.no_graphs
    )
    steps: Any = Steps(engine)  # type: ignore[arg-type]
    found: Result = {"graphs": engine.runner.graphs, "budget": engine.budget}
    for count in arguments.clients:
        seconds = steps.decode(count, arguments.prompt, arguments.new)
        held = count * (arguments.prompt + arguments.new / 2) * engine.planned.block_bytes / engine.block_tokens
        share = (engine.read_bytes + held) / seconds / arguments.read
        found[f"decode {count}"] = {"tokens_s": count / seconds, "step_ms": seconds * 1e3, "bandwidth_share": share}
        print(f"  decode {count}: {count / seconds:.0f} tokens/s, {share:.0%} of the bandwidth", flush=True)
        engine.reset()
    greedy, every = (steps.decode(MANY, arguments.prompt, arguments.new, how) for how in (GREEDY, EVERY))
    found["sampled over greedy"] = every / greedy
    for part in (admission, cached):
        engine.reset()
        found[part.__name__] = part(steps, arguments)
        print(f"  {found[part.__name__]}", flush=True)
    return found


PARTS: list[Callable[[Namespace], Result]] = [correct, kernel, ceilings, speed]


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--shape", default="7B")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--clients", type=lambda text: [int(each) for each in text.split(",")], default=[1, 32, 256])
    parser.add_argument("--prompt", type=int, default=576)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--limit-s", type=float, default=460.0)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=[part.__name__ for part in PARTS])
    parser.add_argument("--no-graphs", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    arguments.read = 1.0
    began = time.monotonic()
    results: Result = {"versions": versions(), "arguments": {"shape": arguments.shape, "dtype": arguments.dtype}}
    failed = False
    for part in (part for part in PARTS if part.__name__ in arguments.parts):
        if time.monotonic() - began > arguments.limit_s:
            results[part.__name__] = "left out: no time"
            continue
        print(f"{part.__name__} …", flush=True)
        try:
            results[part.__name__] = part(arguments)
        except Exception:  # noqa: BLE001 - what is known so far is worth keeping
            failed = True
            results[part.__name__] = traceback.format_exc()
        print(json.dumps({part.__name__: results[part.__name__]}, indent=1, default=str), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(results, indent=1, default=str))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
