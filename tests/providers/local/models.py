"""Tiny random models of each family, with a tokeniser of their own: small and real."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = [
    "SELECT name, line FROM dtzpt WHERE name = '沈塘桥' ORDER BY opened LIMIT 5;",
    "沈塘桥地铁站的信息，一号线有哪些站？西湖区有几个站？",
    "How many stations does line 2 have? The answer is in the table of stations.",
    "user assistant system hello world, streaming one token at a time 😀🚇 café naïve",
]
FAMILIES = ("qwen2", "qwen3", "llama", "mistral", "smollm3", "phi3", "glm4", "ernie", "qwen3moe")


def make_tokenizer(folder: Path, vocabulary: int = 400) -> Any:
    """A byte-level BPE tokeniser with ChatML's control tokens, saved as transformers reads it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(text, special=True) for text in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return tokenizer


def make_model(folder: Path, family: str, seed: int = 0, **changes: Any) -> Any:
    """A random model of `family` and its tokeniser in `folder`; returns transformers' model."""
    model = random_model(make_tokenizer(folder), family, seed, **changes)
    model.save_pretrained(folder)
    return model


def random_model(tokenizer: Any, family: str, seed: int = 0, **changes: Any) -> Any:
    """transformers' random model of `family` for a tokeniser."""
    import torch
    import transformers as hf

    sizes = {
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id("<|im_end|>"), "pad_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "tie_word_embeddings": family != "llama",
    }  # fmt: skip
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "qwen2": (hf.Qwen2Config, {}),
        "qwen3": (hf.Qwen3Config, {"head_dim": 16}),
        "llama": (hf.LlamaConfig, {}),
        "mistral": (hf.MistralConfig, {"head_dim": 24, "sliding_window": None}),
        "smollm3": (hf.SmolLM3Config, {"no_rope_layers": [1, 0]}),
        "phi3": (hf.Phi3Config, {"partial_rotary_factor": 0.5, "sliding_window": None}),
        "glm4": (hf.Glm4Config, {"head_dim": 16, "attention_bias": True, "partial_rotary_factor": 0.5}),
        "ernie": (hf.Ernie4_5Config, {"head_dim": 16}),
        "qwen3moe": (hf.Qwen3MoeConfig, {"head_dim": 16, "num_experts": 6, "num_experts_per_tok": 2,
                                         "moe_intermediate_size": 40, "norm_topk_prob": True}),
    }  # fmt: skip
    kind, own = kinds[family]
    torch.manual_seed(seed)
    # Larger than usual weights: logits lie apart, so equality of ids is not a matter of rounding.
    config = kind(**sizes | {"initializer_range": 0.15} | own | changes)
    automatic: Any = hf.AutoModelForCausalLM
    model = automatic.from_config(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "norm.weight")):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


THINKING_TEMPLATE = (
    "{% for message in messages %}{% set said = message.content %}"
    "{% if message.role == 'assistant' and '</think>' in said %}{% set said = said.split('</think>')[-1] %}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + said + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
OPENED_TEMPLATE = THINKING_TEMPLATE.replace("{% if enable_thinking", "{{ '<think>\n' }}{% if enable_thinking")
TOOL_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ tool | tojson + '\n' }}{% endfor %}"
    "{{ 'Answer with <tool_call>…</tool_call>.<|im_end|>\n' }}{% endif %}"
) + THINKING_TEMPLATE
LLAMA_TEMPLATE = (
    '{% if tools %}{{ \'Answer with {"name": …, "parameters": …}.\n\' }}'
    "{% for tool in tools %}{{ tool | tojson + '\n' }}{% endfor %}{% endif %}"
) + TEMPLATE


TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


def make_speaker(folder: Path, pieces: list[str], template: str = THINKING_TEMPLATE, tags: bool = False) -> Path:
    """A model that says `pieces` one after the other, whatever it is asked, and ends; each piece is one token.

    Attention and MLP are 0, so a token's logits depend on that token alone: the next piece has the highest one. A
    prompt that ends in a line end starts with the first piece.

    tags   whether the tokeniser has the tags of thoughts and calls as tokens, as Qwen3's has
    """
    import torch
    from tokenizers import AddedToken

    tokenizer = make_tokenizer(folder)
    added = dict.fromkeys([*pieces, *(TAGS if tags else ())])
    tokenizer.add_tokens([AddedToken(piece, special=False, normalized=False) for piece in added])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text()) | {"chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    chain = [tokenizer.token_to_id(text) for text in ("Ċ", *pieces, "<|im_end|>")]
    model = random_model(tokenizer, "llama", num_hidden_layers=1, max_position_embeddings=2048)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layers" in name and not name.endswith("norm.weight"):
                parameter.zero_()
            elif name.endswith("norm.weight"):
                parameter.fill_(1.0)
        embedding = model.model.embed_tokens.weight
        torch.nn.init.normal_(embedding)
        model.lm_head.weight.zero_()
        for token, following in pairwise(chain):
            model.lm_head.weight[following] = 4 * embedding[token] / embedding[token].norm()
    model.save_pretrained(folder)
    return folder
