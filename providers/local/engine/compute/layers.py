"""What a decoder layer is made of, read from the weights: matrices, norms, an MLP or several experts.

The weights' names are transformers'. See model.py for what is done with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from providers.local.engine.compute.config import ModelConfig
from providers.local.engine.compute.kernels import Kernels
from providers.local.engine.compute.kernels.matrix import Matrix, joined
from providers.local.engine.compute.products.linear import Product, product_of
from providers.local.engine.compute.weights import Weights
from providers.local.engine.errors import CannotLoad


def norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """x / √(mean x² + ε) · weight over the last dimension, computed in float32."""
    return F.rms_norm(x, x.shape[-1:], weight, eps)


@dataclass(slots=True)
class Mlp:
    """x + D · (silu(G h) ⊙ U h); with `post`, the norm of what is added."""

    gate: Product
    up: Product
    down: Product
    post: Tensor | None
    eps: float

    def add(self, h: Tensor, x: Tensor) -> Tensor:
        """x with what the MLP makes of h."""
        if self.post is None:
            return self.down.plus(self._wide(h), x)
        return x + norm(self(h), self.post, self.eps)

    def __call__(self, h: Tensor) -> Tensor:
        """D · (silu(G h) ⊙ U h)"""
        return self.down(self._wide(h))

    def _wide(self, h: Tensor) -> Tensor:
        return self.up.times(h, self.gate.silu(h))


@dataclass(slots=True)
class FusedMlp:
    """D · (silu(G h) ⊙ U h) with one product for G and U, for kernels; `post` is the norm of what is added."""

    gate_up: Product
    down: Product
    post: Tensor | None
    kernels: Kernels

    def __call__(self, h: Tensor) -> Tensor:
        return self.down(self.kernels.activate(self.gate_up(h)))


@dataclass(slots=True)
class Experts:
    """x + Σ wₑ · MLPₑ(h) over the `per_token` experts that the router prefers for each token.

    w = softmax of the router's logits in float32; `normalised`: those of the chosen experts add up to 1
    """

    router: Tensor
    experts: list[Mlp] | list[FusedMlp]
    per_token: int
    normalised: bool
    post: Tensor | None = None

    def add(self, h: Tensor, x: Tensor) -> Tensor:
        """x with what the experts make of h."""
        return self._onto(x.clone(), h)

    def __call__(self, h: Tensor) -> Tensor:
        """What the experts make of h."""
        return self._onto(torch.zeros_like(h), h)

    def _onto(self, out: Tensor, h: Tensor) -> Tensor:
        """`out` with what is made of h. Which experts run is read from the device: no graph can hold this."""
        weights, chosen = F.linear(h, self.router).float().softmax(-1).topk(self.per_token, -1)
        if self.normalised:
            weights = weights / weights.sum(-1, keepdim=True)
        for number in chosen.unique().tolist():
            rows, places = (chosen == number).nonzero(as_tuple=True)
            output = self.experts[number](h[rows])
            out.index_add_(0, rows, output * weights[rows, places].unsqueeze(1).to(output.dtype))
        return out


@dataclass(slots=True)
class Layer:
    """
    qk_norm          (heads + kv_heads, head_dim): the query weight for every query head, then the key weight
    turned           whether rope turns its queries and keys
    mlp              FusedMlp exactly where the model has kernels
    attention_post   the norm of what attention adds, in families that have it
    """

    attention_norm: Tensor
    qkv: Product
    qk_norm: Tensor | None
    turned: bool
    output: Product
    attention_post: Tensor | None
    mlp_norm: Tensor
    mlp: Mlp | FusedMlp | Experts


class LayerReader:
    """Reads layers one after the other, so that each matrix is in memory twice only while it is reordered."""

    def __init__(self, config: ModelConfig, weights: Weights, kernels: Kernels | None) -> None:
        self._config, self._weights, self._kernels = config, weights, kernels
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

    def _qkv(self, at: str) -> Product:
        config = self._config
        queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
        if config.fused_qkv:
            parts = [self._matrix(f"{at}.qkv_proj", queries + 2 * keys, config.hidden, config.qkv_bias)]
        else:
            sizes = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
            parts = [self._matrix(f"{at}.{name}", rows, config.hidden, config.qkv_bias) for name, rows in sizes.items()]
        matrix = self._joined(at, parts)
        if self._order is not None:
            turned = config.heads + config.kv_heads
            rows = torch.arange(matrix.rows).view(-1, config.head_dim)
            rows = torch.cat([rows[:turned, self._order], rows[turned:]]).flatten()
            matrix = matrix.pick(rows.to(matrix.parts[0].device))
        return product_of(matrix, self._kernels)

    def _matrix(self, at: str, rows: int, wide: int, biased: bool) -> Matrix:
        return self._weights.matrix(at, rows, wide, biased)

    def _linear(self, at: str, rows: int, wide: int, biased: bool) -> Product:
        return product_of(self._matrix(at, rows, wide, biased), self._kernels)

    def _joined(self, at: str, parts: list[Matrix]) -> Matrix:
        matrix = joined(parts)
        if matrix is None:
            raise CannotLoad(
                f"{at}: its matrices sort their inputs in different orders (desc_act), which cannot be joined"
            )
        return matrix

    def _mlp(self, at: str) -> Mlp | FusedMlp:
        config = self._config
        post = self._weights.take(f"{at}.post_mlp_layernorm.weight", config.hidden) if config.post_norms else None
        return self._gated(f"{at}.mlp", config.intermediate, config.mlp_bias, config.fused_mlp, post)

    def _gated(self, at: str, wide: int, biased: bool, together: bool, post: Tensor | None) -> Mlp | FusedMlp:
        """One MLP; `together` if the files have one matrix for gate and up."""
        config = self._config
        if together:
            whole = self._matrix(f"{at}.gate_up_proj", 2 * wide, config.hidden, biased)
            parts = [whole.pick(half) for half in (slice(None, wide), slice(wide, None))]
        else:
            parts = [self._matrix(f"{at}.{name}_proj", wide, config.hidden, biased) for name in ("gate", "up")]
        down = self._linear(f"{at}.down_proj", config.hidden, wide, biased)
        if self._kernels:
            return FusedMlp(product_of(self._joined(at, parts), self._kernels), down, post, self._kernels)
        gate, up = (product_of(part, None) for part in parts)
        return Mlp(gate, up, down, post, config.norm_eps)

    def _experts(self, at: str) -> Experts:
        config = self._config
        router = self._weights.take(f"{at}.gate.weight", config.experts, config.hidden)
        experts: Any = [
            self._gated(f"{at}.experts.{i}", config.expert_intermediate, False, False, None)
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
