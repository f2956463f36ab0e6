"""A real model answers as transformers does, token by token, in English, Chinese and code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.parts import require
from tests.providers.local import smollm2
from tests.providers.local.engine.running import a_loop, asking, run

FILE = Path(require("real model"))

SUBJECTS = ["the sea", "a metro station", "prime numbers", "Hangzhou", "tea", "a database index", "rain", "bread"]
PROMPTS = [
    *(f"Tell me one fact about {subject}." for subject in SUBJECTS),
    *(f"用一句话介绍{subject}。" for subject in ["杭州", "地铁", "西湖", "数据库", "茶叶", "素数", "大海", "面包"]),
    *(f"Write a Python function that {what}." for what in [
        "adds two numbers", "reverses a string", "checks for primes", "reads a file", "sorts a list", "counts words",
        "merges two dicts", "computes a factorial",
    ]),
    *(f"Write one SQL query: {what}." for what in [
        "count the rows of stations", "the longest line", "all names in order", "stations opened after 2010",
        "the average length", "distinct cities", "lines without stations", "the newest station",
    ]),
]  # fmt: skip
NEW = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return smollm2.convert(FILE, tmp_path_factory.mktemp("smollm2"))


def test_32_prompts_are_answered_as_transformers_answers_them(folder):
    """transformers reads each whole answer at once, and would have chosen every token of it."""
    from transformers import AutoModelForCausalLM

    answers = run(a_loop(folder, kv_cache_mb=256, dtype="float32"), [asking(text, max_tokens=NEW) for text in PROMPTS])
    assert len(answers) == 32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for text, answer in zip(PROMPTS, answers, strict=True):
        count = answer.completion_tokens
        with torch.no_grad():
            chosen = model(torch.tensor([answer.tokens])).logits[0].argmax(-1).tolist()
        assert count > 0 and answer.tokens[-count:] == chosen[-count - 1 : -1], text
        assert count == NEW or answer.tokens[-1] == model.config.eos_token_id, text
    assert "def" in "".join(answer.text for answer in answers[16:24])
