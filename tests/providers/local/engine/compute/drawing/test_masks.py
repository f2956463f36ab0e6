from __future__ import annotations

import subprocess
import sys

PROBE = """
import sys
import torch
from llguidance import LLMatcher, LLTokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from providers.local.engine.compute.drawing.masks import Masks
from providers.local.engine.constraint import Constraint

letters = sorted(pre_tokenizers.ByteLevel.alphabet())
tokenizer = Tokenizer(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer.add_special_tokens(["<|end|>"])
known = LLTokenizer(tokenizer.to_str(), n_vocab=257, eos_token=256)


def place(text: str) -> Constraint:
    return Constraint(LLMatcher(known, LLMatcher.grammar_from_lark(f'start: "{text}"'), log_level=0))


failed = place("x")
failed.matcher.consume_token(256)
masks, logits = Masks(257), torch.zeros(3, 257)
masks.apply(masks.begin([place("a"), None, failed]), logits)
print([int(row.isfinite().sum()) for row in logits], failed.failed)
logits = torch.zeros(1, 257)
masks.apply(masks.begin([failed]), logits)
print(int(logits.isfinite().sum()), sorted({"torch._dynamo", "torch._inductor"} & {*sys.modules}))
"""


def test_masks_load_no_compiler_and_a_grammar_that_gave_up_allows_nothing():
    """To load torch's compiler takes seconds, in which no reply goes on and the supervisor hears no heartbeat."""
    ran = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert ran.stdout == "[1, 257, 0] True\n0 []\n"
