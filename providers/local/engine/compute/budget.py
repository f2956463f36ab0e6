"""How many tokens a step may have: measured at start, so that a long prompt does not delay the running replies."""

from __future__ import annotations

import time
from collections.abc import Callable

from providers.local.engine.blocks import Blocks
from providers.local.engine.compute.kvcache import BLOCK_TOKENS
from providers.local.engine.compute.runner import Runner
from providers.local.engine.errors import CannotLoad
from providers.local.engine.sequence import ScheduledTokens, Sequence

# A step should last no longer than this.
STEP_S = {"cpu": 0.25, "cuda": 0.05}
BUDGETS = {"cpu": (64, 2048), "cuda": (64, 8192)}
# With fewer tokens a GPU's trial step would measure launch time only.
TRIAL_TOKENS = {"cpu": 64, "cuda": 2048}


def measure_budget(runner: Runner, blocks: Blocks, max_context: int, loading: Callable[[], None]) -> int:
    """The number of tokens that a step computes in about STEP_S. It also warms up every kernel.

    Raises CannotLoad if the model's logits are NaN.
    """
    device = runner.model.device.type
    count = min(TRIAL_TOKENS[device], max_context, (blocks.count - 1) * BLOCK_TOKENS)
    seconds = 0.0
    for _ in range(2):
        trial = Sequence((0, 0), [0] * count, 1)
        trial.blocks = blocks.take(-(-count // BLOCK_TOKENS))
        began = time.perf_counter()
        outputs = runner.run([ScheduledTokens(trial, 0, count)])
        seconds = time.perf_counter() - began
        blocks.release(trial.blocks)
        if outputs[0].tokens[0] is None:
            raise CannotLoad("the weights are damaged: a trial step gave logits that are not numbers")
        loading()
    low, high = BUDGETS[device]
    return min(high, max(low, int(STEP_S[device] / seconds * count)))
