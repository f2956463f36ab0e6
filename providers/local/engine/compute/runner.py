"""One step: scheduled tokens in, drawn tokens out.

A step is launched and collected. On a GPU a launch returns while the device works, and collecting waits for the ids,
which are the only thing that the host has to wait for. A decode step may be followed by the next one of the same rows
before its ids are read (streak.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from providers.local.engine.compute.attention import Layout
from providers.local.engine.compute.drawing.batch import Batch
from providers.local.engine.compute.drawing.inputs import sent
from providers.local.engine.compute.drawing.logprobs import Logprobs
from providers.local.engine.compute.drawing.masks import Edited, Masks, PendingMasks, edit, edits
from providers.local.engine.compute.drawing.sampler import NO_NUMBERS, TOO_FEW
from providers.local.engine.compute.graphs import DecodeGraphs
from providers.local.engine.compute.grouping import grouped, groups
from providers.local.engine.compute.kvcache import BLOCK_TOKENS, KVCache
from providers.local.engine.compute.model import Model
from providers.local.engine.compute.streak import Streak
from providers.local.engine.errors import OutOfMemory
from providers.local.engine.output import TokenLogprobs
from providers.local.engine.sequence import ScheduledTokens, Sequence

log = logging.getLogger("sluice.engine")

# Exit status after a GPU failure, which only a new process can recover from.
LOST = 3


@contextmanager
def failures() -> Iterator[None]:
    """Raises OutOfMemory if the device had too little memory; exits the process if its GPU has failed."""
    try:
        yield
    except RuntimeError as error:
        message = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in message:
            raise OutOfMemory from None
        # Errors of torch, cuBLAS and Triton. After a CUDA error every later call of this process fails too.
        if "CUDA error" in message or "[CUDA]" in message or type(error).__name__ == "AcceleratorError":
            if "out of memory" in message:
                raise OutOfMemory from None
            log.critical("the GPU failed; the engine exits and is started again: %s", message.partition("\n")[0])
            raise SystemExit(LOST) from None
        raise


@dataclass(slots=True)
class StepOutput:
    """The drawn tokens of a chunk: one, and one more after each drafted token; None if the logits were NaN.

    tokens     none if the draw has to be done again, in a step that is not followed before it is read
    logprobs   per token, if the sequence asks for them
    """

    chunk: ScheduledTokens
    tokens: list[int | None]
    logprobs: list[TokenLogprobs]


@dataclass(slots=True)
class Launched:
    """A step that was launched.

    chunks     the chunks that draw
    batch      the rows' sampling parameters
    ids        the drawn ids, see sampler.draw; on the host once `done` has happened
    logits     the logits that they were drawn from; the next step's once this one is followed
    logprobs   of the rows that want them
    streak     the rows as steps that may follow; None if the next step must be planned
    rows       of a step that followed: the row of each chunk
    followed   whether the next step was launched
    """

    chunks: list[ScheduledTokens]
    batch: Batch
    ids: Tensor
    logits: Tensor
    logprobs: Logprobs | None = None
    streak: Streak | None = None
    rows: list[int] | None = None
    followed: bool = False
    done: torch.cuda.Event | None = None


@dataclass(slots=True)
class Rows:
    """What a step feeds and draws, as lists: tokens with their positions and slots, and the rows that are drawn.

    wanted     which of the tokens are drawn behind
    counts     of each drawn row, the index of its token among the generated ones
    drafted    the drafted tokens that each drawn row comes after
    """

    tokens: list[int]
    positions: list[int]
    slots: list[int]
    tables: list[list[int]]
    wanted: list[int]
    sequences: list[Sequence]
    counts: list[int]
    drafted: list[list[int]]

    @classmethod
    def of(cls, chunks: list[ScheduledTokens]) -> Rows:
        made = cls([], [], [], [], [], [], [], [])
        for chunk in chunks:
            fed, blocks = chunk.fed, chunk.sequence.blocks
            made.tokens += fed
            places = range(chunk.start, chunk.start + len(fed))
            made.positions += places
            made.slots += [blocks[at // BLOCK_TOKENS] * BLOCK_TOKENS + at % BLOCK_TOKENS for at in places]
            if chunk.draws:
                draws = 1 + len(chunk.draft)
                made.tables += [blocks] * draws
                made.wanted += range(len(made.tokens) - draws, len(made.tokens))
                made.sequences += [chunk.sequence] * draws
                made.counts += range(chunk.sequence.generated, chunk.sequence.generated + draws)
                made.drafted += [chunk.draft[:i] for i in range(draws)]
        return made


class Runner:
    """A model and its cache; turns a plan into tensors.

    ahead   whether a launch returns while the device still works; then the loop launches the next step before it
            decodes the last one's text
    """

    def __init__(self, model: Model, cache: KVCache) -> None:
        self.model = model
        self.cache = cache
        self.ahead = model.device.type == "cuda"
        self._graphs: DecodeGraphs | None = None
        self._order: list[Sequence] = []
        self._masks = Masks(model.config.vocabulary)
        self._batch = self._empty = Batch([], 0, model.device)

    def run(self, chunks: list[ScheduledTokens]) -> list[StepOutput]:
        """Launch and collect."""
        return self.collect(self.launch(chunks))

    def capture(self, max_batch: int, max_context: int, captured: Callable[[], None]) -> None:
        """Capture decode steps as CUDA graphs; nothing without kernels. Where that fails, steps run without."""
        if not self.model.kernels:
            return
        if self.model.config.experts:
            log.warning("no CUDA graphs: which experts run is read from the device")
            return
        try:
            self._graphs = DecodeGraphs(self.model, self.cache, max_batch, max_context, captured)
        except RuntimeError as error:
            first = (str(error).splitlines() or [""])[0]
            log.warning("no CUDA graphs: the capture failed (%s); decode steps are launched kernel by kernel", first)

    @property
    def graphs(self) -> bool:
        """Whether decode steps run as captured graphs."""
        return self._graphs is not None

    @failures()
    def wipe(self, blocks: list[int]) -> None:
        """See KVCache.wipe."""
        if blocks:
            self.cache.wipe(blocks)

    @failures()
    @torch.inference_mode()
    def launch(self, chunks: list[ScheduledTokens]) -> Launched:
        """Start to compute the chunks' keys and values, and to draw for those that reach their last token.

        Raises OutOfMemory. The previous step must be collected before, because steps share buffers.
        """
        graphs = self._fitting(chunks)
        parts = [self._in_place(chunks)] if graphs else grouped(chunks, self.model.kernels is not None)
        chunks = [chunk for part in parts for chunk in part]
        rows = Rows.of(chunks)
        masks = self._masks.begin([sequence.constraint for sequence in rows.sequences])
        device = self.model.device
        edited = edits(rows.sequences, rows.counts, device)
        self._prepare(rows)
        if graphs:
            logits = graphs.run(rows.tokens, rows.positions, rows.slots, rows.tables)
        else:
            layout = Layout(sent(rows.slots, device), groups(parts, self.model))
            tokens, positions, wanted = (sent(each, device) for each in (rows.tokens, rows.positions, rows.wanted))
            logits = self.model.forward(tokens, positions, wanted, layout, self.cache)
        launched = self._draw([chunk for chunk in chunks if chunk.draws], rows, logits, masks, edited, graphs)
        # A constraint that is free in a thought may bind from the next token on.
        constrained = any(sequence.constraint is not None for sequence in rows.sequences)
        alone = not constrained and edited is None and launched.logprobs is None
        if graphs and alone and self._batch.shared and len(rows.tokens) == len(chunks):
            launched.streak = Streak(chunks, self._batch.steps_left)
        return launched

    @failures()
    @torch.inference_mode()
    def follow(self, launched: Launched, take: Callable[[Sequence], bool]) -> Launched | None:
        """Launch the next step of the same rows before the ids of `launched` are read; None if it must be planned.

        take   gives a sequence one more block, if there is one
        """
        streak, graphs, batch = launched.streak, self._graphs, launched.batch
        if streak is None or graphs is None or (rows := streak.go_on(take)) is None:
            return None
        logits = graphs.follow(streak, batch)
        launched.followed = True
        ids = graphs.draw(batch)
        return self._sending(Launched([streak.chunks[row] for row in rows], batch, ids, logits, None, streak, rows))

    def _fitting(self, chunks: list[ScheduledTokens]) -> DecodeGraphs | None:
        """The graphs, if they hold a step of these chunks: decodes, a row for each token."""
        graphs = self._graphs
        if graphs is None or not all(chunk.count == 1 and chunk.draws for chunk in chunks):
            return None
        return graphs if sum(1 + len(chunk.draft) for chunk in chunks) <= graphs.most else None

    def _in_place(self, chunks: list[ScheduledTokens]) -> list[ScheduledTokens]:
        """The chunks in the rows of the last decode step; new ones take the rows of those that ended.

        A graph's rows may be in any order. If sequences keep their rows, only new ones need new inputs: for 256
        sequences of 8,000 tokens that saves up to 7 ms after each end.
        """
        new = {id(chunk.sequence): chunk for chunk in chunks}
        kept = [new.pop(id(sequence), None) for sequence in self._order[: len(chunks)]]
        rest = iter(new.values())
        chunks = [chunk or next(rest) for chunk in kept] + list(rest)
        self._order = [chunk.sequence for chunk in chunks]
        return chunks

    def _prepare(self, rows: Rows) -> None:
        """Prepare the batch that draws for `rows`; the last step's is reused if the sequences are the same."""
        if not rows.sequences:
            return
        # A batch whose preparation raises must not be reused.
        batch, self._batch = self._batch, self._empty
        drafted = max(map(len, rows.drafted))
        if drafted or rows.sequences != batch.sequences or not batch.reusable:
            inputs = self._graphs.inputs(rows.sequences, drafted) if self._graphs else None
            vocabulary, device = self.model.config.vocabulary, self.model.device
            batch = Batch(rows.sequences, vocabulary, device, inputs, batch, rows.drafted)
        batch.prepare(rows.counts)
        self._batch = batch

    def _draw(
        self,
        chunks: list[ScheduledTokens],
        rows: Rows,
        logits: Tensor,
        masks: PendingMasks | None,
        edited: Edited | None,
        graphs: DecodeGraphs | None,
    ) -> Launched:
        """Draw for the chunks, and start to copy the ids to the host."""
        batch = self._batch
        if not chunks:
            return Launched(chunks, batch, torch.empty(0, dtype=torch.int64), logits)
        tops = [(row, sequence.logprobs) for row, sequence in enumerate(rows.sequences)]
        wanted = {row: top for row, top in tops if top is not None}
        logprobs = Logprobs(wanted, logits) if wanted else None
        self._masks.apply(masks, logits)
        edit(logits, edited)
        if graphs and batch.shared:
            ids = graphs.draw(batch, masks is not None or edited is not None)
        else:
            logits = batch.penalise(logits)
            ids = batch.draw(logits)
        return self._sending(Launched(chunks, batch, ids, logits, logprobs))

    def _sending(self, launched: Launched) -> Launched:
        """The step with its ids on their way to the host: the device's own may be another step's soon."""
        ids = launched.ids
        if ids.is_cuda:
            launched.ids = torch.empty(ids.shape, dtype=ids.dtype, pin_memory=True).copy_(ids, non_blocking=True)
            launched.done = torch.cuda.Event()
            launched.done.record()
        elif self._graphs:
            launched.ids = ids.clone()
        return launched

    @failures()
    @torch.inference_mode()
    def collect(self, launched: Launched) -> list[StepOutput]:
        """A step's outputs; waits for them. Raises OutOfMemory."""
        if launched.done:
            launched.done.synchronize()
        ids = launched.ids.tolist()
        if launched.followed:
            # The logits are those of the next step by now: nothing can be drawn again.
            tokens = [None if id == NO_NUMBERS else id for id in ids]
        else:
            tokens = launched.batch.read(ids, launched.logits)
        if launched.rows is not None:
            tokens = [tokens[row] for row in launched.rows]
        if launched.streak:
            return [
                StepOutput(chunk, [] if token == TOO_FEW else [token], [])
                for chunk, token in zip(launched.chunks, tokens, strict=True)
            ]
        chosen = launched.logprobs.read(tokens) if launched.logprobs else {}
        outputs: list[StepOutput] = []
        at = 0
        for chunk in launched.chunks:
            end = at + 1 + len(chunk.draft)
            mine = [chosen[row] for row in range(at, end) if row in chosen]
            outputs.append(StepOutput(chunk, tokens[at:end], mine))
            at = end
        return outputs
