"""One step: scheduled tokens in, drawn tokens out. Layouts and tables are made here, once for all layers.

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
from providers.local.engine.compute.masks import Masks, PendingMasks
from providers.local.engine.compute.model import Model
from providers.local.engine.compute.sampler import Batch, Edited, edits, logprobs, sent
from providers.local.engine.errors import CannotLoad, OutOfMemory
from providers.local.engine.output import TokenLogprobs
from providers.local.engine.sequence import ScheduledTokens, Sequence

log = logging.getLogger("sluice.engine")

# A step should last no longer than this, so that a long prompt does not delay the running replies.
STEP_S = {"cpu": 0.25, "cuda": 0.05}
BUDGETS = {"cpu": (64, 2048), "cuda": (64, 8192)}
# With fewer tokens a GPU's trial step would measure launch time only.
TRIAL_TOKENS = {"cpu": 64, "cuda": 2048}
# Below 64 common tokens, two calls cost more than reading the keys several times.
WORTH_SHARING_BLOCKS = 4
# Up to 128 tokens padding costs less than another call.
SHORT_BLOCKS = 8


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

    logprobs   per token, if the sequence asks for them
    """

    chunk: ScheduledTokens
    tokens: list[int | None]
    logprobs: list[TokenLogprobs]


@dataclass(slots=True)
class Launched:
    """A step that was launched.

    chunks   the chunks that draw
    batch    the rows' sampling parameters
    ids      the drawn ids, see sampler.draw; on the host once `done` has happened
    logits   the logits that they were drawn from
    plain    the model's logits before masks and penalties, if a sequence asks for log probabilities
    """

    chunks: list[ScheduledTokens]
    batch: Batch
    ids: Tensor
    logits: Tensor
    plain: Tensor
    done: torch.cuda.Event | None = None


def grouped(chunks: list[ScheduledTokens], kernel: bool = False) -> list[list[ScheduledTokens]]:
    """The chunks in attention's groups: those of one length that begin with the same blocks, then the others.

    kernel   whether the GPU's kernel takes all decodes in one call, of any length
    """
    parts: list[list[ScheduledTokens]] = []
    for queries, alike in groupby(sorted(chunks, key=lambda chunk: len(chunk.fed)), key=lambda chunk: len(chunk.fed)):
        if kernel and queries == 1:
            parts.append(list(alike))
            continue
        if queries > FOLDED_QUERIES:
            # A long prompt fills the machine alone, and a mask over several would be mostly padding.
            parts += [[chunk] for chunk in alike]
            continue
        by_beginning: defaultdict[int, list[ScheduledTokens]] = defaultdict(list)
        for chunk in alike:
            by_beginning[chunk.sequence.blocks[0]].append(chunk)
        others: list[ScheduledTokens] = []
        for part in by_beginning.values():
            if common := shared_blocks(part):
                parts += _by_length(part, common)
            else:
                others += part
        parts += _by_length(others, 0)
    return parts


def _by_length(chunks: list[ScheduledTokens], common: int) -> list[list[ScheduledTokens]]:
    """Groups of similar length: a group's keys are padded to its longest, so at most doubled."""
    by_length: defaultdict[int, list[ScheduledTokens]] = defaultdict(list)
    for chunk in chunks:
        blocks = (chunk.start + chunk.count) // BLOCK_TOKENS - common
        by_length[max(blocks, SHORT_BLOCKS).bit_length()].append(chunk)
    return list(by_length.values())


def shared_blocks(chunks: list[ScheduledTokens]) -> int:
    """How many first blocks the chunks have in common; 0 if too few for a separate attention call."""
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
    """Whether the decode kernel works here: it needs a GPU, Triton, a C compiler and a power of 2 as head_dim."""
    config, device = model.config, model.device
    if config.experts and device.type == "cuda":
        log.warning("no CUDA graphs: which experts run is read from the device")
        return False
    if device.type != "cuda" or not importlib.util.find_spec("triton") or config.head_dim & (config.head_dim - 1):
        return False
    from providers.local.engine.compute.splitkv import decode

    q = torch.zeros(1, config.kv_heads, config.heads // config.kv_heads, config.head_dim, device=device)
    table = torch.full((1, 1), NULL_BLOCK, device=device)
    try:
        decode(q.to(model.dtype), cache.layers[0], table, torch.ones_like(table[0]))
    except Exception as error:  # noqa: BLE001 - Triton raises many kinds
        log.warning("no CUDA graphs: the decode kernel does not compile (%s); is there a C compiler?", error)
        return False
    return True


class Runner:
    """A model and its cache; turns a plan into tensors.

    ahead   whether a launch returns while the device still works; then the loop launches the next step before it
            decodes the last one's text
    """

    def __init__(self, model: Model, cache: KVCache) -> None:
        self.model = model
        self.cache = cache
        self.ahead = model.device.type == "cuda"
        # Graphs capture decode steps with the kernel.
        self._kernel = has_kernel(model, cache)
        self._graphs: DecodeGraphs | None = None
        self._order: list[Sequence] = []
        self._masks = Masks(model.config.vocabulary)
        self._batch = self._empty = Batch([], 0, model.device)

    def run(self, chunks: list[ScheduledTokens]) -> list[StepOutput]:
        """Launch and collect."""
        return self.collect(self.launch(chunks))

    def capture(self, max_batch: int, max_context: int, captured: Callable[[], None]) -> None:
        """Capture decode steps as CUDA graphs; nothing on a CPU. Where that fails, steps run without."""
        if not self._kernel:
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
        decodes = all(len(chunk.fed) == 1 and chunk.draws for chunk in chunks)
        graphs = self._graphs if decodes and self._graphs and len(chunks) <= self._graphs.most else None
        parts = [self._in_place(chunks)] if graphs else grouped(chunks, self._kernel)
        chunks = [chunk for part in parts for chunk in part]
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        wanted: list[int] = []
        # Of each drawn row: its sequence, and the index of the token among the generated ones.
        rows: list[Sequence] = []
        counts: list[int] = []
        drafted: list[list[int]] = []
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
                drafted += [chunk.draft[:i] for i in range(draws)]
        masks = self._masks.begin([sequence.constraint for sequence in rows])
        self._prepare(rows, counts, drafted)
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
        return self._draw(
            [chunk for chunk in chunks if chunk.draws], logits, masks, edits(rows, counts, device), graphs
        )

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

    def _groups(self, parts: list[list[ScheduledTokens]]) -> list[Group]:
        sizes = [len(part) * len(part[0].fed) for part in parts]
        return [self._group(first, part) for first, part in zip(accumulate(sizes, initial=0), parts, strict=False)]

    def _group(self, first: int, chunks: list[ScheduledTokens]) -> Group:
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
            repeat = self.model.config.heads // self.model.config.kv_heads if queries > 1 else 1
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

    def _prepare(self, rows: list[Sequence], counts: list[int], drafted: list[list[int]]) -> None:
        """Prepare the batch that draws for `rows`; the last step's is reused if the sequences are the same."""
        if not rows:
            return
        # A batch whose preparation raises must not be reused.
        batch, self._batch = self._batch, self._empty
        drafts = any(drafted)
        if drafts or rows != batch.sequences or not batch.reusable:
            inputs = self._graphs.inputs(rows) if self._graphs and not drafts else None
            batch = Batch(rows, self.model.config.vocabulary, self.model.device, inputs, batch, drafted)
        batch.prepare(counts)
        self._batch = batch

    def _draw(
        self,
        chunks: list[ScheduledTokens],
        logits: Tensor,
        masks: PendingMasks | None,
        edited: Edited | None,
        graphs: DecodeGraphs | None,
    ) -> Launched:
        """Draw for the chunks, and start to copy the ids to the host."""
        batch = self._batch
        wants_logprobs = any(chunk.sequence.logprobs is not None for chunk in chunks)
        plain = logits.clone() if wants_logprobs else logits
        if not chunks:
            ids = torch.empty(0, dtype=torch.int64)
        elif graphs and batch.shared and masks is None and edited is None and not wants_logprobs:
            ids = graphs.draw(batch)
        else:
            self._masks.apply(masks, logits)
            if edited is not None:
                logits.index_put_(edited[:2], edited[2].to(logits.dtype), accumulate=True)
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
    def collect(self, launched: Launched) -> list[StepOutput]:
        """A step's outputs; waits for them. Raises OutOfMemory."""
        if launched.done:
            launched.done.synchronize()
        outputs: list[StepOutput] = []
        tokens = launched.batch.read(launched.ids.tolist(), launched.logits)
        at = 0
        for chunk in launched.chunks:
            chosen: list[TokenLogprobs] = []
            end = at + 1 + len(chunk.draft)
            top = chunk.sequence.logprobs
            if top is not None:
                rows = zip(launched.plain[at:end], tokens[at:end], strict=True)
                chosen = [logprobs(row, token, top) for row, token in rows if token is not None]
            outputs.append(StepOutput(chunk, tokens[at:end], chosen))
            at = end
        return outputs


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
