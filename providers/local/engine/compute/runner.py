"""One step: chunks in, drawn tokens out. What depends on the step's shape is made here, once, for all layers.

A step is launched and collected. On a GPU a launch returns while the device works, and collecting waits for the ids,
which are the only thing that the host has to wait for.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, groupby

import torch
from torch import Tensor

from providers.local.engine.blocks import NULL_BLOCK, Blocks
from providers.local.engine.compute.attention import FOLDED_QUERIES, Group, Keys, Layout, causal_mask
from providers.local.engine.compute.graphs import DecodeGraphs
from providers.local.engine.compute.kvcache import BLOCK_TOKENS, KVCache
from providers.local.engine.compute.model import Model
from providers.local.engine.compute.sampler import Batch, logprobs, sent
from providers.local.engine.constraint import Begun, Masks
from providers.local.engine.errors import CannotLoad, OutOfMemory
from providers.local.engine.output import Told
from providers.local.engine.sequence import Chunk, Sequence

log = logging.getLogger("sluice.engine")

# A step should last no longer than this, so that a long prompt does not stop the replies under way for long.
STEP_S = {"cpu": 0.25, "cuda": 0.05}
BUDGETS = {"cpu": (64, 2048), "cuda": (64, 8192)}
# Fewer on a GPU would measure what launching costs.
TRIAL_TOKENS = {"cpu": 64, "cuda": 2048}
# Below 64 common tokens, two calls cost more than reading the keys several times.
WORTH_SHARING_BLOCKS = 4
# Up to 128 tokens padding costs less than another call.
SHORT_BLOCKS = 8


# What the process ends with when its GPU has failed: every later call would fail too, in this process alone.
LOST = 3


@contextmanager
def failures() -> Iterator[None]:
    """Raises OutOfMemory where the device's memory did not suffice; ends the process where its GPU has failed."""
    try:
        yield
    except RuntimeError as error:
        told = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in told:
            raise OutOfMemory from None
        # torch's own errors, cuBLAS's among them, and Triton's. A CUDA error stays, whoever asks next.
        if "CUDA error" in told or "[CUDA]" in told or type(error).__name__ == "AcceleratorError":
            if "out of memory" in told:
                raise OutOfMemory from None
            log.critical("the GPU failed, and the engine ends to be started afresh: %s", told.partition("\n")[0])
            raise SystemExit(LOST) from None
        raise


@dataclass(slots=True)
class Drawn:
    """What a chunk drew: a token, and one more behind each drafted token; None where the logits were no numbers.

    logprobs   per token, where the sequence asks for them
    """

    chunk: Chunk
    tokens: list[int | None]
    logprobs: list[Told]


@dataclass(slots=True)
class Launched:
    """A step that was launched.

    chunks   those that draw
    batch    what draws
    ids      what was drawn, see sampler.draw; on the host when `done` has happened
    logits   from which it was drawn
    plain    those of the model, before masks and penalties, where somebody asks for log probabilities
    """

    chunks: list[Chunk]
    batch: Batch
    ids: Tensor
    logits: Tensor
    plain: Tensor
    done: torch.cuda.Event | None = None


def grouped(chunks: list[Chunk], kernel: bool = False) -> list[list[Chunk]]:
    """The chunks by how attention takes them: those of one length that begin with the same blocks, then the others.

    kernel   whether decodes are one call of the GPU's kernel, however long they are
    """
    parts: list[list[Chunk]] = []
    for queries, alike in groupby(sorted(chunks, key=lambda chunk: len(chunk.fed)), key=lambda chunk: len(chunk.fed)):
        if kernel and queries == 1:
            parts.append(list(alike))
            continue
        if queries > FOLDED_QUERIES:
            # A long prompt is work enough by itself, and a mask over several would be mostly padding.
            parts += [[chunk] for chunk in alike]
            continue
        by_beginning: defaultdict[int, list[Chunk]] = defaultdict(list)
        for chunk in alike:
            by_beginning[chunk.sequence.blocks[0]].append(chunk)
        others: list[Chunk] = []
        for part in by_beginning.values():
            if common := shared_blocks(part):
                parts += _by_length(part, common)
            else:
                others += part
        parts += _by_length(others, 0)
    return parts


def _by_length(chunks: list[Chunk], common: int) -> list[list[Chunk]]:
    """Those of about one length together: a group's keys are padded to its longest, and so at most doubled."""
    by_length: defaultdict[int, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        blocks = (chunk.start + chunk.count) // BLOCK_TOKENS - common
        by_length[max(blocks, SHORT_BLOCKS).bit_length()].append(chunk)
    return list(by_length.values())


def shared_blocks(chunks: list[Chunk]) -> int:
    """How many blocks all of several chunks begin with; 0 where that is too few to be worth an attention of its own."""
    if len(chunks) < 2:
        return 0
    most = min(chunk.start for chunk in chunks) // BLOCK_TOKENS
    first = chunks[0].sequence.blocks
    for chunk in chunks:
        blocks = chunk.sequence.blocks
        while blocks[:most] != first[:most]:
            most -= 1
    return most if most >= WORTH_SHARING_BLOCKS else 0


def has_kernel(model: Model, cache: KVCache) -> bool:
    """Whether the decode kernel can be used: on a GPU, with Triton, a C compiler, and heads of a power of two."""
    shape, device = model.shape, model.device
    if device.type != "cuda" or not importlib.util.find_spec("triton") or shape.head_dim & (shape.head_dim - 1):
        return False
    from providers.local.engine.compute.splitkv import decode

    q = torch.zeros(1, shape.kv_heads, shape.heads // shape.kv_heads, shape.head_dim, device=device)
    table = torch.full((1, 1), NULL_BLOCK, device=device)
    try:
        decode(q.to(model.dtype), cache.layers[0], table, torch.ones_like(table[0]))
    except Exception as error:  # noqa: BLE001 - Triton raises many kinds
        log.warning("no CUDA graphs: the decode kernel does not compile (%s); is there a C compiler?", error)
        return False
    return True


class Runner:
    """A model, its cache, and how a plan becomes tensors.

    ahead   whether a launch returns while the device still works: then the next step is to be launched before the text
            of the last one is read
    """

    def __init__(self, model: Model, cache: KVCache) -> None:
        self.model = model
        self.cache = cache
        self.ahead = model.device.type == "cuda"
        # Graphs are of decode steps with the kernel.
        self._kernel = has_kernel(model, cache)
        self._graphs: DecodeGraphs | None = None
        self._order: list[Sequence] = []
        self._masks = Masks()
        self._batch = self._nobody = Batch([], 0, model.device)

    def run(self, chunks: list[Chunk]) -> list[Drawn]:
        """Launch and collect."""
        return self.collect(self.launch(chunks))

    def capture(self, max_batch: int, max_context: int, captured: Callable[[], None]) -> None:
        """Capture decode steps as CUDA graphs; nothing on a CPU."""
        if self._kernel:
            self._graphs = DecodeGraphs(self.model, self.cache, max_batch, max_context, captured)

    @failures()
    def wipe(self, blocks: list[int]) -> None:
        """See KVCache.wipe."""
        if blocks:
            self.cache.wipe(blocks)

    @failures()
    @torch.inference_mode()
    def launch(self, chunks: list[Chunk]) -> Launched:
        """Begin to compute the chunks' keys and values, and to draw where they reach their last token.

        Raises OutOfMemory. The step launched before has to be collected: the two share buffers.
        """
        decodes = all(len(chunk.fed) == 1 and chunk.draws for chunk in chunks)
        graphs = self._graphs if decodes and self._graphs and len(chunks) <= self._graphs.most else None
        parts = [self._in_place(chunks)] if graphs else grouped(chunks, self._kernel)
        chunks = [chunk for part in parts for chunk in part]
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        wanted: list[int] = []
        # A row each: whose, and as its how-many-th generated token.
        rows: list[Sequence] = []
        counts: list[int] = []
        for chunk in chunks:
            fed = chunk.fed
            tokens += fed
            places = range(chunk.start, chunk.start + len(fed))
            positions += places
            blocks = chunk.sequence.blocks
            slots += [blocks[at // BLOCK_TOKENS] * BLOCK_TOKENS + at % BLOCK_TOKENS for at in places]
            if chunk.draws:
                draws = 1 + len(chunk.draft)
                wanted += range(len(tokens) - draws, len(tokens))
                rows += [chunk.sequence] * draws
                counts += range(chunk.sequence.generated, chunk.sequence.generated + draws)
        masks = self._masks.begin([sequence.constraint for sequence in rows])
        self._prepare(rows, counts)
        device = self.model.device
        if graphs:
            logits = graphs.run(tokens, positions, slots, [chunk.sequence.blocks for chunk in chunks])
        else:
            logits = self.model.forward(
                sent(tokens, device),
                sent(positions, device),
                sent(wanted, device),
                Layout(sent(slots, device), self._groups(parts)),
                self.cache,
            )
        return self._draw([chunk for chunk in chunks if chunk.draws], logits, masks, graphs)

    def _in_place(self, chunks: list[Chunk]) -> list[Chunk]:
        """The chunks in the order of the last decode step, those that came in the places of those that went.

        A graph's rows may stand in any order. If each stays in its own, only new ones' inputs have to be made: for 256
        sequences of 8,000 tokens, up to 7 ms after each that ends.
        """
        new = {id(chunk.sequence): chunk for chunk in chunks}
        kept = [new.pop(id(sequence), None) for sequence in self._order[: len(chunks)]]
        rest = iter(new.values())
        chunks = [chunk or next(rest) for chunk in kept] + list(rest)
        self._order = [chunk.sequence for chunk in chunks]
        return chunks

    def _groups(self, parts: list[list[Chunk]]) -> list[Group]:
        sizes = [len(part) * len(part[0].fed) for part in parts]
        return [self._group(first, part) for first, part in zip(accumulate(sizes, initial=0), parts, strict=False)]

    def _group(self, first: int, chunks: list[Chunk]) -> Group:
        queries = len(chunks[0].fed)
        if self._kernel and queries == 1:
            keys = Keys(self._padded([chunk.sequence.blocks for chunk in chunks]), NULL_BLOCK, 0)
            ends = torch.tensor([chunk.start + 1 for chunk in chunks], device=self.model.device)
            return Group(first, len(chunks), 1, keys, lengths=ends)
        common = shared_blocks(chunks) if self.model.device.type == "cpu" else 0
        shared = self._keys([chunks[0].sequence.blocks[:common]], [common * BLOCK_TOKENS]) if common else None
        starts = [chunk.start - common * BLOCK_TOKENS for chunk in chunks]
        lengths = [start + queries for start in starts]
        own = self._keys(
            [chunk.sequence.blocks[common : -(-(chunk.start + queries) // BLOCK_TOKENS)] for chunk in chunks], lengths
        )
        folded = queries <= FOLDED_QUERIES
        mask = None
        if folded and (queries > 1 or min(lengths) < own.length):
            repeat = self.model.shape.heads // self.model.shape.kv_heads if queries > 1 else 1
            mask = causal_mask(starts, queries, own.length, repeat, self.model.dtype, self.model.device)
        return Group(first, len(chunks), queries, own, shared, mask, starts[0])

    def _keys(self, tables: list[list[int]], lengths: list[int]) -> Keys:
        run = tables[0][0]
        if len(tables) == 1 and tables[0] == list(range(run, run + len(tables[0]))):
            return Keys(None, run, lengths[0])
        return Keys(self._padded(tables), NULL_BLOCK, max(lengths))

    def _padded(self, tables: list[list[int]]) -> Tensor:
        widest = max(map(len, tables))
        padded = [blocks + [NULL_BLOCK] * (widest - len(blocks)) for blocks in tables]
        return torch.tensor(padded, device=self.model.device)

    def _prepare(self, rows: list[Sequence], counts: list[int]) -> None:
        """Make ready the batch that draws for `rows`: the last step's, where it is the same sequences."""
        if not rows:
            return
        # Whoever fails half way is not used again.
        batch, self._batch = self._batch, self._nobody
        if rows != batch.sequences:
            inputs = self._graphs.inputs(rows) if self._graphs else None
            batch = Batch(rows, self.model.shape.vocabulary, self.model.device, inputs, batch)
        batch.prepare(counts)
        self._batch = batch

    def _draw(self, chunks: list[Chunk], logits: Tensor, masks: Begun | None, graphs: DecodeGraphs | None) -> Launched:
        """Draw for the chunks, and send the ids on their way to the host."""
        batch = self._batch
        told = any(chunk.sequence.sampling.logprobs is not None for chunk in chunks)
        plain = logits.clone() if told else logits
        if not chunks:
            ids = torch.empty(0, dtype=torch.int64)
        elif graphs and batch.shared and masks is None and not told:
            ids = graphs.draw(batch)
        else:
            self._masks.apply(masks, logits)
            logits = batch.penalise(logits)
            ids = batch.draw(logits)
        done = None
        if logits.is_cuda:
            ids = torch.empty(ids.shape, dtype=ids.dtype, pin_memory=True).copy_(ids, non_blocking=True)
            done = torch.cuda.Event()
            done.record()
        return Launched(chunks, batch, ids, logits, plain, done)

    @failures()
    @torch.inference_mode()
    def collect(self, launched: Launched) -> list[Drawn]:
        """What a step drew; waits for it. Raises OutOfMemory."""
        if launched.done:
            launched.done.synchronize()
        drawn: list[Drawn] = []
        tokens = launched.batch.read(launched.ids.tolist(), launched.logits)
        at = 0
        for chunk in launched.chunks:
            told: list[Told] = []
            end = at + 1 + len(chunk.draft)
            top = chunk.sequence.sampling.logprobs
            if top is not None:
                rows = zip(launched.plain[at:end], tokens[at:end], strict=True)
                told = [logprobs(row, token, top) for row, token in rows if token is not None]
            drawn.append(Drawn(chunk, tokens[at:end], told))
            at = end
        return drawn


def measure_budget(runner: Runner, blocks: Blocks, max_context: int, loading: Callable[[], None]) -> int:
    """Tokens that a step takes in about STEP_S; also the first, slow calls of every kernel are over then.

    Raises CannotLoad where the model gives no numbers.
    """
    device = runner.model.device.type
    count = min(TRIAL_TOKENS[device], max_context, (blocks.count - 1) * BLOCK_TOKENS)
    seconds = 0.0
    for _ in range(2):
        trial = Sequence((0, 0), [0] * count, 1)
        trial.blocks = blocks.take(-(-count // BLOCK_TOKENS))
        began = time.perf_counter()
        drawn = runner.run([Chunk(trial, 0, count)])
        seconds = time.perf_counter() - began
        blocks.release(trial.blocks)
        if drawn[0].tokens[0] is None:
            raise CannotLoad("the model's output is not a number in a trial step: its weights are damaged")
        loading()
    low, high = BUDGETS[device]
    return min(high, max(low, int(STEP_S[device] / seconds * count)))
