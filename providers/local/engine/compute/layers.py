"""What a decoder layer is made of, read from the weights: matrices, norms, an MLP or several experts.

The weights' names are transformers'. See model.py for what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from providers.local.engine.compute.config import ModelConfig
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
class Mlp:
    """x + D · (silu(G h) ⊙ U h); with `post`, the norm of what is added."""

    gate: Linear
    up: Linear
    down: Linear
    post: Tensor | None
    eps: float

    def add(self, h: Tensor, x: Tensor) -> Tensor:
        """x with what the MLP makes of h."""
        wide = self.up.times(h, self.gate.silu(h))
        if self.post is None:
            return self.down.plus(wide, x)
        return x + norm(self.down(wide), self.post, self.eps)


@dataclass(slots=True)
class Experts:
    """x + Σ wₑ · MLPₑ(h) over the `per_token` experts that the router prefers for each token.

    w = softmax of the router's logits in float32; `normalised`: those of the chosen experts add up to 1
    """

    router: Tensor
    experts: list[Mlp]
    per_token: int
    normalised: bool

    def add(self, h: Tensor, x: Tensor) -> Tensor:
        """x with what the experts make of h. Which experts run is read from the device: no graph can hold this."""
        weights, chosen = F.linear(h, self.router).float().softmax(-1).topk(self.per_token, -1)
        if self.normalised:
            weights = weights / weights.sum(-1, keepdim=True)
        out = x.clone()
        for number in chosen.unique().tolist():
            rows, places = (chosen == number).nonzero(as_tuple=True)
            expert = self.experts[number]
            mine = h[rows]
            made = expert.down(expert.up.times(mine, expert.gate.silu(mine)))
            out.index_add_(0, rows, made * weights[rows, places].unsqueeze(1).to(made.dtype))
        return out


@dataclass(slots=True)
class Layer:
    """
    qk_norm          (heads + kv_heads, head_dim): the query weight for every query head, then the key weight
    turned           whether rope turns its queries and keys
    attention_post   the norm of what attention adds, in families that have it
    """

    attention_norm: Tensor
    qkv: Linear
    qk_norm: Tensor | None
    turned: bool
    output: Linear
    attention_post: Tensor | None
    mlp_norm: Tensor
    mlp: Mlp | Experts


class LayerReader:
    """Reads layers one after the other, so that each matrix is in memory twice only while it is reordered."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self._config, self._weights = config, weights
        self._order = rotary_order(config)

    def layer(self, number: int) -> Layer:
        config, take, at = self._config, self._weights.take, f"model.layers.{number}"
        qk_norm = None
        if config.qk_norm:
            q, k = (take(f"{at}.self_attn.{which}_norm.weight", config.head_dim) for which in "qk")
            qk_norm = torch.cat([q.expand(config.heads, -1), k.expand(config.kv_heads, -1)])
            qk_norm = qk_norm if self._order is None else qk_norm[:, self._order]
        post = None
        # Families with norms behind attention and MLP call those before them as others do.
        if config.post_norms:
            post = take(f"{at}.post_self_attn_layernorm.weight", config.hidden)
        return Layer(
            attention_norm=take(f"{at}.input_layernorm.weight", config.hidden),
            qkv=self._qkv(f"{at}.self_attn"),
            qk_norm=qk_norm,
            turned=number not in config.unturned,
            output=self._linear(
                f"{at}.self_attn.o_proj", config.hidden, config.heads * config.head_dim, config.output_bias
            ),
            attention_post=post,
            mlp_norm=take(f"{at}.post_attention_layernorm.weight", config.hidden),
            mlp=self._experts(f"{at}.mlp") if number in config.sparse else self._mlp(at),
        )

    def _qkv(self, at: str) -> Linear:
        config = self._config
        queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
        if config.fused_qkv:
            parts = [self._rows(f"{at}.qkv_proj", queries + 2 * keys, config.hidden, config.qkv_bias)]
        else:
            sizes = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
            parts = [self._rows(f"{at}.{name}", rows, config.hidden, config.qkv_bias) for name, rows in sizes.items()]
        weight = torch.cat([weight for weight, _ in parts])
        biases = [bias for _, bias in parts if bias is not None]
        bias = torch.cat(biases) if biases else None
        if self._order is not None:
            turned = config.heads + config.kv_heads
            rows = torch.arange(len(weight)).view(-1, config.head_dim)
            rows = torch.cat([rows[:turned, self._order], rows[turned:]]).flatten().to(weight.device)
            weight, bias = weight[rows], None if bias is None else bias[rows]
        return Linear(weight, bias)

    def _rows(self, at: str, rows: int, wide: int, biased: bool) -> tuple[Tensor, Tensor | None]:
        take = self._weights.take
        return take(f"{at}.weight", rows, wide), take(f"{at}.bias", rows) if biased else None

    def _linear(self, at: str, rows: int, wide: int, biased: bool) -> Linear:
        return Linear(*self._rows(at, rows, wide, biased))

    def _mlp(self, at: str) -> Mlp:
        config = self._config
        wide = config.intermediate
        if config.fused_mlp:
            weight, bias = self._rows(f"{at}.mlp.gate_up_proj", 2 * wide, config.hidden, config.mlp_bias)
            gate, up = (
                Linear(weight[part].clone(), None if bias is None else bias[part].clone())
                for part in (slice(None, wide), slice(wide, None))
            )
        else:
            gate, up = (
                self._linear(f"{at}.mlp.{name}_proj", wide, config.hidden, config.mlp_bias) for name in ("gate", "up")
            )
        down = self._linear(f"{at}.mlp.down_proj", config.hidden, wide, config.mlp_bias)
        post = self._weights.take(f"{at}.post_mlp_layernorm.weight", config.hidden) if config.post_norms else None
        return Mlp(gate, up, down, post, config.norm_eps)

    def _experts(self, at: str) -> Experts:
        config, wide = self._config, self._config.expert_intermediate
        router = self._weights.take(f"{at}.gate.weight", config.experts, config.hidden)
        experts = [
            Mlp(
                self._linear(f"{at}.experts.{i}.gate_proj", wide, config.hidden, False),
                self._linear(f"{at}.experts.{i}.up_proj", wide, config.hidden, False),
                self._linear(f"{at}.experts.{i}.down_proj", config.hidden, wide, False),
                None,
                config.norm_eps,
            )
            for i in range(config.experts)
        ]
        return Experts(router, experts, config.experts_per_token, config.normalised_experts)


def rotary_order(config: ModelConfig) -> list[int] | None:
    """The order of a head's numbers in which rope turns number j with number j + head_dim / 2; None if it is theirs.

    Families turn neighbours, or a part of each head only. Queries and keys in the same other order have the same
    products, so the rows of their matrices are put in this order once. What is not turned has an angle of 0.
    """
    dim, turned = config.head_dim, config.rotary_dim
    if config.interleaved:
        first, second = list(range(0, turned, 2)), list(range(1, turned, 2))
    else:
        first, second = list(range(turned // 2)), list(range(turned // 2, turned))
    rest = list(range(turned, dim))
    order = first + rest[: len(rest) // 2] + second + rest[len(rest) // 2 :]
    return None if order == list(range(dim)) else order
