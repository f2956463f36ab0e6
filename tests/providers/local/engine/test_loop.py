"""One request's trouble stays its own."""

from __future__ import annotations

import pytest
import torch

from providers.local.engine.runner import OutOfMemory
from tests.providers.local.engine.running import a_loop, asking, run

POISON = "☠"


@pytest.fixture
def loop(models):
    return a_loop(models["qwen3"][0])


@pytest.fixture
def poisoned(loop):
    """A model that makes no numbers of one token: the last byte of POISON."""
    chat = loop._make.keywords["chat"]
    token = chat.tokenizer.encode(POISON).ids[-1]
    model = loop._runner.model
    model.embedding = model.embedding.clone()
    model.embedding[token] = float("nan")
    return loop


NEIGHBOURS = ["hello", "stations " * 12, "How many?"]


def test_a_poisoned_request_fails_alone(poisoned):
    alone = [run(poisoned, [asking(text)])[0].tokens for text in NEIGHBOURS]
    for _ in range(2):  # the second time the poisoned blocks were somebody's before
        answers = run(poisoned, [asking(text) for text in [*NEIGHBOURS, "bad " + POISON, POISON * 30]])
        assert [answer.tokens for answer in answers[:3]] == alone
        assert [answer.failed.code for answer in answers[3:]] == ["upstream_error"] * 2
    assert all(torch.isfinite(layer).all() for layer in poisoned._runner.cache.layers)


def test_a_poisoned_request_that_is_cancelled_midway_leaves_nothing_behind(poisoned):
    poisoned.scheduler.budget = 8
    run(poisoned, [asking(POISON * 30)], cancel={0: 2})
    assert all(torch.isfinite(layer).all() for layer in poisoned._runner.cache.layers)
    assert poisoned.scheduler.blocks.available == poisoned.scheduler.blocks.count - 1


def test_a_step_without_memory_fails_its_youngest(loop, monkeypatch):
    real = loop._runner.run

    def short_of_memory(chunks):
        if len(chunks) > 2:
            raise OutOfMemory
        return real(chunks)

    monkeypatch.setattr(loop._runner, "run", short_of_memory)
    answers = run(loop, [asking(text) for text in NEIGHBOURS])
    assert [bool(answer.failed) for answer in answers] == [False, False, True]
    assert answers[2].failed.code == "overloaded"
    assert all(answer.finish_reason for answer in answers[:2])


def test_a_step_that_raises_fails_only_those_that_raise_alone_too(loop, monkeypatch):
    real = loop._runner.run

    def breaks(chunks):
        if any(chunk.sequence.key == ("test", 1) and chunk.sequence.generated == 3 for chunk in chunks):
            raise IndexError("out of range")
        return real(chunks)

    alone = [run(loop, [asking(text)])[0].tokens for text in NEIGHBOURS]
    monkeypatch.setattr(loop._runner, "run", breaks)
    answers = run(loop, [asking(text) for text in NEIGHBOURS])
    assert answers[1].failed.code == "upstream_error"
    assert [answers[0].tokens, answers[2].tokens] == [alone[0], alone[2]]
    assert loop.scheduler.blocks.available == loop.scheduler.blocks.count - 1


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        ({"temperature": float("nan")}, "bad_request", "temperature"),
        ({"temperature": 3.0}, "bad_request", "temperature"),
        ({"top_p": 0.0}, "bad_request", "top_p"),
        ({"max_tokens": 0}, "bad_request", "max_tokens"),
    ],
)
def test_a_parameter_out_of_range_is_refused(loop, told, code, words):
    failed = run(loop, [asking("hello", **told)])[0].failed
    assert failed.code == code and words in failed.message


def test_a_prompt_that_does_not_fit_is_refused(loop):
    failed = run(loop, [asking("x" * 900)])[0].failed
    assert failed.code == "context_length"


def test_a_part_without_text_is_refused(loop):
    ask = asking("")
    ask.messages = [{"role": "user", "content": [{"type": "text", "text": 5}]}]
    assert run(loop, [ask])[0].failed.code == "bad_request"


def test_neither_a_full_queue_nor_far_too_long_a_prompt_costs_the_time_of_counting_its_tokens(loop, monkeypatch):
    chat = loop._make.keywords["chat"]
    monkeypatch.setattr(chat, "tokenizer", None)  # whoever counts fails
    assert run(loop, [asking("x" * 1_000_000)])[0].failed.code == "context_length"
    monkeypatch.setattr(loop.scheduler, "max_queue", -loop.scheduler.max_batch)
    assert run(loop, [asking("hello")])[0].failed.code == "overloaded"


def test_a_poisoned_request_that_gives_way_midway_leaves_nothing_behind(poisoned):
    poisoned.scheduler.budget = 8
    for _ in range(3):
        if not poisoned.busy:
            ask = asking(POISON * 30)
            assert poisoned.ask(("test", 0), ask) is None
        poisoned.step()
    scheduler = poisoned.scheduler
    assert not all(torch.isfinite(layer).all() for layer in poisoned._runner.cache.layers)
    sequence = scheduler.running[0]
    scheduler._preempt(sequence)
    assert scheduler.blocks.matching(sequence.chain) == 0
    poisoned.cancel(("test", 0))
    poisoned.step()
    assert all(torch.isfinite(layer).all() for layer in poisoned._runner.cache.layers)
