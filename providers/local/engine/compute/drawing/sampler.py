"""Drawing tokens: penalties, temperature, top-k, top-p, min-p, in this order, as transformers does it.

What is drawn for a sequence depends on its logits, its parameters, its seed and how many tokens it has, and on
nothing else in the batch: it is the maximum of log p + Gumbel noise (https://arxiv.org/abs/1611.00712), and the noise
is a function of (seed, position, token). So a draft that is judged in one step draws exactly what it would have drawn
one token at a time. And logits that another batch has rounded otherwise draw the same token, but where two are equal
to within that rounding; to invert a running sum adds up the rounding of every token before.

`draw` is tensors alone: it can be captured, and the ids it leaves are all that has to be read of a step. A row for
which its candidates do not suffice says so in its id, and is drawn again from all tokens (`Batch.read`).
"""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor

from providers.local.engine.compute.drawing.inputs import LINE, Inputs

# Sorting a vocabulary of 152k costs a hundred times what its best thousand do; they hold the nucleus nearly always.
CANDIDATES = 1024
# Of equal logits at a filter's edge those with the lowest ids stay, so a few more than top_k have to be looked at.
EQUALS = 64
RUN, SHORTEST_RUN = 256, 32
# Below, float32 cannot hold what dividing gives, and the most likely token is what is meant.
COLDEST = 1e-5
MILDEST = 1e-6
# Ids that are none: the logits are no numbers; the candidates do not suffice.
NO_NUMBERS, TOO_FEW = -1, -2
_MASK = (1 << 64) - 1


def counter(seed: int, position: int) -> int:
    """Where a draw's noise begins, a function of its arguments: the upper 53 bits of splitmix64 (Steele, Lea, Flood
    2014). What `counters` computes for many rows."""
    z = (seed * 0x9E3779B97F4A7C15 + (position + 1) * 0xD1B54A32D192ED03) & _MASK
    for _ in range(2):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        z ^= z >> 31
    return z >> 11


def counters(numbers: Tensor) -> Tensor:
    """`counter` of every row, (rows,) int64, from its seed and position; see Inputs for `numbers`."""
    position, low, high = (numbers[LINE[name]].long() for name in ("position", "seed_low", "seed_high"))
    # int64 wraps around, and its shifts copy the sign.
    z = (low | high << 32) * -0x61C8864680B583EB + (position + 1) * -0x2E4AB5CD2E6D12FD
    for _ in range(2):
        z = (z ^ (z >> 30 & (1 << 34) - 1)) * -0x40A7B892E31B1A47
        z = (z ^ (z >> 27 & (1 << 37) - 1)) * -0x6B2FB644ECCEEE15
        z = z ^ (z >> 31 & (1 << 33) - 1)
    return z >> 11 & (1 << 53) - 1


def gumbel(counters: Tensor, of: Tensor) -> Tensor:
    """−log(−log u), float64, with u from splitmix64 of a row's counter and of what the noise is for.

    counters   (rows,) int64
    of         (rows or 1, n) int64   tokens; runs of tokens as −1 − run
    """
    z = counters.unsqueeze(1) * -0x61C8864680B583EB + of * -0x2E4AB5CD2E6D12FD
    z = (z ^ (z >> 30 & (1 << 34) - 1)) * -0x40A7B892E31B1A47
    z = (z ^ (z >> 27 & (1 << 37) - 1)) * -0x6B2FB644ECCEEE15
    z = z ^ (z >> 31 & (1 << 33) - 1)
    u = ((z >> 12 & (1 << 52) - 1).double() + 0.5) * 2.0**-52
    return u.log_().neg_().log_().neg_()


class Work(NamedTuple):
    """What a batch's draws take: a function of its parameters, so that what no row needs is left out.

    plain, filtered   the rows drawn from all of the softmax, and from what filters leave: their numbers; True where
                      every row is drawn so, and its parameters say whether that counts; False where none is
    candidates        how many tokens the filters look at
    whole             whether a row has filters, but no top_k: its probabilities are of all tokens
    """

    plain: Tensor | bool = False
    filtered: Tensor | bool = False
    candidates: int = 0
    whole: bool = False


def penalise(logits: Tensor, inputs: Inputs, tokens: int) -> None:
    """repetition (https://arxiv.org/abs/1909.05858) over prompt and reply, presence and frequency over the reply.

    logits   (rows, vocabulary) float32, changed in place
    tokens   how many columns of `inputs.seen` are looked at
    """
    columns = inputs.numbers.unsqueeze(-1)
    repetition, presence, frequency, seen = (
        columns[LINE[name]] for name in ("repetition_penalty", "presence_penalty", "frequency_penalty", "seen")
    )
    # Columns beyond a row's last repeat it, and so write what it writes.
    at = torch.arange(tokens, device=logits.device).minimum(seen.long() - 1).clamp_(min=0)
    ids, times = inputs.seen.gather(1, at), inputs.times.gather(1, at)
    score = logits.gather(1, ids)
    repetition = repetition.clamp(min=MILDEST).float()
    score = torch.where(score < 0, score * repetition, score / repetition)
    logits.scatter_(1, ids, score - (presence.float() * (times > 0) + frequency.float() * times))


def draw(logits: Tensor, numbers: Tensor, work: Work) -> Tensor:
    """Draw the next token of every row. No branch, shape or copy depends on what the tensors hold.

    logits    (rows, vocabulary)  penalised
    numbers   see Inputs
    returns   (rows,)  int64      the token, or NO_NUMBERS, or TOO_FEW
    """
    tokens, best = most_likely(logits)
    for which, way, filtered in ((work.plain, _draw_plain, False), (work.filtered, _draw_filtered, True)):
        if which is True:
            mine = (numbers[LINE["temperature"]] >= COLDEST) & (_filters(numbers) == filtered)
            tokens = torch.where(mine, way(logits.float(), numbers, work), tokens)
        elif which is not False:
            tokens[which] = way(logits[which].float(), numbers[:, which], work)
    return tokens.masked_fill_(~torch.isfinite(best), NO_NUMBERS)


def most_likely(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The most likely token of every row, of equals the first, and its logit: NaN where a row has one.

    In two levels where the vocabulary divides, the runs' best and then the best run: `max` over the whole row takes
    twice as long on a CPU (1,677 against 827 µs for bfloat16, 64 × 32,000).
    """
    rows, size = logits.shape
    width = gcd(size, RUN)
    if width < SHORTEST_RUN:
        best, tokens = logits.max(-1)
        return tokens, best
    runs = logits.view(rows, -1, width)
    run = runs.amax(-1).argmax(-1, keepdim=True)
    best, within = runs.gather(1, run.unsqueeze(-1).expand(-1, -1, width)).squeeze(1).max(-1, keepdim=True)
    return (run * width + within).squeeze(1), best.squeeze(1)


def _filters(numbers: Tensor) -> Tensor:
    return (numbers[LINE["top_k"]] > 0) | (numbers[LINE["top_p"]] < 1) | (numbers[LINE["min_p"]] > 0)


def _temperatures(numbers: Tensor) -> Tensor:
    # Rows that are not drawn at all go through here too, where all rows do.
    return numbers[LINE["temperature"]].clamp(min=COLDEST).float().unsqueeze(1)


def _draw_plain(logits: Tensor, numbers: Tensor, work: Work) -> Tensor:  # noqa: ARG001 - as _draw_filtered has it
    """From the whole softmax: first a run of RUN tokens, by the runs' log-sum-exps, then a token of that run.

    Both by Gumbel's maximum, which is exact for each: so 850 numbers are drawn for a vocabulary of 152k.
    """
    rows, size = logits.shape
    scaled = torch.full((rows, -(-size // RUN) * RUN), float("-inf"), device=logits.device)
    torch.div(logits, _temperatures(numbers), out=scaled[:, :size])
    runs = scaled.view(rows, -1, RUN)
    mass = runs.logsumexp(-1).double()
    noise = counters(numbers)
    run = (mass + gumbel(noise, -1 - torch.arange(runs.shape[1], device=logits.device).unsqueeze(0))).argmax(-1)
    tokens = run.unsqueeze(1) * RUN + torch.arange(RUN, device=logits.device)
    scores = scaled.gather(1, tokens).double()
    return tokens.gather(1, (scores + gumbel(noise, tokens)).argmax(-1, keepdim=True)).squeeze(1)


def _draw_filtered(logits: Tensor, numbers: Tensor, work: Work) -> Tensor:
    """From what top-k, top-p and min-p leave; TOO_FEW where the best `work.candidates` may not hold that."""
    size, wanted = logits.shape[1], work.candidates
    temperatures = _temperatures(numbers)
    # By logit and then by id: which of equal logits topk takes, and in which order, depends on how many are wanted.
    tokens = logits.topk(wanted, sorted=False).indices.sort().values
    best, order = logits.gather(1, tokens).sort(descending=True, stable=True)
    tokens = tokens.gather(1, order)
    scores = (best / temperatures).double()
    top_k, top_p, min_p = (numbers[LINE[name]].unsqueeze(-1) for name in ("top_k", "top_p", "min_p"))
    k = top_k.masked_fill((top_k <= 0) | (top_k >= size), size)
    scores = scores.masked_fill(torch.arange(wanted, device=logits.device) >= k, float("-inf"))
    # Probabilities are of what top-k leaves: of the whole vocabulary where it is off.
    total = scores.logsumexp(-1, keepdim=True)
    if work.whole:
        total = torch.where(k < size, total, (logits / temperatures).logsumexp(-1, keepdim=True).double())
    weights = (scores - total).exp()
    before = weights.cumsum(-1) - weights
    weights *= (before < top_p) & (weights >= weights[:, :1] * min_p)
    drawn = tokens.gather(1, (weights.log() + gumbel(counters(numbers), tokens)).argmax(-1, keepdim=True))
    if wanted < size:
        # Also every token that equals the last one kept has to be there, because ids decide among equals.
        last = ((weights > 0).sum(-1, keepdim=True) - 1).clamp_(min=0)
        complete = (best.gather(1, last) > best[:, -1:]) & ((k <= wanted) | (k == size))
        drawn.masked_fill_(~complete, TOO_FEW)
    return drawn.squeeze(1)
