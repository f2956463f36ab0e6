"""The forward pass of the Qwen2, Qwen3 and Llama families; the weights' names are transformers'.

One decoder layer, x (tokens, hidden):

    x ← x + O · attention(rope(norm(Q h)), rope(norm(K h)), V h)     h = rms(x)       norm: Qwen3 only
    x ← x + D · (silu(G h) ⊙ U h)                                    h = rms(x)

Q, K, V are one matrix here: fewer, larger products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from providers.local.engine.compute.attention import Attention, Layout
from providers.local.engine.compute.config import ModelConfig, rope_frequencies
from providers.local.engine.compute.kvcache import KVCache
from providers.local.engine.compute.torch_private import can_pack, pack, packed_linear, packed_linear_with
from providers.local.engine.compute.weights import Weights

# Below so many numbers, oneDNN's call costs more than its product saves for a single row (15 against 6 µs at 576 ×
# 192, fp32).
SMALL_MATRIX = 1 << 20


class Linear:
    """x Wᵀ + b, and what may follow it.

    On a CPU the weight is reordered once into oneDNN's blocks: 1.5 to 3 times as fast; and what follows is computed
    while the product is still in registers: 5 % of an MLP's time with hundreds of rows.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.bias = bias
        self.packed: Tensor | None = None
        self.weight: Tensor | None = weight
        if can_pack(weight):
            self.packed = pack(weight)
            if weight.dtype != torch.float32 or weight.numel() > SMALL_MATRIX:
                self.weight = None

    def __call__(self, x: Tensor) -> Tensor:
        if (weight := self._plain(x)) is not None:
            return F.linear(x, weight, self.bias)
        return packed_linear(x, self.packed, self.bias)

    def silu(self, x: Tensor) -> Tensor:
        """silu(x Wᵀ + b)"""
        if (weight := self._plain(x)) is not None:
            return F.silu(F.linear(x, weight, self.bias), inplace=True)
        return packed_linear(x, self.packed, self.bias, "swish")

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """(x Wᵀ + b) ⊙ other"""
        if (weight := self._plain(x)) is not None:
            return F.linear(x, weight, self.bias).mul_(other)
        return packed_linear_with(x, other, self.packed, self.bias, "mul")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """x Wᵀ + b + other"""
        if (weight := self._plain(x)) is not None:
            return F.linear(x, weight, self.bias).add_(other)
        return packed_linear_with(x, other, self.packed, self.bias, "add")

    def _plain(self, x: Tensor) -> Tensor | None:
        """The weight as it was, where that is to be used."""
        return self.weight if self.packed is None or x.shape[0] == 1 else None


def norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """x / √(mean x² + ε) · weight over the last dimension, computed in float32."""
    return F.rms_norm(x, x.shape[-1:], weight, eps)


@dataclass(slots=True)
class Layer:
    """qk_norm   (heads + kv_heads, head_dim): the query weight for every query head, then the key weight."""

    attention_norm: Tensor
    qkv: Linear
    qk_norm: Tensor | None
    output: Linear
    mlp_norm: Tensor
    gate: Linear
    up: Linear
    down: Linear


class Model:
    """The weights of one model on one device."""

    def __init__(self, config: ModelConfig, weights: Weights, max_context: int) -> None:
        self.config = config
        self.dtype, self.device = weights.dtype, weights.device
        self.embedding = weights.take("model.embed_tokens.weight", config.vocabulary, config.hidden)
        self.layers = [self._layer(weights, f"model.layers.{i}") for i in range(config.layers)]
        self.norm = weights.take("model.norm.weight", config.hidden)
        head = self.embedding
        # As in transformers, lm_head.weight in the files counts even where config.json says that the head is tied.
        if not config.tied or weights.has("lm_head.weight"):
            own = weights.take("lm_head.weight", config.vocabulary, config.hidden)
            head = head if config.tied and torch.equal(head, own) else own
        self.head = Linear(head)
        weights.finish()
        self.attention = Attention(config.heads, config.kv_heads, config.head_dim)
        self.cos, self.sin = self._rotations(max_context)

    def _layer(self, weights: Weights, at: str) -> Layer:
        config = self.config

        def linear(names: dict[str, int], wide: int, biased: bool) -> Linear:
            weight = torch.cat([weights.take(f"{at}.{name}.weight", rows, wide) for name, rows in names.items()])
            bias = torch.cat([weights.take(f"{at}.{n}.bias", rows) for n, rows in names.items()]) if biased else None
            return Linear(weight, bias)

        hidden, queries, keys = config.hidden, config.heads * config.head_dim, config.kv_heads * config.head_dim

        qk_norm = None
        if config.qk_norm:
            q, k = (weights.take(f"{at}.self_attn.{which}_norm.weight", config.head_dim) for which in "qk")
            qk_norm = torch.cat([q.expand(config.heads, -1), k.expand(config.kv_heads, -1)])
        return Layer(
            attention_norm=weights.take(f"{at}.input_layernorm.weight", hidden),
            qkv=linear(
                {"self_attn.q_proj": queries, "self_attn.k_proj": keys, "self_attn.v_proj": keys},
                hidden,
                config.qkv_bias,
            ),
            qk_norm=qk_norm,
            output=linear({"self_attn.o_proj": hidden}, queries, config.output_bias),
            mlp_norm=weights.take(f"{at}.post_attention_layernorm.weight", hidden),
            gate=linear({"mlp.gate_proj": config.intermediate}, hidden, config.mlp_bias),
            up=linear({"mlp.up_proj": config.intermediate}, hidden, config.mlp_bias),
            down=linear({"mlp.down_proj": hidden}, config.intermediate, config.mlp_bias),
        )

    def _rotations(self, max_context: int) -> tuple[Tensor, Tensor]:
        """cos and signed sin per position, (max_context, 1, head_dim): rope(x) = x · cos + swap_halves(x) · sin."""
        frequencies, factor = rope_frequencies(self.config)
        angles = torch.outer(
            torch.arange(max_context, dtype=torch.float32), torch.tensor(frequencies, dtype=torch.float32)
        )
        cos, sin = angles.cos() * factor, angles.sin() * factor
        whole = torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)
        cos, sin = (table.unsqueeze(1).to(self.device, self.dtype) for table in whole)
        return cos, sin

    @torch.inference_mode()
    def forward(self, tokens: Tensor, positions: Tensor, rows: Tensor, layout: Layout, cache: KVCache) -> Tensor:
        """The logits that follow some of a step's tokens; the step's keys and values go into the cache.

        tokens, positions   (tokens,)  int64
        rows                (draws,)   int64, which tokens' logits are wanted
        returns             (draws, vocabulary)
        """
        config = self.config
        eps = config.norm_eps
        cos, sin = self.cos[positions], self.sin[positions]
        turned = config.heads + config.kv_heads
        x = F.embedding(tokens, self.embedding)
        for layer, kv in zip(self.layers, cache.layers, strict=True):
            h = norm(x, layer.attention_norm, eps)
            qkv = layer.qkv(h).view(len(x), turned + config.kv_heads, config.head_dim)
            qk = qkv[:, :turned]
            if layer.qk_norm is not None:
                qk = norm(qk, None, eps) * layer.qk_norm
            # In place: values already lie behind the keys, so both go into the cache in one copy.
            torch.addcmul(qk * cos, qk.roll(config.head_dim // 2, -1), sin, out=qkv[:, :turned])
            kv.flatten(0, 1).index_copy_(0, layout.slots, qkv[:, config.heads :])
            x = layer.output.plus(self.attention(qkv[:, : config.heads], kv, layout), x)
            h = norm(x, layer.mlp_norm, eps)
            x = layer.down.plus(layer.up.times(h, layer.gate.silu(h)), x)
        x = norm(x[rows], self.norm, eps)
        return self.head(x)
