"""One request's trouble stays its own."""

from __future__ import annotations

import pytest
import torch

from providers.local.engine.compute.drawing import batch
from providers.local.engine.compute.runner import LOST
from providers.local.engine.errors import OutOfMemory
from providers.local.engine.output import OutputBuffer
from tests.providers.local.engine.running import OWNER, a_loop, asking, run

pytestmark = pytest.mark.usefixtures("way")
POISON = "☠"


@pytest.fixture
def loop(models):
    return a_loop(models["qwen3"][0])


@pytest.fixture
def poisoned(loop):
    """A model that makes no numbers of one token: the last byte of POISON."""
    chat = loop.preprocessing.make.keywords["chat"]
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
    real = loop._runner.launch

    def short_of_memory(chunks):
        if len(chunks) > 2:
            raise OutOfMemory
        return real(chunks)

    monkeypatch.setattr(loop._runner, "launch", short_of_memory)
    answers = run(loop, [asking(text) for text in NEIGHBOURS])
    assert [bool(answer.failed) for answer in answers] == [False, False, True]
    assert answers[2].failed.code == "overloaded"
    assert all(answer.finish_reason for answer in answers[:2])


def test_a_step_that_raises_fails_only_those_that_raise_alone_too(loop, monkeypatch):
    real = loop._runner.launch

    def breaks(chunks):
        if any(chunk.sequence.key == (OWNER, 1) and chunk.sequence.generated == 3 for chunk in chunks):
            raise IndexError("out of range")
        return real(chunks)

    alone = [run(loop, [asking(text)])[0].tokens for text in NEIGHBOURS]
    monkeypatch.setattr(loop._runner, "launch", breaks)
    # Each step is planned and launched: one that follows another has no plan in which a sequence could be at fault.
    monkeypatch.setattr(loop._runner, "follow", lambda *_: None)
    answers = run(loop, [asking(text) for text in NEIGHBOURS], failing=True)
    assert loop.counters.failed_steps > 0
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
    chat = loop.preprocessing.make.keywords["chat"]
    monkeypatch.setattr(chat, "tokenizer", None)  # whoever counts fails
    assert run(loop, [asking("x" * 1_000_000)])[0].failed.code == "context_length"
    monkeypatch.setattr(loop.scheduler, "max_queue", -loop.scheduler.max_batch)
    assert run(loop, [asking("hello")])[0].failed.code == "overloaded"


def test_a_poisoned_request_that_gives_way_midway_leaves_nothing_behind(poisoned):
    # Who gives way does so when a step is planned, and so never while one flies.
    poisoned._runner.ahead = False
    poisoned.scheduler.budget = 8
    assert poisoned.ask(("test", 0), asking(POISON * 30)) is None
    poisoned.preprocessing.settle()
    for _ in range(3):
        poisoned.step()
    scheduler = poisoned.scheduler
    assert not all(torch.isfinite(layer).all() for layer in poisoned._runner.cache.layers)
    sequence = scheduler.running[0]
    scheduler._preempt(sequence)
    assert scheduler.blocks.matching(sequence.chain) == 0
    poisoned.cancel(("test", 0))
    poisoned.step()
    assert all(torch.isfinite(layer).all() for layer in poisoned._runner.cache.layers)


def test_a_step_without_memory_loses_no_token_that_penalties_fall_on(loop, monkeypatch):
    told = {"temperature": 0.9, "seed": 3, "repetition_penalty": 1.3, "frequency_penalty": 0.3}
    asks = [asking(text, **told) for text in NEIGHBOURS]
    expected = [answer.tokens for answer in run(loop, asks)]
    real, calls = batch.sent, []

    def short_of_memory(*told):
        calls.append(told)
        # The second time: steps that follow others bring little.
        if len(calls) == 2:
            raise torch.OutOfMemoryError
        return real(*told)

    monkeypatch.setattr(batch, "sent", short_of_memory)
    answers = run(loop, asks)
    assert len(calls) > 2
    assert [answer.tokens for answer in answers[:2]] == expected[:2]
    assert answers[2].failed or answers[2].tokens == expected[2]


def spelt(logprobs) -> str:
    return b"".join(bytes(entry["bytes"]) for entry in logprobs).decode("utf-8", "replace")


@pytest.mark.parametrize("fails", [False, True], ids=["", "and cannot be launched ahead"])
def test_what_is_drawn_behind_a_stop_string_is_neither_text_nor_usage(loop, way, monkeypatch, fails):
    """Random models soon repeat themselves, so that drafts are right and bring several tokens a step."""
    whole = run(loop, [asking(text, max_tokens=100, logprobs=0) for text in NEIGHBOURS])
    stops = [answer.text[len(answer.text) * 2 // 3 :][:3] for answer in whole]
    asks = [asking(text, max_tokens=100, logprobs=0, stop=[stop]) for text, stop in zip(NEIGHBOURS, stops, strict=True)]
    accepted = loop.counters.accepted
    if fails and way != "text first":
        real, calls = loop._runner.launch, []

        def every_other(chunks):
            calls.append(chunks)
            if len(calls) % 2 == 0:
                raise OutOfMemory
            return real(chunks)

        monkeypatch.setattr(loop._runner, "launch", every_other)
    answers = run(loop, asks)
    assert loop.counters.accepted > accepted or way == "followed"
    for answer, before, stop in zip(answers, whole, stops, strict=True):
        assert (answer.finish_reason, answer.text) == ("stop", before.text[: before.text.index(stop)])
        prompt = len(before.tokens) - 100
        told = before.logprobs[: answer.completion_tokens]
        assert [entry["bytes"] for entry in answer.logprobs] == [entry["bytes"] for entry in told]
        assert stop in spelt(told) and stop not in spelt(told[:-1])
        assert answer.tokens == before.tokens[: prompt + answer.completion_tokens]
    assert loop.scheduler.blocks.available == loop.scheduler.blocks.count - 1


def test_the_next_step_is_launched_before_text_is_read_where_the_device_works_by_itself(loop, way, monkeypatch):
    launch, follow, take, events = loop._runner.launch, loop._runner.follow, OutputBuffer.take, []

    def launches(chunks):
        events.append("launch")
        return launch(chunks)

    def follows(*behind):
        launched = follow(*behind)
        if launched:
            events.append("launch")
        return launched

    def takes(*told):
        events.append("text")
        return take(*told)

    monkeypatch.setattr(loop._runner, "launch", launches)
    monkeypatch.setattr(loop._runner, "follow", follows)
    monkeypatch.setattr(OutputBuffer, "take", takes)
    run(loop, [asking("hello", max_tokens=3)])
    if way == "text first":
        assert events == ["launch", "text"] * 3
    else:
        assert events == ["launch", "launch", "text", "launch", "text", "text"]


def test_a_question_asked_under_the_number_of_one_that_was_cancelled_gets_its_own_answer(loop):
    expected = run(loop, [asking("hello")])[0].tokens
    loop.ask(("test", 0), asking("How many?", temperature=1.0))
    for _ in range(4):
        loop.preprocessing.settle()
        loop.step()
    loop.cancel(("test", 0))
    assert run(loop, [asking("hello")])[0].tokens == expected
    assert loop.scheduler.blocks.available == loop.scheduler.blocks.count - 1


@pytest.mark.parametrize(
    "told",
    [
        "CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling cublasGemmEx",
        "Triton Error [CUDA]: unspecified launch failure",
    ],
)
def test_a_gpu_that_failed_ends_the_process_with_one_line(loop, caplog, monkeypatch, told):
    loop.ask(("test", 0), asking("hello"))
    loop.preprocessing.settle()
    loop.step()

    def fails(*_):
        raise RuntimeError(told)

    monkeypatch.setattr(loop._runner.model, "forward", fails)
    with pytest.raises(SystemExit) as end:
        for _ in range(3):
            loop.step()
    assert end.value.code == LOST
    (record,) = caplog.records
    assert record.levelname == "CRITICAL" and record.getMessage().endswith(told.partition("\n")[0])


def test_a_gpu_without_memory_fails_one_request_whatever_tells_so(loop, monkeypatch):
    forward = loop._runner.model.forward

    def short_of_memory(tokens, *others):
        if len(tokens) > 2:
            raise RuntimeError("CUDA error: out of memory")
        return forward(tokens, *others)

    asks = [asking(text) for text in ("hello", "hello")]
    assert run(loop, asks)[1].finish_reason == "length"
    monkeypatch.setattr(loop._runner.model, "forward", short_of_memory)
    assert run(loop, [asking("x" * 60)])[0].failed.code == "overloaded"
