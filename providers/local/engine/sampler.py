"""Drawing tokens: penalties, temperature, top-k, top-p, min-p, in this order, as transformers does it.

What is drawn for a sequence depends on its logits, its parameters, its seed and how many tokens it has, and on
nothing else in the batch: each draw takes one number from a counter (seed, position), and inverts the cumulative
distribution there. So a draft that is judged in one step draws exactly what it would have drawn one token at a time.
"""

from __future__ import annotations

from collections.abc import Sequence as Rows
from dataclasses import dataclass

import torch
from torch import Tensor

from providers.local.engine.sequence import Sampling, Sequence

# Sorting a vocabulary of 152k costs a hundred times what its best thousand do; they hold the nucleus nearly always.
CANDIDATES = 1024
# Of equal logits at a filter's edge those with the lowest ids stay, so a few more than top_k have to be looked at.
EQUALS = 64
RUN = 256
# Below, float32 cannot hold what dividing gives, and the most likely token is what is meant.
COLDEST = 1e-5
MILDEST = 1e-6
_MASK = (1 << 64) - 1


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1), a function of its arguments: the upper 53 bits of splitmix64 (Steele, Lea, Flood 2014)."""
    z = (seed * 0x9E3779B97F4A7C15 + (position + 1) * 0xD1B54A32D192ED03) & _MASK
    for _ in range(2):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        z ^= z >> 31
    return (z >> 11) / (1 << 53)


@dataclass(slots=True)
class Row:
    """One draw: for which sequence, and as its how-many-th generated token."""

    sequence: Sequence
    position: int

    @property
    def sampling(self) -> Sampling:
        return self.sequence.sampling


def sample(logits: Tensor, rows: Rows[Row]) -> list[int | None]:
    """Draw the next token of every row; None where the logits are no numbers.

    logits    (rows, vocabulary)  as the model gave them; −inf where a constraint forbids. May be changed in place.
    """
    if any(row.sampling.penalised for row in rows):
        logits = logits.float()
        for i, row in enumerate(rows):
            if row.sampling.penalised:
                _penalise(logits[i], row.sequence)
    # max passes NaN on, so the check for poisoned logits costs nothing.
    best, tokens = logits.max(dim=-1)
    drawing = [(i, _filters(row.sampling)) for i, row in enumerate(rows) if row.sampling.temperature >= COLDEST]
    for draw, filters in ((_draw_filtered, True), (_draw_plain, False)):
        if chosen := [i for i, filtered in drawing if filtered is filters]:
            mine = logits if len(chosen) == len(rows) else logits[chosen]
            tokens[chosen] = draw(mine.float(), [rows[i] for i in chosen])
    finite = torch.isfinite(best).tolist()
    return [token if good else None for token, good in zip(tokens.tolist(), finite, strict=True)]


def _filters(sampling: Sampling) -> bool:
    return sampling.top_k > 0 or sampling.top_p < 1 or sampling.min_p > 0


def _penalise(logits: Tensor, sequence: Sequence) -> None:
    """repetition (https://arxiv.org/abs/1909.05858) over prompt and reply, presence and frequency over the reply."""
    sampling = sequence.sampling
    if sampling.repetition_penalty != 1:
        seen = torch.tensor(sorted(set(sequence.tokens)), device=logits.device)
        score = logits[seen]
        penalty = max(sampling.repetition_penalty, MILDEST)
        logits[seen] = torch.where(score < 0, score * penalty, score / penalty)
    if sequence.counts and (sampling.presence_penalty or sampling.frequency_penalty):
        used = torch.tensor(list(sequence.counts), device=logits.device)
        times = torch.tensor(list(sequence.counts.values()), device=logits.device, dtype=logits.dtype)
        logits[used] -= sampling.presence_penalty + sampling.frequency_penalty * times


def _column(values: list[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(1)


def _draw_plain(logits: Tensor, rows: list[Row]) -> Tensor:
    """From the whole softmax: first a run of RUN tokens, by the runs' sums, then a token of that run.

    A running sum over all of a large vocabulary in float64 takes four times as long, and in float32 it drifts.
    """
    size = logits.shape[1]
    weights = torch.zeros(len(rows), -(-size // RUN) * RUN, device=logits.device)
    scaled = torch.div(logits, _temperatures(logits, rows), out=weights[:, :size])
    scaled.sub_(scaled.amax(-1, keepdim=True)).exp_()
    runs = weights.view(len(rows), -1, RUN)
    sums = runs.sum(-1, dtype=torch.float64)
    target = _uniforms(sums, rows) * sums.sum(-1, keepdim=True)
    run = _first_beyond(sums, target)
    # What is left of the target within the run, kept inside it whatever rounding did.
    within = runs[torch.arange(len(rows), device=logits.device), run].double()
    left = target - (sums.cumsum(-1) - sums).gather(1, run.unsqueeze(1))
    last = within.sum(-1, keepdim=True) * (1 - 1e-9)
    return run * RUN + _first_beyond(within, left.clamp_(min=0).minimum(last))


def _draw_filtered(logits: Tensor, rows: list[Row]) -> Tensor:
    """From what top-k, top-p and min-p leave."""
    size = logits.shape[1]
    top_k = [min(row.sampling.top_k, size) or size for row in rows]
    wanted = min(size, max(k + EQUALS if k < size else CANDIDATES for k in top_k))
    tokens, complete = _draw_among(logits, rows, top_k, wanted)
    if not complete.all():
        # Some row may need more than the candidates: those rows again, over all tokens.
        again = [i for i, whole in enumerate(complete.tolist()) if not whole]
        tokens[again] = _draw_among(logits[again], [rows[i] for i in again], [top_k[i] for i in again], size)[0]
    return tokens


def _draw_among(logits: Tensor, rows: list[Row], top_k: list[int], wanted: int) -> tuple[Tensor, Tensor]:
    """Draw among the `wanted` best; also whether they hold all that a row's filters leave, and all its equals."""
    size = logits.shape[1]
    temperatures = _temperatures(logits, rows)
    # By logit and then by id: which of equal logits topk takes, and in which order, depends on how many are wanted.
    tokens = logits.topk(wanted, sorted=False).indices.sort().values
    best, order = logits.gather(1, tokens).sort(descending=True, stable=True)
    tokens = tokens.gather(1, order)
    scores = (best / temperatures).double()
    k = torch.tensor(top_k, device=logits.device).unsqueeze(1)
    scores = scores.masked_fill(torch.arange(wanted, device=logits.device) >= k, float("-inf"))
    # Probabilities are of what top-k leaves: of the whole vocabulary where it is off.
    total = scores.logsumexp(-1, keepdim=True)
    if any(k == size for k in top_k):
        total = torch.where(k < size, total, (logits / temperatures).logsumexp(-1, keepdim=True).double())
    weights = (scores - total).exp()
    before = weights.cumsum(-1) - weights
    kept = before < _column([row.sampling.top_p for row in rows], weights)
    kept &= weights >= weights[:, :1] * _column([row.sampling.min_p for row in rows], weights)
    weights *= kept
    last = ((weights > 0).sum(-1, keepdim=True) - 1).clamp_(min=0)
    complete = best.gather(1, last).squeeze(1) > best[:, -1]
    chosen = _first_beyond(weights, _uniforms(weights, rows) * weights.sum(-1, keepdim=True))
    return tokens.gather(1, chosen.unsqueeze(1)).squeeze(1), complete


def _temperatures(like: Tensor, rows: list[Row]) -> Tensor:
    return _column([row.sampling.temperature for row in rows], like)


def _uniforms(like: Tensor, rows: list[Row]) -> Tensor:
    return _column([uniform(row.sampling.seed, row.position) for row in rows], like)


def _first_beyond(weights: Tensor, target: Tensor) -> Tensor:
    """The first index at which the running sum of a row's weights exceeds its target."""
    found = torch.searchsorted(weights.cumsum(-1), target, right=True).squeeze(1)
    # A row of NaN has no such index; it fails by itself, and must not make this one fail the batch.
    return found.clamp_(max=weights.shape[1] - 1)


def logprobs(logits: Tensor, token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
    """log softmax of one row of the model's logits: the drawn token's, and the `top` most likely tokens with theirs."""
    scores = logits.float().log_softmax(-1)
    best = scores.topk(top) if top else None
    return scores[token].item(), [] if best is None else list(
        zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
