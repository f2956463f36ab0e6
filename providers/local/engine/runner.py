"""One step: chunks in, drawn tokens out. What depends on the step's shape is made here, once, for all layers."""

from __future__ import annotations

import importlib.util
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from providers.local.engine.attention import FOLDED_QUERIES, Group, Keys, Layout, causal_mask
from providers.local.engine.blocks import NULL_BLOCK, Blocks
from providers.local.engine.constraint import Begun, Masks
from providers.local.engine.folder import CannotLoad
from providers.local.engine.graphs import DecodeGraphs
from providers.local.engine.kvcache import BLOCK_TOKENS, KVCache
from providers.local.engine.model import Model
from providers.local.engine.sampler import Row, logprobs, sample
from providers.local.engine.sequence import Chunk, Sequence

# A step should last no longer than this, so that a long prompt does not stop the replies under way for long.
STEP_S = {"cpu": 0.25, "cuda": 0.05}
BUDGETS = (64, 2048)
# Below 64 common tokens, two calls cost more than reading the keys several times.
WORTH_SHARING_BLOCKS = 4
# Up to 128 tokens padding costs less than another call.
SHORT_BLOCKS = 8


class OutOfMemory(Exception):
    """The device had no memory for this step."""


@dataclass(slots=True)
class Drawn:
    """What a chunk drew: a token, and one more behind each drafted token; None where the logits were no numbers.

    logprobs   per token (its own, [(token, logprob) of the most likely ones]), where the sequence asks for them
    """

    chunk: Chunk
    tokens: list[int | None]
    logprobs: list[tuple[float, list[tuple[int, float]]]]


def grouped(chunks: list[Chunk]) -> list[list[Chunk]]:
    """The chunks by how attention takes them: those of one length that begin with the same blocks, then the others."""
    parts: list[list[Chunk]] = []
    for queries, alike in groupby(sorted(chunks, key=lambda chunk: len(chunk.fed)), key=lambda chunk: len(chunk.fed)):
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


def has_kernel(head_dim: int) -> bool:
    """Whether the GPU's decode kernel can be used: it needs Triton, and heads of a power of two."""
    return importlib.util.find_spec("triton") is not None and head_dim & (head_dim - 1) == 0


class Runner:
    """A model, its cache, and how a plan becomes tensors."""

    def __init__(self, model: Model, cache: KVCache) -> None:
        self.model = model
        self.cache = cache
        # On a GPU: the decode kernel, where it knows the head size, and graphs of decode steps with it.
        self._kernel = model.device.type == "cuda" and has_kernel(model.shape.head_dim)
        self._graphs: DecodeGraphs | None = None
        self._masks = Masks()

    def run(self, chunks: list[Chunk]) -> list[Drawn]:
        """Compute the chunks' keys and values, and draw where they reach their last token. Raises OutOfMemory."""
        try:
            return self._run(grouped(chunks))
        except torch.OutOfMemoryError:
            raise OutOfMemory from None
        except RuntimeError as error:
            if "can't allocate memory" in str(error):
                raise OutOfMemory from None
            raise

    def capture(self, max_batch: int, max_context: int, captured: Callable[[], None]) -> None:
        """Capture decode steps as CUDA graphs; nothing on a CPU."""
        if self._kernel:
            widest = -(-max_context // BLOCK_TOKENS)
            self._graphs = DecodeGraphs(self.model, self.cache, max_batch, widest, captured)

    def wipe(self, blocks: list[int]) -> None:
        """See KVCache.wipe."""
        if blocks:
            self.cache.wipe(blocks)

    @torch.inference_mode()
    def _run(self, parts: list[list[Chunk]]) -> list[Drawn]:
        chunks = [chunk for part in parts for chunk in part]
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        wanted: list[int] = []
        rows: list[Row] = []
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
                rows += [Row(chunk.sequence, chunk.sequence.generated + i) for i in range(draws)]
        masks = self._masks.begin([row.sequence.constraint for row in rows])
        if self._graphs and len(tokens) == len(rows) == len(chunks):
            logits = self._graphs.run(tokens, positions, slots, [chunk.sequence.blocks for chunk in chunks])
            return self._draw(chunks, rows, logits, masks)
        device = self.model.device
        logits = self.model.forward(
            torch.tensor(tokens, device=device),
            torch.tensor(positions, device=device),
            torch.tensor(wanted, dtype=torch.int64, device=device),
            Layout(torch.tensor(slots, device=device), self._groups(parts)),
            self.cache,
        )
        return self._draw(chunks, rows, logits, masks)

    def _groups(self, parts: list[list[Chunk]]) -> list[Group]:
        groups: list[Group] = []
        first = 0
        for part in parts:
            groups.append(self._group(first, part))
            first += len(part) * groups[-1].queries
        return groups

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
        elif not folded and starts[0] and self.model.device.type == "cuda":
            mask = causal_mask(starts, queries, own.length, 1, self.model.dtype, self.model.device)
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

    def _draw(self, chunks: list[Chunk], rows: list[Row], logits: Tensor, masks: Begun | None) -> list[Drawn]:
        asked = [row.sampling.logprobs for row in rows]
        plain = logits.clone() if any(top is not None for top in asked) else logits
        self._masks.apply(masks, logits)
        tokens = sample(logits, rows) if rows else []
        drawn = []
        at = 0
        for chunk in chunks:
            if not chunk.draws:
                continue
            told: list[Any] = []
            end = at + 1 + len(chunk.draft)
            top = chunk.sequence.sampling.logprobs
            if top is not None:
                told = [logprobs(plain[i], token, top) for i in range(at, end) if (token := tokens[i]) is not None]
            drawn.append(Drawn(chunk, tokens[at:end], told))
            at = end
        return drawn


def measure_budget(runner: Runner, blocks: Blocks, max_context: int, loading: Callable[[], None]) -> int:
    """Tokens that a step takes in about STEP_S; also the first, slow calls of every kernel are over then.

    Raises CannotLoad where the model gives no numbers.
    """
    count = min(64, max_context)
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
    low, high = BUDGETS
    return min(high, max(low, int(STEP_S[runner.model.device.type] / seconds * count)))
