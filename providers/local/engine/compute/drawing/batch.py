"""The rows of a step's draws as tensors: parameters, seeds, and what penalties fall on.

What a row has of these changes only where sequences come and go, but for its position and its new tokens: those are
brought by `Batch.prepare`, or on the device itself where steps follow each other (graphs.py).
"""

from __future__ import annotations

import torch
from torch import Tensor

from providers.local.engine.compute.drawing.inputs import LINE, NUMBERS, Inputs, sent
from providers.local.engine.compute.drawing.sampler import (
    CANDIDATES,
    COLDEST,
    EQUALS,
    NO_NUMBERS,
    TOO_FEW,
    Work,
    draw,
    penalise,
)
from providers.local.engine.sequence import Sequence
from providers.sampling import OFF


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
        drawn = [i for i, each in enumerate(numbers) if each["temperature"] >= COLDEST]
        penalised = [i for i, each in enumerate(sequences) if each.penalised]
        # Where each token that a penalty falls on stands in its row, and how many of the sequence's are there already.
        self._places: dict[int, dict[int, int]] = {i: {} for i in penalised if not self.drafted[i]}
        self._taken = dict.fromkeys(self._places, 0)
        self._behind = [i for i in penalised if self.drafted[i]]
        self.penalised = bool(penalised)
        self.shared = inputs is not None
        width = max((len(sequences[i].counts) + len(self.drafted[i]) + self.SPARE for i in penalised), default=0)
        self.inputs = inputs or Inputs(len(sequences), width, device)
        seeds = [(sequence.sampling.seed or 0) & (1 << 64) - 1 for sequence in sequences]
        nothing = [0.0] * len(sequences)
        lines = [[each[name] for each in numbers] for name in OFF]
        lines += [nothing, nothing, [float(seed & 0xFFFFFFFF) for seed in seeds], [float(seed >> 32) for seed in seeds]]
        rows = self.inputs.numbers.shape[1]
        self._host = torch.zeros(len(NUMBERS), rows, dtype=torch.float64, pin_memory=device.type == "cuda")
        self._host[:, : len(sequences)] = torch.tensor(lines, dtype=torch.float64)
        filtered = [i for i in drawn if filters[i]]
        top_k = [int(numbers[i]["top_k"]) if numbers[i]["top_k"] < vocabulary else 0 for i in filtered]
        self.work = Work(
            self._rows([i for i in drawn if not filters[i]], device),
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
    def steps_left(self) -> int:
        """How many more steps of the same rows `inputs` has columns for, whatever is drawn."""
        return self.inputs.seen.shape[1] - self._most_places() if self.penalised else 1 << 30

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
        host[LINE["position"], : len(positions)] = torch.tensor(positions, dtype=torch.float64)
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
