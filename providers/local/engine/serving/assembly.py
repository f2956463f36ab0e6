"""From a folder and options to a server that is ready; the log says what is loaded."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from functools import partial

import torch

from providers.local.engine.blocks import Blocks
from providers.local.engine.compute import kernels
from providers.local.engine.compute.budget import measure_budget
from providers.local.engine.compute.config import read_config, rope_frequencies
from providers.local.engine.compute.kvcache import BLOCK_TOKENS, KVCache
from providers.local.engine.compute.model import Model
from providers.local.engine.compute.products.checkpoints import packing
from providers.local.engine.compute.runner import Runner
from providers.local.engine.compute.weights import Weights
from providers.local.engine.errors import CannotLoad
from providers.local.engine.loop import Loop
from providers.local.engine.preprocessing import Preprocessing
from providers.local.engine.scheduler import Scheduler
from providers.local.engine.serving.chat import Chat
from providers.local.engine.serving.folder import Folder, reading
from providers.local.engine.serving.grammars import Grammars
from providers.local.engine.serving.memory import MB, Plan, plan
from providers.local.engine.serving.requests import sequence
from providers.local.engine.serving.server import Server
from providers.local.options import Options
from providers.local.wire import Hello, Report

log = logging.getLogger("sluice.engine")

# Up to so many rows a product costs about as much as for one row: reading the weights bounds it.
DRAFT_ROWS = 16


def assemble(
    folder: Folder,
    options: Options,
    listener: socket.socket,
    epoch: int,
    heartbeat: Callable[..., None],
    supervisor: int,
) -> Server:
    """An engine that serves `folder` on `listener`.

    heartbeat    called with "loading" while it loads, and without an argument while it runs
    supervisor   the parent's process id; the engine exits with it

    Raises CannotLoad.
    """
    began = time.monotonic()
    loop, planned = build(folder, options, lambda: heartbeat("loading"))
    hello = Hello(epoch, folder.name, planned.max_context)
    log.info("%s serves after %.1f s", folder.name, time.monotonic() - began)
    return Server(listener, loop, hello, partial(report, loop, folder, options, planned), heartbeat, supervisor)


def build(folder: Folder, options: Options, loading: Callable[[], None]) -> tuple[Loop, Plan]:
    """The loop with everything below it, and its memory plan. Raises CannotLoad."""
    # Cores − 1: a spinning thread without a free core makes every step many times slower.
    torch.set_num_threads(options.threads or max(1, len(os.sched_getaffinity(0)) - 1))
    with reading(f"the tokeniser of {folder.name}"):
        chat = Chat(folder)
    with reading(f"config.json of {folder.name}"):
        config = read_config(folder.config)
        rope_frequencies(config)
        if chat.largest >= config.vocabulary:
            raise CannotLoad(
                f"config.json: vocab_size must be more than the tokeniser's largest token, {chat.largest}, "
                f"got {config.vocabulary}"
            )
        planned = plan(folder, config, options, chat.shortest())
    form = "int4 weights" if packing(folder.config) else f"{planned.form or 'dense'} weights"
    log.info(
        "%s: %s, %.0f M parameters, %s on %s, %s %.0f MB",
        folder.name, str(folder.config["architectures"]), config.parameters / 1e6,
        str(planned.dtype).removeprefix("torch."), planned.device, form, planned.weight_bytes / MB,
    )  # fmt: skip
    with reading(f"the weights of {folder.name}"):
        weights = Weights(
            folder.name, folder.weight_files, planned.dtype, planned.device, loading, planned.form,
            packing(folder.config),
        )  # fmt: skip
        model = Model(config, weights, planned.max_context, kernels.available(planned.device, planned.dtype))
    cache = KVCache(config, planned.blocks, planned.dtype, planned.device)
    tokens = (planned.blocks - 1) * BLOCK_TOKENS
    log.info(
        "KV cache %.0f MB: %d tokens, %.1f sequences of %d tokens, at most %d at once; %d CPU threads",
        cache.bytes / MB, tokens, tokens / planned.max_context, planned.max_context, options.max_batch,
        torch.get_num_threads(),
    )  # fmt: skip
    runner = Runner(model, cache)
    if options.graphs:
        runner.capture(options.max_batch, planned.max_context, loading)
    elif runner.ahead:
        log.info("no CUDA graphs: graphs is false in the configuration")
    blocks = Blocks(planned.blocks, BLOCK_TOKENS)
    scheduler = Scheduler(
        blocks, options.max_batch, options.max_queue, measure_budget(runner, blocks, planned.max_context, loading)
    )
    grammars = Grammars(chat.tokenizer.to_str(), config.vocabulary, chat.end_tokens)
    make = partial(
        sequence, chat=chat, generation=folder.generation, max_context=planned.max_context, grammars=grammars
    )
    return Loop(scheduler, runner, Preprocessing(make), DRAFT_ROWS), planned


def report(loop: Loop, folder: Folder, options: Options, planned: Plan) -> Report:
    """The engine's state and counters."""
    scheduler, counters = loop.scheduler, loop.counters
    return Report(
        model=folder.name,
        device=str(planned.device),
        dtype=str(planned.dtype).removeprefix("torch."),
        max_context=planned.max_context,
        max_batch=options.max_batch,
        running=len(scheduler.running),
        waiting=len(scheduler.waiting) + len(loop.preprocessing.pending),
        blocks=planned.blocks - 1,
        blocks_free=scheduler.blocks.available,
        block_tokens=BLOCK_TOKENS,
        kv_bytes=planned.blocks * planned.block_bytes,
        prompt_tokens=counters.prompt,
        cached_tokens=counters.cached,
        generated_tokens=counters.generated,
        drafted_tokens=counters.drafted,
        accepted_tokens=counters.accepted,
        preemptions=scheduler.preemptions,
        steps=counters.steps,
        failed_steps=counters.failed_steps,
        graphs=loop.graphs,
        step_seconds=counters.step_seconds,
        batch_sum=counters.batch_sum,
        tokens_per_second=counters.rate(),
        uptime_s=time.monotonic() - counters.started,
    )
