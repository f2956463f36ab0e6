"""Train the demo model; on two free CPU cores it takes half an hour to an hour.

    python -m demo.model.train models/metro-sql

Seeds and steps are fixed, so a second run gives a model of the same quality (not the same bits: sums in other orders
differ in their last digits). Progress and a checkpoint go to --work; --from N goes on there with the N-th phase.

The optimiser is Muon for the matrices (Keller Jordan, 2024: momentum made orthogonal by five Newton-Schulz steps) and
AdamW for embeddings and norms. Only the reply is learned, not the question.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

# Before torch: a thread that spins while it waits makes a step five times slower on cores that others use too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from demo.model.generate import examples
from demo.model.tokenizer import END, PAD, TEMPLATE, prompt, widened
from demo.model.tokenizer import train as train_tokenizer

BATCH_TOKENS = 4096
WARM_UP = 20
# A step's share in the running average of the weights. The model that is written is the average: it is better than the
# weights of any one step while the rate is high, and a phase can be cut short. The next phase goes on from the weights.
AVERAGED = 0.03
MATRIX_RATE, OTHER_RATE = 0.018, 0.0025
TOKENIZER_EXAMPLES = 12_000
CHUNK = 4_000  # examples drawn, sorted by length and cut into batches at a time


@dataclass(frozen=True)
class Phase:
    """A run of steps with a learning rate of its own.

    planned  the steps over which the rate falls to zero; a phase with fewer steps ends before it has
    peak     factor on the learning rates
    tokens   in a step's batch, about
    """

    seed: int
    steps: int
    planned: int
    peak: float
    tokens: int = BATCH_TOKENS


PHASES = (
    Phase(seed=20240425, steps=300, planned=750, peak=1.0),
    Phase(seed=20240426, steps=750, planned=750, peak=1.0),
    Phase(seed=20240427, steps=300, planned=300, peak=0.4),
    Phase(seed=20240428, steps=260, planned=260, peak=0.5),
    # From here on over the wider grammar: at one rate, then falling, with half as many tokens a step.
    # models/metro-sql was made by these two, from the file before it: its card says how.
    Phase(seed=20241130, steps=125, planned=1_000_000, peak=0.5),
    Phase(seed=20241201, steps=250, planned=300, peak=0.4, tokens=2048),
)


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for weight matrices."""

    def __init__(self, weights: Sequence[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                speed = self.state[weight].setdefault("speed", torch.zeros_like(weight))
                speed.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(speed, group["momentum"]))
                weight.mul_(1 - group["lr"] * group["decay"])
                weight.add_(update, alpha=-group["lr"] * max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Roughly the nearest orthogonal matrix, by five Newton-Schulz steps of a quintic polynomial."""
    x = matrix.to(arithmetic()) if matrix.shape[0] <= matrix.shape[1] else matrix.to(arithmetic()).T
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x if matrix.shape[0] <= matrix.shape[1] else x.T).to(matrix.dtype)


@lru_cache(maxsize=1)
def arithmetic() -> torch.dtype:
    """The faster of bfloat16 and float32: a CPU without instructions for bfloat16 is many times slower in it."""
    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        matrix = torch.ones(512, 512, dtype=kind)
        began = time.process_time()
        for _ in range(8):
            matrix = matrix @ matrix
        seconds[kind] = time.process_time() - began
    return min(seconds, key=lambda kind: seconds[kind])


def configuration(vocabulary: int) -> Qwen3Config:
    """A Qwen3 of 3.4 million parameters."""
    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=32,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        attention_bias=False,
    )


def batches(tokenizer: PreTrainedTokenizerFast, seed: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of about `size` tokens: (batch, length) token ids, and which of them belong to a reply."""
    pad = tokenizer.vocab[PAD]
    rng = Random(seed)
    for chunk in range(10_000):
        drawn = list(examples(CHUNK, seed=seed * 10_000 + chunk))
        asked = tokenizer([prompt(one.question, one.earlier) for one in drawn])["input_ids"]
        replied = tokenizer([f"{one.reply}{END}" for one in drawn])["input_ids"]
        order = sorted(range(CHUNK), key=lambda index: len(asked[index]) + len(replied[index]))
        cut: list[list[int]] = [[]]
        for index in order:
            if (len(cut[-1]) + 1) * (len(asked[index]) + len(replied[index])) > size:
                cut.append([])
            cut[-1].append(index)
        rng.shuffle(cut)
        for group in cut:
            length = max(len(asked[index]) + len(replied[index]) for index in group)
            tokens = torch.full((len(group), length), pad)
            learned = torch.zeros((len(group), length), dtype=torch.bool)
            for row, index in enumerate(group):
                start, end = len(asked[index]), len(asked[index]) + len(replied[index])
                tokens[row, :end] = torch.tensor(asked[index] + replied[index])
                learned[row, start:end] = True
            yield tokens, learned


def loss_of(model: Qwen3ForCausalLM, tokens: Tensor, learned: Tensor) -> Tensor:
    """Mean cross entropy over the replies' tokens. Padding comes last, so causal attention never sees it."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arithmetic() is torch.bfloat16):
        hidden = model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[learned[:, 1:]])
    return functional.cross_entropy(logits.float(), tokens[:, 1:][learned[:, 1:]])


def rate(step: int, steps: int) -> float:
    """The learning rate's factor: a short rise, a plateau, and from 30 % on a straight fall to zero."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return min(1.0, (steps - step) / (0.7 * steps))


def optimisers(model: Qwen3ForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the rest; each remembers its full rate as `peak`."""
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    others = [weight for name, weight in model.named_parameters() if weight.ndim != 2 or "embed" in name]
    chosen: list[torch.optim.Optimizer] = [
        Muon(matrices, MATRIX_RATE),
        torch.optim.AdamW(others, OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    for optimiser in chosen:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return chosen


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model as transformers loads it: bf16 safetensors, tokenizer, chat template, greedy generation."""
    end, pad = tokenizer.vocab[END], tokenizer.vocab[PAD]
    copy = Qwen3ForCausalLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.config.eos_token_id, copy.config.pad_token_id, copy.config.bos_token_id = end, pad, None
    copy.generation_config = GenerationConfig(do_sample=False, eos_token_id=end, pad_token_id=pad, max_new_tokens=320)
    copy.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # The class by the name that older releases of transformers know, too.
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2))
    (folder / "model.safetensors").chmod(0o644)


def run(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, phase: Phase) -> Iterator[dict[str, float]]:
    """One phase; after each step its number, loss, tokens and seconds. Raises RuntimeError where the loss is lost."""
    chosen = optimisers(model)
    began, seen = time.monotonic(), 0
    for step, (tokens, learned) in zip(range(phase.steps), batches(tokenizer, phase.seed, phase.tokens), strict=False):
        for optimiser in chosen:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * phase.peak * rate(step, phase.planned)
        loss = loss_of(model, tokens, learned)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in chosen:
            optimiser.step()
            optimiser.zero_grad()
        seen += tokens.numel()
        if not math.isfinite(loss.item()):
            raise RuntimeError(f"the loss is {loss.item()} at step {step}")
        yield {"step": step, "loss": round(loss.item(), 4), "tokens": seen, "s": round(time.monotonic() - began)}


def begin(work: Path, first: int, start: Path | None) -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """The model and its tokenizer before phase `first`: new ones, those of the folder `start`, or those in `work`."""
    torch.manual_seed(PHASES[0].seed)
    if start:
        tokenizer, before = widened(PreTrainedTokenizerFast.from_pretrained(start))
        model = Qwen3ForCausalLM.from_pretrained(start, dtype=torch.float32)
        model.resize_token_embeddings(len(tokenizer))
        with torch.no_grad():
            rows = model.model.embed_tokens.weight
            for row, tokens in enumerate(before, len(tokenizer) - len(before)):
                rows[row] = rows[tokens].mean(0)
    else:
        if first == 1:
            drawn = examples(TOKENIZER_EXAMPLES, seed=PHASES[0].seed)
            train_tokenizer([text for one in drawn for text in (one.question, one.reply)]).save_pretrained(work)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(work)
        model = Qwen3ForCausalLM(configuration(len(tokenizer)))
        if first > 1:
            model.load_state_dict(torch.load(work / "weights.pt"))
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(work)
    return model.train(), tokenizer


def keep(model: Qwen3ForCausalLM, path: Path) -> None:
    """Write the weights so that a reader finds the old file or the new one, never half of one."""
    torch.save(model.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def train(folder: Path, work: Path, first: int, last: int, start: Path | None) -> None:
    """Run the phases from number `first` to `last` (from 1) and save the model; see the module's docstring."""
    work.mkdir(parents=True, exist_ok=True)
    model, tokenizer = begin(work, first, start)
    for number, phase in enumerate(PHASES[first - 1 : last], first):
        average = {name: weight.clone() for name, weight in model.state_dict().items()}
        for line in run(model, tokenizer, phase):
            for name, weight in model.state_dict().items():
                average[name].lerp_(weight, AVERAGED)
            is_last = line["step"] == phase.steps - 1
            if line["step"] % 10 == 0 or is_last:
                print(json.dumps({"phase": number, **line}), flush=True)
            if line["step"] % 25 == 24 or is_last:
                keep(model, work / "weights.pt")
                torch.save(average, work / "average.pt")
        keep(model, work / f"phase-{number}.pt")
        torch.save(average, work / "average.pt")
        averaged = Qwen3ForCausalLM(model.config)
        averaged.load_state_dict(average)
        save(averaged, tokenizer, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("folder", type=Path, help="where the model goes")
    parser.add_argument("--work", type=Path, default=Path("var/metro-sql"), help="where checkpoints go")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the phase to begin with")
    parser.add_argument("--to", type=int, default=len(PHASES), dest="last", help="the phase to end with")
    parser.add_argument("--start", type=Path, help="a model folder whose weights and tokenizer to begin with")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options.folder, options.work, options.first, options.last, options.start)


if __name__ == "__main__":
    main()
