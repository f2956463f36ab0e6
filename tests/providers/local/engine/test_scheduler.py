from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from providers.local.engine.blocks import Blocks
from providers.local.engine.scheduler import Scheduler
from providers.local.engine.sequence import Sequence

SIZE = 4
clock = itertools.count()


def a_sequence(prompt: int | list[int] = 8, new: int = 4, cache_salt: str = "") -> Sequence:
    tokens = prompt if isinstance(prompt, list) else [next(clock) for _ in range(prompt)]
    return Sequence(next(clock), list(tokens), new, cache_salt=cache_salt, arrived=next(clock))


def a_scheduler(blocks: int = 33, max_batch: int = 4, max_queue: int = 8, budget: int = 16) -> Scheduler:
    return Scheduler(Blocks(blocks, SIZE), max_batch, max_queue, budget)


def run(scheduler: Scheduler) -> dict[object, int]:
    """One step with a model that always says 7; how many tokens each sequence brought to it."""
    chunks = scheduler.plan()
    for chunk in chunks:
        scheduler.mark_computed(chunk.sequence, chunk.start + chunk.count)
        if chunk.draws:
            chunk.sequence.append(7)
            if chunk.sequence.generated == chunk.sequence.max_new_tokens:
                scheduler.remove(chunk.sequence)
    return {chunk.sequence.key: chunk.count for chunk in chunks}


def test_a_prompt_longer_than_the_budget_comes_in_chunks():
    scheduler, long = a_scheduler(), a_sequence(40)
    scheduler.add(long)
    assert [run(scheduler)[long.key] for _ in range(4)] == [16, 16, 8, 1]


def test_replies_under_way_go_on_while_a_long_prompt_is_read():
    scheduler, talking, long = a_scheduler(), a_sequence(4, new=9), a_sequence(40)
    scheduler.add(talking)
    run(scheduler)
    scheduler.add(long)
    assert run(scheduler) == {talking.key: 1, long.key: 15}
    assert run(scheduler) == {talking.key: 1, long.key: 15}


def test_a_full_batch_of_decodes_leaves_something_to_prompts():
    scheduler = a_scheduler(blocks=99, max_batch=20, budget=8)
    for _ in range(9):
        scheduler.add(a_sequence(1, new=99))
    for _ in range(9):
        run(scheduler)
    late = a_sequence(8)
    scheduler.add(late)
    assert run(scheduler)[late.key] == 2


def test_a_queue_has_room_for_what_waits_and_for_the_next_batch():
    scheduler = a_scheduler(max_batch=1, max_queue=2)
    for coming in (2, 1, 0):
        assert scheduler.has_room(coming) and not scheduler.has_room(coming + 1)
        scheduler.add(a_sequence())
    assert not scheduler.has_room()


def test_what_does_not_find_blocks_waits_until_somebody_ends():
    scheduler, first, second = a_scheduler(blocks=5), a_sequence(8, new=2), a_sequence(8, new=2)
    scheduler.add(first)
    scheduler.add(second)
    assert set(run(scheduler)) == {first.key}
    run(scheduler)
    assert set(run(scheduler)) == {second.key}


def test_a_cancelled_sequence_frees_its_blocks_for_the_next_step():
    scheduler, first, second = a_scheduler(blocks=5), a_sequence(12, new=9), a_sequence(12, new=9)
    scheduler.add(first)
    scheduler.add(second)
    run(scheduler)
    scheduler.remove(first)
    assert set(run(scheduler)) == {second.key}


def test_what_a_sequence_computed_is_wiped_unless_a_token_drawn_behind_it_says_that_it_is_numbers():
    scheduler, unseen, seen, bad = a_scheduler(), a_sequence(12), a_sequence(4), a_sequence(8)
    for sequence in (unseen, seen, bad):
        scheduler.add(sequence)
    chunks = {chunk.sequence.key: chunk for chunk in scheduler.plan()}
    blocks = {sequence.key: list(sequence.blocks) for sequence in (unseen, seen, bad)}
    scheduler.mark_computed(seen, 4)
    seen.append(7)
    scheduler.remove(seen)
    assert scheduler.to_wipe() == []
    scheduler.remove(unseen)
    assert scheduler.to_wipe() == blocks[unseen.key]
    bad.append(7)
    scheduler.remove(bad, trusted=chunks[seen.key].count)
    assert scheduler.to_wipe() == blocks[bad.key][1:]
    assert scheduler.to_wipe() == []


def test_when_blocks_run_out_the_youngest_gives_way_and_is_finished_later():
    scheduler, old, young = a_scheduler(blocks=6), a_sequence(8, new=12), a_sequence(7, new=8)
    scheduler.add(old)
    scheduler.add(young)
    while scheduler.running or scheduler.waiting:
        run(scheduler)
    assert scheduler.preemptions >= 1
    assert (old.generated, young.generated) == (12, 8)
    assert scheduler.blocks.available == 5


def test_a_prefix_that_another_just_computes_is_waited_for_and_shared():
    prefix = [1] * 12
    scheduler, first, second = a_scheduler(budget=99), a_sequence([*prefix, 2]), a_sequence([*prefix, 3])
    scheduler.add(first)
    scheduler.add(second)
    assert run(scheduler) == {first.key: 13}
    assert run(scheduler) == {first.key: 1, second.key: 1}
    assert second.num_cached_tokens == 12
    assert second.blocks[:3] == first.blocks[:3]


def test_a_prompt_that_is_wholly_cached_still_computes_its_last_token():
    scheduler = a_scheduler()
    for cached in (0, 4):
        sequence = a_sequence([1] * 8, new=1)
        scheduler.add(sequence)
        assert run(scheduler) == {sequence.key: 8 - cached}
        assert sequence.num_cached_tokens == cached


def test_tenants_do_not_share_a_prefix():
    scheduler = a_scheduler()
    for cache_salt in ("a", "b"):
        sequence = a_sequence([1] * 9, new=1, cache_salt=cache_salt)
        scheduler.add(sequence)
        run(scheduler)
        assert sequence.num_cached_tokens == 0


def test_readers_take_turns():
    scheduler = a_scheduler(max_batch=2, budget=99)
    greedy = [a_sequence(cache_salt="greedy", new=99) for _ in range(5)]
    modest = a_sequence(cache_salt="modest")
    for sequence in [*greedy, modest]:
        scheduler.add(sequence)
    assert set(run(scheduler)) == {greedy[0].key, modest.key}


def test_readers_share_what_a_step_has_for_prompts():
    scheduler, long = a_scheduler(blocks=99), a_sequence(100, cache_salt="long")
    scheduler.add(long)
    assert run(scheduler) == {long.key: 16}
    short, behind = a_sequence(10, cache_salt="short"), a_sequence(3, cache_salt="long")
    scheduler.add(behind)
    scheduler.add(short)
    assert run(scheduler) == {long.key: 8, short.key: 8}
    assert run(scheduler) == {long.key: 14, short.key: 2}
    assert run(scheduler) == {long.key: 15, short.key: 1}, "one reader's prompts come one after another"


def test_what_a_reader_leaves_of_its_share_goes_to_the_others():
    scheduler, long = a_scheduler(blocks=99), a_sequence(100, cache_salt="long")
    scheduler.add(long)
    run(scheduler)
    short = a_sequence(2, cache_salt="short")
    scheduler.add(short)
    assert run(scheduler) == {long.key: 14, short.key: 2}


def test_of_many_readers_those_who_came_first_have_a_quarter_each():
    scheduler = a_scheduler(blocks=199, max_batch=8)
    sequences = [a_sequence(20, cache_salt=str(i)) for i in range(8)]
    for sequence in sequences:
        scheduler.add(sequence)
    assert run(scheduler) == {sequence.key: 4 for sequence in sequences[:4]}


def test_a_reader_who_finds_no_blocks_takes_nothing_of_the_step():
    scheduler, long = a_scheduler(blocks=12), a_sequence(36, cache_salt="long")
    scheduler.add(long)
    run(scheduler)
    scheduler.add(a_sequence(20, cache_salt="other"))
    assert run(scheduler) == {long.key: 16}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 14), st.integers(1, 10), st.sampled_from("ab")), min_size=1, max_size=8),
    st.integers(8, 20),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_every_sequence_ends_and_every_block_comes_back(asked, blocks, budget, random):
    scheduler = a_scheduler(blocks, 4, 8, budget)
    sequences = [
        a_sequence([random.randrange(2) for _ in range(prompt)], new, cache_salt) for prompt, new, cache_salt in asked
    ]
    for sequence in sequences:
        scheduler.add(sequence)
    cancelled = random.choice(sequences)
    for step in range(2000):
        if step == 3 and cancelled in scheduler.running + scheduler.waiting:
            scheduler.remove(cancelled)
        if not scheduler.running and not scheduler.waiting:
            break
        run(scheduler)
    assert all(s.generated == s.max_new_tokens for s in sequences if s is not cancelled)
    assert scheduler.blocks.available == blocks - 1
