"""A GPU's decode steps, run without the capture: what replays say is what steps outside of graphs say."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from providers.local.engine.compute import graphs
from providers.local.engine.compute.config import read_config
from providers.local.engine.compute.drawing import sampler
from providers.local.engine.compute.drawing.inputs import Inputs
from providers.local.engine.compute.drawing.sampler import Work, draw, penalise
from providers.local.engine.compute.graphs import graph_bytes, sizes
from providers.local.engine.errors import CannotLoad
from providers.local.engine.serving import memory
from providers.local.engine.serving.folder import open_folder
from providers.local.options import Options
from tests.providers.local.engine import running
from tests.providers.local.engine.running import a_loop, asking, run
from tests.providers.local.engine.serving.schemas import SCHEMA


@pytest.mark.parametrize(
    ("max_batch", "expected"),
    [(1, [1]), (3, [1, 2, 4]), (8, [1, 2, 4, 8]), (20, [1, 2, 4, 8, 16, 24]), (32, [1, 2, 4, 8, 16, 24, 32])],
)
def test_every_batch_finds_a_captured_size(max_batch, expected):
    assert sizes(max_batch) == expected


ASKS = [
    {"temperature": 0.0},
    {"temperature": 0.9},
    {"temperature": 1.3, "top_k": 5, "min_p": 0.02},
    {"temperature": 1.1, "top_p": 0.8},
    {"temperature": 0.0, "repetition_penalty": 1.3},
    {"temperature": 0.8, "repetition_penalty": 1.2, "presence_penalty": 0.4, "frequency_penalty": 0.3, "top_k": 40},
    {"temperature": 1e-30, "frequency_penalty": 0.5},
]
OUTSIDE = [
    {"temperature": 1.0, "logprobs": 2},
    {"temperature": 1.0, "constrain": "sql", "constrain_schema": SCHEMA},
]


def answers(loop, asks) -> list[tuple[list[int], list]]:
    made = [asking(f"{'stations ' * i}?", seed=i, max_tokens=40 + i, **told) for i, told in enumerate(asks)]
    return [(answer.tokens, answer.logprobs) for answer in run(loop, made)]


class Counting:
    """How many of a runner's steps were drawn in graphs."""

    def __init__(self, loop, monkeypatch) -> None:
        self.drawn = 0
        real = loop._runner._graphs.draw

        def counted(*told):
            self.drawn += 1
            return real(*told)

        monkeypatch.setattr(loop._runner._graphs, "draw", counted)


@pytest.mark.parametrize(
    ("asks", "inside"),
    [
        pytest.param(ASKS[:1] * 3, True, id="greedy"),
        pytest.param(ASKS[:2] * 3, True, id="greedy and plain"),
        pytest.param(ASKS, True, id="every parameter"),
        pytest.param(ASKS + OUTSIDE, False, id="with what is drawn outside"),
    ],
)
# All that a filter leaves is among 1,024; not always among 110; and 3 are too few for top_k 5.
@pytest.mark.parametrize("candidates", [1024, 110, 3])
def test_a_captured_step_draws_what_a_step_outside_draws(models, monkeypatch, asks, inside, candidates):
    monkeypatch.setattr(sampler, "CANDIDATES", candidates)
    folder = models["qwen3"][0]
    expected = answers(a_loop(folder, max_batch=12), asks)
    monkeypatch.setattr(running, "WAY", "captured")
    loop = a_loop(folder, max_batch=12)
    counting = Counting(loop, monkeypatch)
    got = answers(loop, asks)
    assert [tokens for tokens, _ in got] == [tokens for tokens, _ in expected]
    for (_, mine), (_, theirs) in zip(got, expected, strict=True):
        assert [entry["logprob"] for entry in mine] == pytest.approx([entry["logprob"] for entry in theirs], abs=1e-4)
    if inside and not (asks is ASKS and candidates == 3):
        assert counting.drawn > 30


def test_steps_with_more_different_tokens_than_are_counted_are_drawn_outside(models, monkeypatch):
    folder = models["qwen3"][0]
    expected = answers(a_loop(folder), ASKS[4:6])
    monkeypatch.setattr(running, "WAY", "captured")
    monkeypatch.setattr(graphs, "MOST_SEEN", 40)
    loop = a_loop(folder)
    counting = Counting(loop, monkeypatch)
    assert [tokens for tokens, _ in answers(loop, ASKS[4:6])] == [tokens for tokens, _ in expected]
    assert 0 < counting.drawn < 40


def test_penalties_are_drawn_in_graphs_however_long_the_reply_may_be(models, monkeypatch):
    """What counts is how many different tokens there are, not how many there may be."""
    monkeypatch.setattr(running, "WAY", "captured")
    monkeypatch.setattr(graphs, "MOST_SEEN", 128)
    loop = a_loop(models["qwen3"][0])
    loop._draft_rows = 0
    counting = Counting(loop, monkeypatch)
    (answer,) = run(loop, [asking("hello", max_tokens=None, stop=["\0"], repetition_penalty=1.05)])
    assert answer.completion_tokens > 400 > len(set(answer.tokens)) + 300
    assert counting.drawn > 350


@pytest.mark.parametrize("rows", [3, 5, 7])
def test_penalties_outside_the_graphs_take_as_many_rows_as_there_are_sequences(models, monkeypatch, rows):
    """Captured sizes are 1, 2, 4, 8: a prompt, a constraint or log probabilities in a step are drawn outside them."""
    asks = [{"repetition_penalty": 1.05}] * (rows - 2) + [{"repetition_penalty": 1.05, "logprobs": 2}, {}]
    folder = models["qwen2"][0]
    expected = answers(a_loop(folder, max_batch=8), asks)
    monkeypatch.setattr(running, "WAY", "captured")
    assert [tokens for tokens, _ in answers(a_loop(folder, max_batch=8), asks)] == [tokens for tokens, _ in expected]


@pytest.mark.parametrize("size", [151_936, 1000, 7])
def test_a_draw_needs_nothing_of_what_its_tensors_hold(size):
    """Tensors of the meta device hold nothing: what would have to look, or to wait for it, raises."""
    rows, meta = 5, torch.device("meta")
    logits, inputs = torch.empty(rows, size, device=meta), Inputs(rows, 9, meta)
    penalise(logits, inputs, 9)
    for work in (Work(), Work(True), Work(True, True, min(size, 1024), True)):
        assert draw(logits, inputs.numbers, work).shape == (rows,)


@pytest.mark.parametrize("way", ["text first", "captured"])
def test_what_penalties_fall_on_stays_right_whoever_comes_and_goes(models, monkeypatch, way):
    folder = models["qwen3"][0]
    told = [ASKS[4], ASKS[5], ASKS[0], ASKS[6]] * 3
    alone = [run(a_loop(folder), [asking("?" * i, seed=i, **how)])[0].tokens for i, how in enumerate(told)]
    monkeypatch.setattr(running, "WAY", way)
    loop = a_loop(folder, max_batch=6)
    asks = [asking("?" * i, seed=i, **how) for i, how in enumerate(told)]
    late = {i: 3 * i for i in range(len(told))}
    got = run(loop, asks, late, cancel={4: 20})
    for i, (answer, expected) in enumerate(zip(got, alone, strict=True)):
        assert answer.tokens == (expected[: len(answer.tokens)] if i == 4 else expected)


def test_a_row_that_holds_nobody_reads_the_null_block(models, monkeypatch):
    """Not a block of who had the row before: that is another's by now, whose numbers may be none."""
    monkeypatch.setattr(running, "WAY", "captured")
    loop = a_loop(models["qwen3"][0], max_batch=4)
    run(loop, [asking("?" * i, max_tokens=5 if i == 1 else 30) for i in range(4)])
    assert loop._runner._graphs._tables[3].count_nonzero() == 0


def test_sequences_keep_their_rows_when_one_before_them_ends(models, monkeypatch):
    monkeypatch.setattr(running, "WAY", "captured")
    loop = a_loop(models["qwen3"][0], max_batch=6)
    orders: list[list[int]] = []
    steps = loop._runner._graphs.run

    def watched(*told):
        orders.append([sequence.key[1] for sequence in loop._runner._order])
        return steps(*told)

    monkeypatch.setattr(loop._runner._graphs, "run", watched)
    run(loop, [asking("?" * i, max_tokens=5 + 8 * i) for i in range(5)])
    assert len({tuple(order) for order in orders}) >= 5
    for before, after in pairwise(orders):
        stay = [number for number in after if number in before[: len(after)]]
        assert [after.index(number) for number in stay] == [before.index(number) for number in stay]


class Reads(TorchDispatchMode):
    """Counts where something is decided by what a tensor holds: on a GPU the host would wait for it."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("way", ["text first", "captured"])
def test_a_launch_waits_for_nothing_that_it_computes(models, monkeypatch, way):
    monkeypatch.setattr(running, "WAY", way)
    loop = a_loop(models["qwen3"][0], budget=20)
    launch, launches, reads = loop._runner.launch, [], Reads()

    def watched(chunks):
        launches.append(len(chunks))
        with reads:
            return launch(chunks)

    monkeypatch.setattr(loop._runner, "launch", watched)
    answers(loop, ASKS + OUTSIDE)
    assert len(launches) > 40 and max(launches) == len(ASKS + OUTSIDE)
    assert reads.count == 0
    with reads:
        assert torch.ones(1) > 0
    assert reads.count == 1


def test_the_estimate_holds_the_buffers(models, monkeypatch):
    monkeypatch.setattr(running, "WAY", "captured")
    loop = a_loop(models["qwen3"][0], max_batch=20)
    made = loop._runner._graphs
    buffers = [made._numbers, made._tables, made._logits, made._ids, *vars(made._inputs).values()]
    taken = sum(buffer.untyped_storage().nbytes() for buffer in buffers)
    model = loop._runner.model
    assert taken < graph_bytes(20, len(model.cos), model.config.vocabulary)


def test_the_cache_leaves_room_for_graphs_and_the_samplers_buffers(models, monkeypatch):
    opened = open_folder(str(models["qwen3"][0]))
    large = replace(
        read_config(opened.config), vocabulary=152_064, layers=28, kv_heads=4, head_dim=128, max_context=32_768
    )
    free = 20 << 30
    monkeypatch.setattr(memory, "choose_device", lambda told: torch.device("cuda"))
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    planned = memory.plan(opened, large, Options("model", max_batch=256))
    left = free - planned.weight_bytes - planned.blocks * planned.block_bytes
    assert left > graph_bytes(256, 32_768, 152_064) + memory.WORKING_BYTES > 1 << 30
    with pytest.raises(CannotLoad, match="kv_cache_mb"):
        memory.plan(opened, large, Options("model", max_batch=256, kv_cache_mb=(free - planned.weight_bytes) >> 20))


def test_the_benchmark_of_decode_steps_draws_with_every_parameter_in_a_gpus_way(tmp_path, monkeypatch):
    """12 sequences are no captured size, and a step that raises ends the benchmark."""
    from benchmarks.engine.decode import EVERY, Steps
    from benchmarks.engine.shapes import make
    from benchmarks.engine.targets import Ours

    with running.as_on_a_gpu():
        ours = Ours(make(tmp_path, "tiny", "float32"), "cpu", "float32", 1)
    ours.runner.ahead = True
    ours.runner.capture(16, 4096, lambda: None)
    ours.budget = 256
    ours.reset()
    for how in (EVERY, {"temperature": 0.0}):
        assert Steps(ours).decode(12, 64, 8, how) > 0


def test_a_capture_that_fails_says_why_and_the_engine_serves(models, monkeypatch, caplog):
    def fails(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr("providers.local.engine.compute.runner.DecodeGraphs", fails)
    monkeypatch.setattr(running, "WAY", "captured")
    loop = a_loop(models["qwen3"][0])
    assert "no CUDA graphs: the capture failed (operation not permitted when stream is capturing)" in caplog.text
    assert loop._runner.graphs is False
    assert run(loop, [asking("x", max_tokens=3)])[0].completion_tokens > 0


def test_graphs_can_be_left_out(models, monkeypatch):
    captured: list[int] = []
    monkeypatch.setattr("providers.local.engine.compute.runner.Runner.capture", lambda *_: captured.append(1))
    a_loop(models["qwen3"][0], graphs=False)
    assert captured == []
    a_loop(models["qwen3"][0])
    assert captured == [1]


@pytest.mark.parametrize(("name", "chosen"), [("auto", torch.float16), ("bfloat16", torch.float16)])
def test_a_gpu_without_bfloat16_takes_float16_and_says_so(monkeypatch, caplog, name, chosen):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert memory.choose_dtype(name, torch.device("cuda:0"), None) == chosen
    assert "no bfloat16" in caplog.text


def watched(loop, monkeypatch) -> list[int]:
    """The rows of each step that follows another before its ids are read."""
    real, rows = loop._runner.follow, []

    def follow(*told):
        launched = real(*told)
        if launched:
            rows.append(len(launched.rows))
        return launched

    monkeypatch.setattr(loop._runner, "follow", follow)
    return rows


@pytest.mark.parametrize("asks", [ASKS[:1] * 6, ASKS], ids=["greedy", "every parameter"])
def test_decode_steps_follow_each_other_before_their_ids_are_read(models, monkeypatch, asks):
    """Rows end one after the other, by length; some of what is cancelled meanwhile was launched already."""
    folder = models["qwen3"][0]
    expected = answers(a_loop(folder, max_batch=12), asks)
    monkeypatch.setattr(running, "WAY", "followed")
    loop = a_loop(folder, max_batch=12)
    rows = watched(loop, monkeypatch)
    assert answers(loop, asks) == expected
    assert len(rows) > 30 and len(set(rows)) > 3
    assert loop.scheduler.blocks.available == loop.scheduler.blocks.count - 1


@pytest.mark.parametrize("candidates", [110, 3])
def test_a_draw_that_has_to_be_done_again_is_no_followers_token(models, monkeypatch, candidates):
    monkeypatch.setattr(sampler, "CANDIDATES", candidates)
    folder = models["qwen3"][0]
    asks = [{"temperature": 1.1, "top_p": 0.95}, {"temperature": 0.9}, {"temperature": 1.5, "top_p": 0.99}]
    expected = answers(a_loop(folder), asks)
    monkeypatch.setattr(running, "WAY", "followed")
    loop = a_loop(folder)
    rows = watched(loop, monkeypatch)
    assert answers(loop, asks) == expected
    assert rows


def test_a_sequence_that_ends_or_is_cancelled_leaves_the_steps_that_follow(models, monkeypatch):
    folder = models["qwen3"][0]
    texts = ["?" * i for i in range(6)]
    alone = [run(a_loop(folder), [asking(text, max_tokens=60)])[0] for text in texts]
    stop = alone[2].text[len(alone[2].text) // 2 :][:3]
    monkeypatch.setattr(running, "WAY", "followed")
    loop = a_loop(folder, max_batch=6)
    rows = watched(loop, monkeypatch)
    asks = [asking(text, max_tokens=60, **({"stop": [stop]} if i == 2 else {})) for i, text in enumerate(texts)]
    # An end token that one of them draws in the middle.
    end = alone[4].tokens[-30]
    asks[4] = asking(texts[4], max_tokens=60, options={"stop_token_ids": [end]})
    got = run(loop, asks, late={5: 25}, cancel={1: 30})
    assert got[2].text == alone[2].text[: alone[2].text.index(stop)]
    for i in (0, 3, 5):
        assert got[i].tokens == alone[i].tokens
    assert got[1].tokens == alone[1].tokens[: len(got[1].tokens)]
    assert got[4].tokens == alone[4].tokens[: len(got[4].tokens)] and got[4].tokens[-1] == end
    assert rows and loop.scheduler.blocks.available == loop.scheduler.blocks.count - 1
