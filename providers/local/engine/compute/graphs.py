"""Decode steps on a GPU as CUDA graphs: one launch instead of ten per layer, and one for the draws.

A graph replays the same kernels over the same memory, so there is one per batch size (1, 2, 4, 8, then every 8), over
input tensors that stay; a batch between two sizes is filled up with rows that write to the null block. A step's graph
ends in the ids of a greedy batch; for others a second one, over the logits that the first has left, draws anew: `plain`
for temperatures alone, `any` for every parameter, greedy rows among them. What one mask or number per token would have
to be brought to the host for (constraints, logprobs) is done outside, on the same logits.

The next step of the same rows needs nothing of the host: a third graph makes its tokens, positions, slots and what
penalties fall on of the ids that are on the device (`_advance`), so it can be launched before they are read.

A sequence with drafted tokens is several rows, one per token, with the same blocks: what the rows before it wrote is in
the cache when a row attends.

For penalties each row has a list of its different tokens and how often each was generated; a step adds its new
tokens. A list holds MOST_SEEN tokens, because a count for the whole vocabulary would take far more memory. While a
sequence has more different tokens than that, steps with it are drawn outside the graphs.

Captured at start, largest first, so that the smaller ones fit into its memory. Not yet measured on a GPU; what is
captured runs as it is on a CPU, where tests judge it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from providers.local.engine.blocks import NULL_BLOCK
from providers.local.engine.compute.attention import Group, Keys, Layout
from providers.local.engine.compute.drawing import sampler
from providers.local.engine.compute.drawing.batch import Batch
from providers.local.engine.compute.drawing.inputs import LINE, Inputs, sent
from providers.local.engine.compute.drawing.sampler import Work, draw, penalise
from providers.local.engine.compute.kvcache import BLOCK_TOKENS, KVCache
from providers.local.engine.compute.model import Model
from providers.local.engine.compute.streak import Streak
from providers.local.engine.sequence import Sequence

log = logging.getLogger("sluice.engine")

WARM_UPS = 2
# The block table of a row without a sequence.
EMPTY_ROW = [NULL_BLOCK]
MOST_SEEN = 4096
# What the driver keeps for a captured step, and for the draws of one: an estimate.
GRAPH_BYTES = 16 << 20
# float32 numbers per logit: the logits themselves, what captured draws make of them, and draws outside once more.
SAMPLER_COPIES = 8


def sizes(max_batch: int) -> list[int]:
    """The batch sizes that are captured, up to the first that holds `max_batch`."""
    chosen = [1, 2, 4, *range(8, max_batch + 8, 8)]
    return [size for size in chosen if size < max_batch] + [min(size for size in chosen if size >= max_batch)]


def graph_bytes(max_batch: int, max_context: int, vocabulary: int) -> int:
    """An estimate of the memory that graphs and the sampler's buffers will take."""
    every = sizes(max_batch)
    tables, seen = 8 * -(-max_context // BLOCK_TOKENS), 12 * min(MOST_SEEN, max_context)
    return len(every) * GRAPH_BYTES + every[-1] * (4 * SAMPLER_COPIES * vocabulary + tables + seen)


class DecodeGraphs:
    """Captured decode steps. Their inputs, a row per sequence, are filled before each replay."""

    def __init__(
        self, model: Model, cache: KVCache, max_batch: int, max_context: int, captured: Callable[[], None]
    ) -> None:
        """
        max_context   tokens of the longest sequence
        captured      called after each size: capturing takes seconds, and the supervisor must see progress
        """
        self._model, self._cache = model, cache
        self._device, vocabulary = model.device, model.config.vocabulary
        self._sizes = sizes(max_batch)
        self.most = most = self._sizes[-1]
        # A size reads the first 4 · size as its tokens, positions, slots and lengths, so that they come in one copy.
        self._numbers = torch.zeros(4 * most, dtype=torch.int64, device=self._device)
        self._tables = torch.zeros(most, -(-max_context // BLOCK_TOKENS), dtype=torch.int64, device=self._device)
        # What the tables hold: each row's block list, and how many of its blocks.
        self._held: list[tuple[list[int], int]] = [([], 0)] * most
        self._inputs = Inputs(most, min(MOST_SEEN, max_context), self._device)
        self._logits = torch.zeros(most, vocabulary, dtype=torch.float32, device=self._device)
        self._ids = torch.zeros(most, dtype=torch.int64, device=self._device)
        self._candidates = min(vocabulary, sampler.CANDIDATES)
        self._pool: Any = None
        self._steps: dict[int, Callable[[], None]] = {}
        self._draws: dict[tuple[int, bool], Callable[[], None]] = {}
        self._advances: dict[tuple[int, bool], Callable[[], None]] = {}
        for done, size in enumerate(reversed(self._sizes), 1):
            # A row without a sequence has length 1, so it reads the null block only.
            self._numbers[: 4 * size].view(4, size)[3] = 1
            self._steps[size] = self._capture(partial(self._step, size))
            for filtered in (False, True):
                work = Work(True, filtered, self._candidates, True)
                self._draws[size, filtered] = self._capture(partial(self._draw, size, work))
                # Penalties are among what `filtered` draws look at.
                self._advances[size, filtered] = self._capture(partial(self._advance, size, filtered))
            captured()
            log.info("CUDA graph %d of %d: %d sequences", done, len(self._sizes), size)

    def _capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """`work` as a graph; as it is where there is no GPU."""
        if self._device.type != "cuda":
            return work
        for _ in range(WARM_UPS):
            work()
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            work()
        self._pool = self._pool or graph.pool()
        return graph.replay

    @torch.inference_mode()
    def _step(self, size: int) -> None:
        tokens, positions, slots, lengths = self._numbers[: 4 * size].view(4, size)
        keys = Keys(self._tables[:size], NULL_BLOCK, 0)
        layout = Layout(slots, [Group(0, size, 1, keys, lengths=lengths)])
        logits = self._logits[:size]
        logits.copy_(self._model.forward(tokens, positions, None, layout, self._cache))
        self._ids[:size].copy_(draw(logits, self._inputs.part(size).numbers, Work()))

    @torch.inference_mode()
    def _draw(self, size: int, work: Work) -> None:
        inputs, logits = self._inputs.part(size), self._logits[:size]
        if work.filtered:
            penalise(logits, inputs, inputs.seen.shape[1])
        self._ids[:size].copy_(draw(logits, inputs.numbers, work))

    @torch.inference_mode()
    def _advance(self, size: int, penalised: bool) -> None:
        """Make the inputs of the next step of the same rows, of what the last one drew."""
        tokens, positions, slots, lengths = self._numbers[: 4 * size].view(4, size)
        numbers = self._inputs.part(size).numbers
        tokens.copy_(self._ids[:size].clamp(min=0))
        positions += 1
        lengths += 1
        block = self._tables[:size].gather(1, (positions // BLOCK_TOKENS).unsqueeze(1)).squeeze(1)
        slots.copy_(block * BLOCK_TOKENS + positions % BLOCK_TOKENS)
        numbers[LINE["position"]] += 1
        if penalised:
            self._inputs.part(size).note(tokens)

    def size(self, rows: int) -> int:
        """The captured size for so many rows."""
        return next(size for size in self._sizes if size >= rows)

    def inputs(self, sequences: list[Sequence], drafted: int) -> Inputs | None:
        """The input tensors of the captured draws for these rows; None if the rows must be drawn outside a graph.

        drafted   the most tokens that a row has before it in its draft
        """
        if not 0 < len(sequences) <= self.most:
            return None
        vocabulary, wide = self._logits.shape[1], self._inputs.seen.shape[1]
        for sequence in sequences:
            top_k = sequence.numbers["top_k"]
            if sequence.penalised and len(sequence.counts) + drafted > wide:
                return None
            if 0 < top_k < vocabulary and self._candidates < min(vocabulary, top_k + sampler.EQUALS):
                return None
        return self._inputs.part(self.size(len(sequences)))

    def run(self, tokens: list[int], positions: list[int], slots: list[int], tables: list[list[int]]) -> Tensor:
        """The logits of one decode step, a row per sequence (`most` at most); valid until the next step."""
        rows = len(tokens)
        size = self.size(rows)
        left = [0] * (size - rows)
        lengths = [at + 1 for at in positions]
        filled = [tokens, left, positions, left, slots, [NULL_BLOCK] * len(left), lengths, [1] * len(left)]
        self._numbers[: 4 * size].copy_(sent(list(chain(*filled)), self._device))
        tables = tables + [EMPTY_ROW] * len(left)
        # A sequence's list of blocks only ever grows.
        if changed := [
            i
            for i, (table, (held, count)) in enumerate(zip(tables, self._held[:size], strict=True))
            if held is not table or count != len(table)
        ]:
            widest = max(len(tables[i]) for i in changed)
            padded = [tables[i] + [NULL_BLOCK] * (widest - len(tables[i])) for i in changed]
            self._tables[:, :widest].index_copy_(0, sent(changed, self._device), sent(padded, self._device))
            for i in changed:
                self._held[i] = tables[i], len(tables[i])
        self._steps[size]()
        return self._logits[:rows]

    def follow(self, streak: Streak, batch: Batch) -> Tensor:
        """The logits of the next step of the same rows, launched before the last one's ids are read."""
        rows = len(streak.chunks)
        size = self.size(rows)
        if streak.grown:
            row, index, block = sent([list(each) for each in zip(*streak.grown, strict=True)], self._device)
            self._tables.index_put_((row, index), block)
            for i, _, _ in streak.grown:
                blocks = streak.chunks[i].sequence.blocks
                self._held[i] = blocks, len(blocks)
        if streak.dead:
            dead = sent(streak.dead, self._device)
            self._tables.index_fill_(0, dead, NULL_BLOCK)
            # They see one key, and their positions begin anew, so that none leaves the context.
            for line in (1, 3):
                self._numbers[: 4 * size].view(4, size)[line].index_fill_(0, dead, 0)
            for i in streak.dead:
                self._held[i] = EMPTY_ROW, 1
            streak.dead = []
        self._advances[size, batch.penalised]()
        self._steps[size]()
        return self._logits[:rows]

    def draw(self, batch: Batch, changed: bool = False) -> Tensor:
        """The ids of the step that was run last, see sampler.draw; its rows are those of `batch`.

        changed   whether its logits were changed meanwhile: then the ids that its graph ends in do not count
        """
        rows = len(batch.sequences)
        every = batch.penalised or batch.work.filtered is not False
        if every or changed or batch.work.plain is not False:
            self._draws[self.size(rows), every]()
        return self._ids[:rows]
