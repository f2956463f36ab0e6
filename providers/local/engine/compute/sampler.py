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

from copy import copy
from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor

from providers.local.engine.output import TokenLogprobs
from providers.local.engine.sequence import Sequence
from providers.sampling import OFF

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
# The lines of Inputs.numbers: each parameter of providers/sampling.py that a draw depends on, then what is kept for it.
NUMBERS = (*OFF, "seen", "counter")
LINE = {name: line for line, name in enumerate(NUMBERS)}


def counter(seed: int, position: int) -> int:
    """Where a draw's noise begins, a function of its arguments: the upper 53 bits of splitmix64 (Steele, Lea, Flood
    2014), so that float64 holds it."""
    z = (seed * 0x9E3779B97F4A7C15 + (position + 1) * 0xD1B54A32D192ED03) & _MASK
    for _ in range(2):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        z ^= z >> 31
    return z >> 11


def gumbel(counters: Tensor, of: Tensor) -> Tensor:
    """−log(−log u), float64, with u from splitmix64 of a row's counter and of what the noise is for.

    counters   (rows,) float64
    of         (rows or 1, n) int64   tokens; runs of tokens as −1 − run
    """
    # int64 wraps around, and its shifts copy the sign.
    z = counters.long().unsqueeze(1) * -0x61C8864680B583EB + of * -0x2E4AB5CD2E6D12FD
    z = (z ^ (z >> 30 & (1 << 34) - 1)) * -0x40A7B892E31B1A47
    z = (z ^ (z >> 27 & (1 << 37) - 1)) * -0x6B2FB644ECCEEE15
    z = z ^ (z >> 31 & (1 << 33) - 1)
    u = ((z >> 12 & (1 << 52) - 1).double() + 0.5) * 2.0**-52
    return u.log_().neg_().log_().neg_()


class Inputs:
    """What rows are drawn by, as tensors.

    numbers   (lines, rows)   float64   NUMBERS, a line each
    seen      (rows, tokens)  int64     the tokens that penalties fall on, in the first `seen` columns
    times     (rows, tokens)  float32   how often each was generated
    """

    def __init__(self, rows: int, tokens: int, device: torch.device) -> None:
        # A captured size reads the first len(NUMBERS) · size of it as its lines, so that they come in one copy.
        self._flat = torch.zeros(len(NUMBERS) * rows, dtype=torch.float64, device=device)
        self.numbers = self._flat.view(len(NUMBERS), rows)
        self.seen = torch.zeros(rows, tokens, dtype=torch.int64, device=device)
        self.times = torch.zeros(rows, tokens, dtype=torch.float32, device=device)

    def first(self, rows: int) -> Inputs:
        """The first rows: of a captured size's tensors, those that hold a sequence."""
        part = copy(self)
        part.numbers, part.seen, part.times = self.numbers[:, :rows], self.seen[:rows], self.times[:rows]
        return part

    def part(self, rows: int) -> Inputs:
        """The same memory for fewer rows."""
        part = copy(self)
        part.numbers = self._flat[: len(NUMBERS) * rows].view(len(NUMBERS), rows)
        part.seen, part.times = self.seen[:rows], self.times[:rows]
        return part


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
    counters = numbers[LINE["counter"]]
    run = (mass + gumbel(counters, -1 - torch.arange(runs.shape[1], device=logits.device).unsqueeze(0))).argmax(-1)
    tokens = run.unsqueeze(1) * RUN + torch.arange(RUN, device=logits.device)
    scores = scaled.gather(1, tokens).double()
    return tokens.gather(1, (scores + gumbel(counters, tokens)).argmax(-1, keepdim=True)).squeeze(1)


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
    drawn = tokens.gather(1, (weights.log() + gumbel(numbers[LINE["counter"]], tokens)).argmax(-1, keepdim=True))
    if wanted < size:
        # Also every token that equals the last one kept has to be there, because ids decide among equals.
        last = ((weights > 0).sum(-1, keepdim=True) - 1).clamp_(min=0)
        complete = (best.gather(1, last) > best[:, -1:]) & ((k <= wanted) | (k == size))
        drawn.masked_fill_(~complete, TOO_FEW)
    return drawn.squeeze(1)


class Batch:
    """The rows of a step's draws. Made once while they are the same sequences; what changes goes in with `prepare`.

    sequences   a row each; a sequence with a draft has further rows, each behind one more drafted token
    drafted     the drafted tokens that each row comes after; none for a sequence's first row
    inputs      tensors that are to be used, with rows and columns enough; made to measure where none are given
    shared      whether such were given
    before      the batch of the last step: what penalties need of sequences that were in it is moved, not made again
                (1.3 ms for 576 tokens)
    """

    # Columns for tokens to come, so that a batch of the same sequences is not made anew at each step.
    SPARE = 64

    def __init__(
        self,
        sequences: list[Sequence],
        vocabulary: int,
        device: torch.device,
        inputs: Inputs | None = None,
        before: Batch | None = None,
        drafted: list[list[int]] | None = None,
    ) -> None:
        self.sequences = sequences
        self.drafted = drafted or [[]] * len(sequences)
        self._vocabulary = vocabulary
        numbers = [sequence.numbers for sequence in sequences]
        filters = [each["top_k"] > 0 or each["top_p"] < 1 or each["min_p"] > 0 for each in numbers]
        self._drawn = [i for i, each in enumerate(numbers) if each["temperature"] >= COLDEST]
        penalised = [i for i, each in enumerate(sequences) if each.penalised]
        # Where each token that a penalty falls on stands in its row, and how many of the sequence's are there already.
        self._places: dict[int, dict[int, int]] = {i: {} for i in penalised if not self.drafted[i]}
        self._taken = dict.fromkeys(self._places, 0)
        self._behind = [i for i in penalised if self.drafted[i]]
        self.penalised = bool(penalised)
        self.shared = inputs is not None
        width = max((len(sequences[i].counts) + len(self.drafted[i]) + self.SPARE for i in penalised), default=0)
        self.inputs = inputs or Inputs(len(sequences), width, device)
        lines = [[each[name] for each in numbers] for name in OFF]
        rows = self.inputs.numbers.shape[1]
        self._host = torch.zeros(len(NUMBERS), rows, dtype=torch.float64, pin_memory=device.type == "cuda")
        self._host[: len(lines), : len(numbers)] = torch.tensor(lines, dtype=torch.float64)
        filtered = [i for i in self._drawn if filters[i]]
        top_k = [int(numbers[i]["top_k"]) if numbers[i]["top_k"] < vocabulary else 0 for i in filtered]
        self.work = Work(
            self._rows([i for i in self._drawn if not filters[i]], device),
            self._rows(filtered, device),
            min(vocabulary, max((k + EQUALS if k else CANDIDATES for k in top_k), default=0)),
            not all(top_k),
        )
        if before and penalised:
            self._move(before)

    def _move(self, before: Batch) -> None:
        rows = {before.sequences[row]: row for row in before._places}  # first rows, behind no drafted token
        moved = [(row, rows[self.sequences[row]]) for row in self._places if self.sequences[row] in rows]
        if not moved:
            return
        widest = max(len(before._places[source]) for _, source in moved)
        to, source = sent([list(each) for each in zip(*moved, strict=True)], self.inputs.seen.device)
        self.inputs.seen[to, :widest] = before.inputs.seen[source, :widest]
        self.inputs.times[to, :widest] = before.inputs.times[source, :widest]
        for row, old in moved:
            self._places[row], self._taken[row] = before._places[old], before._taken[old]
        self._host[LINE["seen"], list(self._places)] = self._lengths()

    @property
    def reusable(self) -> bool:
        """Whether the next step of the same sequences without drafts can use this batch."""
        return not any(self.drafted) and self._most_places() <= self.inputs.seen.shape[1]

    def _most_places(self) -> int:
        """The most columns that a row's penalties need."""
        return max((len(self.sequences[row].counts) + len(self.drafted[row]) for row in self._penalised()), default=0)

    def _penalised(self) -> list[int]:
        return [*self._places, *self._behind]

    def _lengths(self) -> Tensor:
        return torch.tensor([len(place) for place in self._places.values()]).double()

    def _rows(self, rows: list[int], device: torch.device) -> Tensor | bool:
        return sent(rows, device) if 0 < len(rows) < len(self.sequences) else bool(rows)

    def prepare(self, positions: list[int]) -> None:
        """Bring the tensors up to date for the rows' next draw. Waits for nothing that runs on the device.

        positions   as its sequence's how-many-th generated token each row draws
        """
        inputs, host = self.inputs, self._host
        counters = [counter(self.sequences[i].sampling.seed or 0, positions[i]) for i in self._drawn]
        host[LINE["counter"], self._drawn] = torch.tensor(counters, dtype=torch.float64)
        if fresh := [each for i, place in self._places.items() for each in self._fresh(i, place)]:
            row, at, token, times = sent([list(each) for each in zip(*fresh, strict=True)], inputs.seen.device)
            inputs.seen.index_put_((row, at), token)
            inputs.times.index_put_((row, at), times.float())
            host[LINE["seen"], list(self._places)] = self._lengths()
        if self._behind:
            self._extend()
        inputs.numbers.copy_(host, non_blocking=True)

    def _extend(self) -> None:
        """Rows behind drafted tokens: what penalties fall on in the sequence's first row, and those tokens."""
        entries: list[tuple[int, int, int, int]] = []
        for row in self._behind:
            first, counts = row - len(self.drafted[row]), self.sequences[row].counts
            place = self._places[first]
            wide = len(place)
            self.inputs.seen[row, :wide] = self.inputs.seen[first, :wide]
            self.inputs.times[row, :wide] = self.inputs.times[first, :wide]
            times: dict[int, int] = {}
            for token in self.drafted[row]:
                times[token] = times.get(token, counts.get(token, 0)) + 1
            for token, count in times.items():
                at = place.get(token, wide)
                wide += at == wide
                entries.append((row, at, token, count))
            self._host[LINE["seen"], row] = wide
        rows, columns, tokens, counted = sent(
            [list(each) for each in zip(*entries, strict=True)], self.inputs.seen.device
        )
        self.inputs.seen.index_put_((rows, columns), tokens)
        self.inputs.times.index_put_((rows, columns), counted.float())

    def _fresh(self, row: int, place: dict[int, int]) -> list[tuple[int, int, int, int]]:
        """row, column, token, times generated: of the tokens that came since the last draw."""
        sequence = self.sequences[row]
        fresh = dict.fromkeys(sequence.tokens[self._taken[row] :] if self._taken[row] else sequence.counts)
        self._taken[row] = len(sequence.tokens)
        return [(row, place.setdefault(token, len(place)), token, sequence.counts.get(token, 0)) for token in fresh]

    def penalise(self, logits: Tensor) -> Tensor:
        """The logits with the rows' penalties: others, or the same ones changed."""
        if self.penalised:
            logits = logits.float()
            penalise(logits, self.inputs.first(len(logits)), self._most_places())
        return logits

    def draw(self, logits: Tensor) -> Tensor:
        """See the function of that name."""
        return draw(logits, self.inputs.numbers[:, : len(logits)], self.work)

    def read(self, ids: list[int], logits: Tensor) -> list[int | None]:
        """The drawn tokens, None where the logits are no numbers; what needs more candidates is drawn again.

        logits   what `ids` were drawn from
        """
        if again := [row for row, id in enumerate(ids) if id == TOO_FEW]:
            rows = sent(again, logits.device)
            work = Work(filtered=True, candidates=self._vocabulary, whole=True)
            drawn = draw(logits[rows], self.inputs.numbers[:, rows], work).tolist()
            for row, id in zip(again, drawn, strict=True):
                ids[row] = id
        return [None if id == NO_NUMBERS else id for id in ids]


def sent(values: list[int] | list[list[int]], device: torch.device) -> Tensor:
    """Whole numbers on the device, without waiting for what runs there."""
    pinned = torch.tensor(values, dtype=torch.int64, pin_memory=device.type == "cuda")
    return pinned.to(device, non_blocking=True)


Edited = tuple[Tensor, Tensor, Tensor]
"""Rows, tokens, and what is added to their logits."""


def edits(sequences: list[Sequence], generated: list[int], device: torch.device) -> Edited | None:
    """The changes that the rows' sequences ask for, see edits.py; None where there are none."""
    entries = [
        (row, token, value)
        for row, (sequence, count) in enumerate(zip(sequences, generated, strict=True))
        if sequence.edits is not None and sequence.edits.active(count)
        for token, value in sequence.edits.entries(sequence.tokens, count)
    ]
    if not entries:
        return None
    rows, tokens, values = zip(*entries, strict=True)
    at = sent([list(rows), list(tokens)], device)
    return at[0], at[1], torch.tensor(values, dtype=torch.float32).to(device, non_blocking=True)


def logprobs(logits: Tensor, token: int, top: int) -> TokenLogprobs:
    """log softmax of one row of the model's logits: the drawn token's, and the `top` most likely tokens with theirs."""
    scores = logits.float().log_softmax(-1)
    best = scores.topk(top)
    return scores[token].item(), list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
