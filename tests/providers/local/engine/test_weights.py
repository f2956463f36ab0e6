"""Weights of fewer bits: the ids are those of transformers with the same rounded numbers, in every way of running."""

from __future__ import annotations

import json

import pytest
import torch

from providers.local.engine.errors import CannotLoad
from tests.providers.local.engine.running import a_loop, asking, run
from tests.providers.local.quantising import int8_model, packed_model

QUESTIONS = ["hello", "SELECT name FROM dtzpt; " * 12 + "which?", "How many stations does line 2 have? " * 3, "x"]


def judged(model, answer) -> list[int]:
    """The prompt of `answer`, and what `generate` makes of it."""
    prompt = torch.tensor([answer.tokens[: -answer.completion_tokens]])
    made = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False)
    return made[0].tolist()


def answers(folder, **options):
    """Prompts in one piece and in chunks, alone and together; the second time they are in the cache."""
    loop = a_loop(folder, **options)
    return [each for _ in range(2) for each in run(loop, [asking(question) for question in QUESTIONS])]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("budget", [None, 40])
@pytest.mark.parametrize("family", ["qwen3", "glm4"])
def test_int8(models, family, budget):
    folder, model = models[family]
    judge = int8_model(model)
    for answer in answers(folder, budget=budget, weights="int8"):
        assert answer.tokens == judged(judge, answer)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("method", "ordered"), [("awq", True), ("gptq", True), ("gptq", False)])
def test_int4_files_are_read_as_they_are(models, tmp_path, method, ordered):
    folder, model = models["qwen2"]
    judge = packed_model(folder, model, tmp_path / "packed", method, ordered)
    for answer in answers(tmp_path / "packed"):
        assert answer.tokens == judged(judge, answer)


def test_what_cannot_be_is_refused_in_one_sentence(models, tmp_path):
    folder, model = models["qwen2"]
    packed_model(folder, model, tmp_path / "packed", "awq")
    with pytest.raises(CannotLoad, match="the model's weights have 4 bits already, got int8"):
        a_loop(tmp_path / "packed", weights="int8")
    with pytest.raises(CannotLoad, match="weights: fp8 needs a GPU of compute capability"):
        a_loop(folder, weights="fp8")
    config = json.loads((tmp_path / "packed" / "config.json").read_text())
    config["quantization_config"]["group_size"] = 20
    (tmp_path / "packed" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CannotLoad, match="group_size must be -1 or a multiple of 32, got 20"):
        a_loop(tmp_path / "packed")


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_8_bits_stay_near_full_weights(models, dtype):
    exact, rough = (
        run(a_loop(models["qwen2"][0], dtype=dtype, weights=form), [asking("hello", logprobs=5, max_tokens=1)])[0]
        for form in ("auto", "int8")
    )
    assert abs(exact.logprobs[0]["logprob"] - rough.logprobs[0]["logprob"]) < 0.15
