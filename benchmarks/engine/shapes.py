"""Models of real shapes with random weights: a benchmark needs no pretrained file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Qwen2.5's shapes; 50M is of the same family, small enough for two cores.
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 2,
             "num_key_value_heads": 1, "vocab_size": 4096, "tie_word_embeddings": True},
    "50M": {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 9, "num_attention_heads": 8,
            "num_key_value_heads": 2, "vocab_size": 32000, "tie_word_embeddings": True},
    "0.5B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True},
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
             "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
           "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False},
}  # fmt: skip


def make(folder: Path, shape: str, dtype: str) -> Path:
    """A model folder of `shape` under `folder`; made once."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    path = folder / f"{shape}-{dtype}"
    if (path / "model.safetensors").exists() or (path / "model.safetensors.index.json").exists():
        return path
    members = {"max_position_embeddings": 4096, "rope_theta": 1e6, "bos_token_id": None, "eos_token_id": None}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(Qwen2Config(**SHAPES[shape] | members), dtype=getattr(torch, dtype))
    model.save_pretrained(path)
    _tokenizer(path, SHAPES[shape]["vocab_size"])
    return path


def _tokenizer(path: Path, vocabulary: int) -> None:
    """Byte-level, and every id a word of its own: a random model's tokens have text, and detokenising is measured."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = alphabet + [f"Ġw{i}" for i in range(vocabulary - len(alphabet))]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(path / "tokenizer.json"))
    members = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": "{{ messages[-1].content }}"}
    (path / "tokenizer_config.json").write_text(json.dumps(members))
