"""The model families that the engine computes: how each differs from a Llama, a row each.

To add one: its row here, and where it has something that no row says, a field of Family and its place in layers.py;
then its tiny model in tests/providers/local/models.py, which the tests compare with transformers in every mixture.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Family:
    """
    qkv_bias      whether queries, keys and values have biases; None: as attention_bias in config.json
    output_bias   likewise the product behind attention
    qk_norm       every query and key head is normalised by itself
    interleaved   rope turns neighbours (2i, 2i + 1), not the two halves of a head
    rotary        the share of a head that rope turns, unless config.json says it
    fused_qkv     the files have one matrix for queries, keys and values
    fused_mlp     likewise for gate and up
    post_norms    what attention and MLP give is normalised before it is added
    windowed      attention sees `sliding_window` tokens: the context is limited to them
    experts       the MLP is several, of which each token takes some
    """

    qkv_bias: bool | None = None
    output_bias: bool | None = None
    qk_norm: bool = False
    interleaved: bool = False
    rotary: float = 1.0
    fused_qkv: bool = False
    fused_mlp: bool = False
    post_norms: bool = False
    windowed: bool = False
    experts: bool = False


FAMILIES = {
    "LlamaForCausalLM": Family(),
    "Qwen2ForCausalLM": Family(qkv_bias=True, output_bias=False),
    "Qwen3ForCausalLM": Family(qk_norm=True),
    "Qwen3MoeForCausalLM": Family(qk_norm=True, experts=True),
    "MistralForCausalLM": Family(qkv_bias=False, output_bias=False, windowed=True),
    "SmolLM3ForCausalLM": Family(),
    "Phi3ForCausalLM": Family(qkv_bias=False, output_bias=False, fused_qkv=True, fused_mlp=True, windowed=True),
    "Glm4ForCausalLM": Family(output_bias=False, interleaved=True, rotary=0.5, fused_mlp=True, post_norms=True),
    "Ernie4_5ForCausalLM": Family(interleaved=True),
}
"""By the name that config.json has as its architecture."""
