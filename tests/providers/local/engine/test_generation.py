"""Whatever the engine does to be fast, it says what transformers' `generate` says, token by token."""

from __future__ import annotations

import random
from functools import cache

import pytest
import torch

from providers.local.engine.serving.chat import Chat
from providers.local.engine.serving.folder import open_folder
from tests.providers.local.engine.running import a_loop, asking, run
from tests.providers.local.models import FAMILIES, make_model

pytestmark = pytest.mark.usefixtures("way")

QUESTIONS = [
    "hello",
    "沈塘桥地铁站的信息",
    "SELECT name FROM dtzpt; " * 12 + "which?",
    "SELECT name FROM dtzpt; " * 12 + "how many?",
    "How many stations does line 2 have? " * 6,
    "x",
    "stream " * 20,
]


@pytest.fixture(scope="module")
def judged(models):
    """family, question, max_tokens → what `generate` makes of it: prompt and reply as token ids."""

    @cache
    def judge(family: str, question: str, max_tokens: int = 24) -> list[int]:
        folder, model = models[family]
        chat = Chat(open_folder(str(folder)))
        prompt = torch.tensor([chat.prompt([{"role": "user", "content": question}], {})])
        mask = torch.ones_like(prompt)
        return model.generate(prompt, attention_mask=mask, max_new_tokens=max_tokens, do_sample=False)[0].tolist()

    return judge


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "told",
    [
        pytest.param({}, id="a large batch"),
        pytest.param({"max_batch": 1}, id="one by one"),
        pytest.param({"max_batch": 3, "budget": 7}, id="prompts in small chunks"),
        pytest.param({"max_batch": 4, "budget": 40}, id="prompts in chunks that are not folded"),
        pytest.param({"blocks": 14, "budget": 33}, id="too few blocks for all"),
    ],
)
def test_ids_are_those_of_generate(models, judged, family, told):
    blocks = told.get("blocks")
    loop = a_loop(models[family][0], **{name: value for name, value in told.items() if name != "blocks"})
    if blocks:
        # Blocks that somebody else holds for ever.
        loop.scheduler.blocks.take(loop.scheduler.blocks.available - blocks)
    for _ in range(2):  # the second time, prompts are in the cache
        answers = run(loop, [asking(question) for question in QUESTIONS])
        assert [answer.tokens for answer in answers] == [judged(family, question) for question in QUESTIONS]
    assert any(answer.cached for answer in answers)
    assert bool(loop.scheduler.preemptions) == bool(blocks)


def test_ids_do_not_depend_on_who_comes_and_goes_meanwhile(models, judged):
    chance = random.Random(3)
    for _ in range(6):
        loop = a_loop(models["qwen3"][0], budget=chance.choice([5, 16, 64]), max_batch=chance.choice([2, 4, 8]))
        late = {i: chance.randrange(30) for i in range(len(QUESTIONS))}
        cancelled = chance.sample(range(len(QUESTIONS)), 2)
        cancel = {i: late[i] + chance.randrange(1, 20) for i in cancelled}
        answers = run(loop, [asking(question) for question in QUESTIONS], late, cancel)
        for i, question in enumerate(QUESTIONS):
            expected = judged("qwen3", question)
            tokens = answers[i].tokens
            assert tokens == (expected[: len(tokens)] if i in cancelled else expected)
        assert loop.scheduler.blocks.available == loop.scheduler.blocks.count - 1


PENALTIES = {"repetition_penalty": 1.02, "presence_penalty": 0.1, "frequency_penalty": 0.01}


def test_penalised_sequences_are_drafted_too(models):
    steps = []
    for how in ({}, {"repetition_penalty": 1.05}):
        loop = a_loop(models["qwen2"][0])
        loop._draft_rows = 16
        run(loop, [asking("SELECT name FROM dtzpt; SELECT name FROM dtzpt", max_tokens=200, **how)])
        steps.append(loop.counters.steps)
        assert loop.counters.accepted
    assert max(steps) < 170


def test_speculation_changes_no_token_and_is_right_now_and_then(models):
    """Random models soon repeat themselves, which is what prompt lookup is good at."""
    texts = []
    for rows in (0, 64):
        loop = a_loop(models["qwen2"][0])
        loop._draft_rows = rows
        asks = [asking(question, max_tokens=100) for question in QUESTIONS[:4]]
        asks += [asking("hello", max_tokens=60, temperature=0.7, seed=5, top_k=3, logprobs=0)]
        asks += [asking(question, max_tokens=100, **PENALTIES) for question in QUESTIONS[1:3]]
        answers = run(loop, asks)
        texts.append([(answer.tokens, len(answer.logprobs)) for answer in answers])
        assert bool(loop.counters.accepted) == bool(rows)
    assert texts[0] == texts[1]


def test_a_seed_gives_the_same_text_whatever_the_batch(models):
    told = [{"temperature": 0.8}, {"temperature": 1.2, "top_p": 0.9}, {"temperature": 0.9, "top_k": 5, "min_p": 0.05}]
    told += [{"temperature": 0.7, "repetition_penalty": 1.2, "presence_penalty": 0.5}]
    loop = a_loop(models["qwen3"][0])
    alone = [run(loop, [asking("hello", seed=3, **how)])[0].tokens for how in told]
    crowd = [asking(question, seed=9, temperature=1.0) for question in QUESTIONS[:4]]
    answers = run(a_loop(models["qwen3"][0], budget=20), crowd + [asking("hello", seed=3, **how) for how in told])
    assert [answer.tokens for answer in answers[4:]] == alone
    assert len({tuple(tokens) for tokens in alone}) > 1


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
        {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 64},
        {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128},
        {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "original_max_position_embeddings": 64,
         "mscale": 0.707, "mscale_all_dim": 1.0},
        {"rope_type": "yarn", "rope_theta": 10000.0, "factor": None, "original_max_position_embeddings": 128},
    ],
    ids=lambda rope: rope["rope_type"],
)  # fmt: skip
def test_every_kind_of_rope_turns_as_transformers_turns_it(tmp_path, rope):
    model = make_model(tmp_path, "llama", rope_parameters=rope)
    answer = run(a_loop(tmp_path), [asking("How many stations? " * 12)])[0]
    prompt = torch.tensor([answer.tokens[:-24]])
    expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False)
    assert answer.tokens == expected[0].tolist()


def test_heads_of_their_own_and_biases_are_as_in_transformers(tmp_path):
    changes = {
        "num_key_value_heads": 4,
        "attention_bias": True,
        "mlp_bias": True,
        "head_dim": 24,
        "tie_word_embeddings": True,
    }
    model = make_model(tmp_path, "llama", **changes)
    answer = run(a_loop(tmp_path), [asking("hello")])[0]
    prompt = torch.tensor([answer.tokens[:-24]])
    expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False)
    assert answer.tokens == expected[0].tolist()


@pytest.mark.parametrize("kept", ["both, different", "both, alike", "the head alone is missing"])
def test_a_head_that_lies_beside_tied_weights_counts_as_in_transformers(tmp_path, kept):
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    make_model(tmp_path, "qwen2", tie_word_embeddings=True)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop("lm_head.weight", None)
    if kept.startswith("both"):
        embedding = tensors["model.embed_tokens.weight"]
        other = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(3)) * 0.2
        tensors["lm_head.weight"] = other if kept == "both, different" else embedding.clone()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    answer = run(a_loop(tmp_path), [asking("hello")])[0]
    prompt = torch.tensor([answer.tokens[:-24]])
    expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False)
    assert answer.tokens == expected[0].tolist()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_near_full(models, dtype):
    exact, rough = (
        run(a_loop(models["qwen2"][0], dtype=told), [asking("hello", logprobs=5, max_tokens=1)])[0].logprobs[0]
        for told in ("float32", dtype)
    )
    assert abs(exact["logprob"] - rough["logprob"]) < 0.1


def test_an_end_token_ends_the_reply_counts_and_is_no_text(models, judged):
    reply = judged("qwen3", "hello")[-24:]
    loop = a_loop(models["qwen3"][0])
    answer = run(loop, [asking("hello", options={"stop_token_ids": [reply[10]]})])[0]
    assert answer.finish_reason == "stop"
    assert answer.tokens[-11:] == reply[: reply.index(reply[10]) + 1][-11:]


def test_a_stop_string_ends_the_text_before_it(models):
    loop = a_loop(models["qwen3"][0])
    whole = run(loop, [asking("hello", max_tokens=60)])[0].text
    stop = whole[len(whole) // 2 :][:3]
    answer = run(loop, [asking("hello", max_tokens=60, stop=[stop])])[0]
    assert (answer.finish_reason, answer.text) == ("stop", whole[: whole.index(stop)])


def test_logprobs_are_those_of_the_model(models, judged):
    folder, model = models["llama"]
    answer = run(a_loop(folder), [asking("hello", logprobs=3, max_tokens=8)])[0]
    with torch.no_grad():
        scores = model(torch.tensor([answer.tokens])).logits[0, -9:-1].log_softmax(-1)
    for entry, row, token in zip(answer.logprobs, scores, answer.tokens[-8:], strict=True):
        assert entry["logprob"] == pytest.approx(row[token].item(), abs=1e-4)
        best = [told["logprob"] for told in entry["top_logprobs"]]
        assert best == pytest.approx(row.topk(3).values.tolist(), abs=1e-4)
    raw = b"".join(bytes(entry["bytes"]) for entry in answer.logprobs)
    assert raw.decode("utf-8", "replace").startswith(answer.text)
