from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.local.engine.blocks import NULL_BLOCK, Blocks, OutOfBlocks, chain

SIZE = 4


def digests(tokens: list[int], cache_salt: str = "") -> list[bytes]:
    return chain(tokens, SIZE, cache_salt, [])


def test_prompts_that_begin_alike_have_the_same_digests_up_to_where_they_part():
    first, second = digests([1, 2, 3, 4, 5, 6, 7, 8]), digests([1, 2, 3, 4, 5, 6, 7, 9])
    assert first[0] == second[0] and first[1] != second[1]


def test_the_same_block_behind_another_beginning_is_another_block():
    assert digests([1, 1, 1, 1, 5, 5, 5, 5])[1] != digests([2, 2, 2, 2, 5, 5, 5, 5])[1]


def test_a_salt_keeps_tenants_apart():
    assert not set(digests([1, 2, 3, 4], "a")) & set(digests([1, 2, 3, 4], "b"))


def test_a_chain_can_be_gone_on_with():
    tokens = list(range(16))
    assert chain(tokens, SIZE, "", digests(tokens[:9])) == digests(tokens)


def test_a_block_not_full_has_no_digest():
    assert len(digests([1, 2, 3, 4, 5, 6, 7])) == 1


def test_a_kept_block_is_shared_and_counted():
    blocks = Blocks(9, SIZE)
    known = digests(list(range(8)))
    mine = blocks.take(2)
    for block, digest in zip(mine, known, strict=True):
        blocks.keep(block, digest)
    assert blocks.matching(known) == 2
    assert blocks.share(known) == mine
    blocks.release(mine)
    assert blocks.available == 6, "still in use by whoever shared them"
    blocks.release(mine)
    assert blocks.available == 8
    assert blocks.matching(known) == 2, "nobody uses them, and they are still known"


def test_the_least_recently_used_contents_go_first_and_a_prompts_end_before_its_beginning():
    blocks = Blocks(5, SIZE)
    old, new = digests([1] * 8), digests([2] * 8)
    for known in (old, new):
        mine = blocks.take(2)
        for block, digest in zip(mine, known, strict=True):
            blocks.keep(block, digest)
        blocks.release(mine)
    blocks.take(1)
    assert (blocks.matching(old), blocks.matching(new)) == (1, 2)
    blocks.share(old[:1])
    blocks.take(1)
    assert (blocks.matching(old), blocks.matching(new)) == (1, 1)


def test_taking_more_than_there_is_takes_none():
    blocks = Blocks(4, SIZE)
    with pytest.raises(OutOfBlocks):
        blocks.take(4)
    assert sorted(blocks.take(3)) == [1, 2, 3]


def test_discarded_blocks_are_known_no_more_and_given_back_once_unused():
    blocks = Blocks(4, SIZE)
    known = digests([1] * 4)
    mine = blocks.take(1)
    blocks.keep(mine[0], known[0])
    blocks.share(known)
    assert blocks.discard(mine) == [], "somebody else still reads it"
    assert blocks.matching(known) == 0
    assert blocks.discard(mine) == mine
    assert blocks.available == 3


@given(st.lists(st.tuples(st.sampled_from("tkrsd"), st.integers(0, 5)), max_size=60))
def test_whatever_happens_every_block_has_its_users_or_is_available(moves):
    blocks, held, size = Blocks(8, 1), [], 1
    for move, n in moves:
        if move == "t" and n <= blocks.available:
            held.append(blocks.take(n))
        elif move == "s":
            known = chain([n], size, "", [])
            held.append(blocks.share(known[: blocks.matching(known)]))
        elif held and move == "k":
            for i, block in enumerate(held[n % len(held)]):
                blocks.keep(block, chain([i], size, "", [])[0])
        elif held and move == "r":
            blocks.release(held.pop(n % len(held)))
        elif held and move == "d":
            blocks.discard(held.pop(n % len(held)))
        used = {block for blocks_of_one in held for block in blocks_of_one}
        assert NULL_BLOCK not in used
        assert blocks.available == 7 - len(used)
