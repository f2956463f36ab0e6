"""A step's chunks as attention's groups: which are computed together, and tables of where their keys lie."""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate, groupby

import torch
from torch import Tensor

from providers.local.engine.blocks import NULL_BLOCK
from providers.local.engine.compute.attention import FOLDED_QUERIES, Group, Keys, causal_mask
from providers.local.engine.compute.kvcache import BLOCK_TOKENS
from providers.local.engine.compute.model import Model
from providers.local.engine.sequence import ScheduledTokens

# Below 64 common tokens, two calls cost more than reading the keys several times.
WORTH_SHARING_BLOCKS = 4
# Up to 128 tokens padding costs less than another call.
SHORT_BLOCKS = 8


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


def groups(parts: list[list[ScheduledTokens]], model: Model) -> list[Group]:
    """The groups of `parts`, see `grouped`, whose tokens lie behind each other in the step."""
    sizes = [len(part) * len(part[0].fed) for part in parts]
    firsts = accumulate(sizes, initial=0)
    return [_group(first, part, model) for first, part in zip(firsts, parts, strict=False)]


def _group(first: int, chunks: list[ScheduledTokens], model: Model) -> Group:
    queries, config, device = len(chunks[0].fed), model.config, model.device
    if model.kernels and queries == 1:
        keys = Keys(_padded([chunk.sequence.blocks for chunk in chunks], device), NULL_BLOCK, 0)
        ends = torch.tensor([chunk.start + 1 for chunk in chunks], device=device)
        return Group(first, len(chunks), 1, keys, lengths=ends)
    common = shared_blocks(chunks) if device.type == "cpu" else 0
    shared = _keys([chunks[0].sequence.blocks[:common]], [common * BLOCK_TOKENS], device) if common else None
    starts = [chunk.start - common * BLOCK_TOKENS for chunk in chunks]
    lengths = [start + queries for start in starts]
    tables = [chunk.sequence.blocks[common : -(-(chunk.start + queries) // BLOCK_TOKENS)] for chunk in chunks]
    own = _keys(tables, lengths, device)
    mask = None
    if queries <= FOLDED_QUERIES and (queries > 1 or min(lengths) < own.length):
        repeat = config.heads // config.kv_heads if queries > 1 else 1
        mask = causal_mask(starts, queries, own.length, repeat, model.dtype, device)
    return Group(first, len(chunks), queries, own, shared, mask, starts[0])


def _keys(tables: list[list[int]], lengths: list[int], device: torch.device) -> Keys:
    run = tables[0][0]
    if len(tables) == 1 and tables[0] == list(range(run, run + len(tables[0]))):
        return Keys(None, run, lengths[0])
    return Keys(_padded(tables, device), NULL_BLOCK, max(lengths))


def _padded(tables: list[list[int]], device: torch.device) -> Tensor:
    widest = max(map(len, tables))
    return torch.tensor([blocks + [NULL_BLOCK] * (widest - len(blocks)) for blocks in tables], device=device)
