"""Attention over blocks, whatever is grouped, shared or copied, is attention over each sequence's own keys."""

from __future__ import annotations

import random

import pytest
import torch

from providers.local.engine.compute.attention import Attention, Layout
from providers.local.engine.compute.config import ModelConfig
from providers.local.engine.compute.grouping import grouped, groups, shared_blocks
from providers.local.engine.compute.kvcache import BLOCK_TOKENS
from providers.local.engine.compute.model import Model
from providers.local.engine.sequence import ScheduledTokens, Sequence

HEADS, KV_HEADS, DIM, BLOCKS = 6, 2, 8, 60


def a_chunk(blocks: list[int], start: int, queries: int) -> ScheduledTokens:
    return ScheduledTokens(Sequence(0, [0] * (start + queries), 1, blocks=blocks), start, queries)


def plainly(q: torch.Tensor, cache: torch.Tensor, chunk: ScheduledTokens) -> torch.Tensor:
    """One chunk, one head, one query at a time."""
    length = chunk.start + chunk.count
    kv = torch.cat([cache[block] for block in chunk.sequence.blocks])[:length]
    out = torch.zeros_like(q)
    for i in range(chunk.count):
        for head in range(HEADS):
            at = head // (HEADS // KV_HEADS)
            k, v = kv[: chunk.start + i + 1, at], kv[: chunk.start + i + 1, KV_HEADS + at]
            out[i, head] = (k @ q[i, head] / DIM**0.5).softmax(0) @ v
    return out


@pytest.fixture
def model():
    """A model that has sizes only."""
    config = ModelConfig(1, 48, 8, HEADS, KV_HEADS, DIM, 8, 999, 1e-6, False, False, False, False, True, {})
    model = Model.__new__(Model)
    model.config, model.dtype, model.device = config, torch.float32, torch.device("cpu")
    model.kernels = None
    return model


PREFIX = [11, 12, 13, 14, 15]
CASES = {
    "decodes of different lengths": [a_chunk([1, 2, 3], 40, 1), a_chunk([9], 3, 1), a_chunk([5, 8], 31, 1)],
    "one sequence in consecutive blocks": [a_chunk([20, 21, 22], 33, 1)],
    "decodes that begin alike": [a_chunk([*PREFIX, 1], 83, 1), a_chunk([*PREFIX, 7, 9], 111, 1), a_chunk([3], 7, 1)],
    "two schemas": [
        *(a_chunk([*PREFIX, 30 + i], 80 + i, 1) for i in range(3)),
        *(a_chunk([21, 22, 27, 24, 40 + i], 64 + i, 1) for i in range(3)),
    ],
    "drafts behind a common beginning": [a_chunk([*PREFIX, 1], 81, 4), a_chunk([*PREFIX, 2, 3], 95, 4)],
    "prompts": [a_chunk([1, 2, 3], 0, 45), a_chunk([4, 6, 5], 10, 36), a_chunk([7, 8], 0, 20)],
    "a prompt of several tiles": [a_chunk(list(range(1, 20)), 33, 150), a_chunk(list(range(20, 40)), 0, 131)],
    "everything at once": [
        a_chunk([*PREFIX, 1], 83, 1), a_chunk([*PREFIX, 2], 84, 1), a_chunk([3], 9, 3), a_chunk([4, 6, 5], 5, 40),
        a_chunk([28, 29], 17, 1),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_chunk_attends_to_its_own_keys(model, name):
    torch.manual_seed(1)
    cache = torch.randn(BLOCKS, BLOCK_TOKENS, 2 * KV_HEADS, DIM)
    parts = grouped(CASES[name])
    chunks = [chunk for part in parts for chunk in part]
    q = torch.randn(sum(chunk.count for chunk in chunks), HEADS, DIM)
    attention = Attention(HEADS, KV_HEADS, DIM)
    got = attention(q, cache, Layout(torch.empty(0), groups(parts, model))).view(-1, HEADS, DIM)
    at = 0
    for chunk in chunks:
        torch.testing.assert_close(got[at : at + chunk.count], plainly(q[at : at + chunk.count], cache, chunk))
        at += chunk.count


def test_what_begins_alike_is_attended_to_together():
    parts = grouped(CASES["two schemas"])
    assert [len(part) for part in parts] == [3, 3]
    assert [shared_blocks(part) for part in parts] == [5, 4]
    assert shared_blocks(CASES["decodes of different lengths"]) == 0


def test_a_long_sequence_does_not_make_the_short_ones_long():
    short = [a_chunk([1 + i, 20, 21], 40, 1) for i in range(5)]
    long = a_chunk(list(range(1, 60)), 900, 1)
    assert [len(part) for part in grouped([*short, long])] == [5, 1]


def test_every_chunk_is_in_one_group_and_queries_of_a_group_are_as_many():
    chance = random.Random(2)
    chunks = [
        a_chunk([chance.choice([1, 2]), 3, 4, 5, 6, 7], chance.randrange(60, 90), chance.choice([1, 1, 2, 40]))
        for _ in range(30)
    ]
    parts = grouped(chunks)
    assert sorted(map(id, (chunk for part in parts for chunk in part))) == sorted(map(id, chunks))
    assert all(len({chunk.count for chunk in part}) == 1 for part in parts)


def test_on_a_gpu_decodes_are_one_call_whatever_they_share():
    chunks = [a_chunk([1, 2, 3, 4, 5], 70, 1), a_chunk([1, 2, 3, 4, 6], 75, 1), a_chunk([8], 9, 1), a_chunk([9], 0, 3)]
    assert [len(part) for part in grouped(chunks, kernel=True)] == [3, 1]
    assert len(grouped(chunks)) == 3
