"""The forward pass of every family in families.py.

One decoder layer, x (tokens, hidden):

    x ← x + O · attention(rope(norm(Q h)), rope(norm(K h)), V h)     h = rms(x)       norm: Qwen3 only
    x ← x + D · (silu(G h) ⊙ U h)                                    h = rms(x)

Q, K, V are one matrix here: fewer, larger products. A layer runs in one of two ways with the same numbers: `_plain` on
a CPU, where oneDNN computes what follows a product with it, and `_fused` on a GPU, with the operations of kernels/: ten
per layer, or nine where a row's keys are not split.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from providers.local.engine.compute.attention import Attention, Layout
from providers.local.engine.compute.config import ModelConfig, rope_frequencies
from providers.local.engine.compute.kernels import Kernels
from providers.local.engine.compute.kernels.matrix import Matrix
from providers.local.engine.compute.kvcache import KVCache
from providers.local.engine.compute.layers import FusedMlp, LayerReader, norm
from providers.local.engine.compute.products.linear import product_of
from providers.local.engine.compute.weights import Weights


class Model:
    """The weights of one model on one device.   kernels   what a GPU's layers are made of; None on a CPU"""

    def __init__(self, config: ModelConfig, weights: Weights, max_context: int, kernels: Kernels | None = None) -> None:
        self.config = config
        self.kernels = kernels
        self.dtype, self.device = weights.dtype, weights.device
        self.embedding = weights.take("model.embed_tokens.weight", config.vocabulary, config.hidden)
        reader = LayerReader(config, weights, kernels)
        self.layers = [reader.layer(number) for number in range(config.layers)]
        self.norm = weights.take("model.norm.weight", config.hidden)
        head = self.embedding
        # As in transformers, lm_head.weight in the files counts even where config.json says that the head is tied.
        if not config.tied or weights.has("lm_head.weight"):
            own = weights.take("lm_head.weight", config.vocabulary, config.hidden)
            head = head if config.tied and torch.equal(head, own) else own
        matrix = Matrix("dense", (head,))
        self.head = product_of(matrix.quantise(weights.form) if weights.form else matrix, kernels)
        weights.finish()
        self.attention = Attention(config.heads, config.kv_heads, config.head_dim, kernels)
        self.cos, self.sin = self._rotations(max_context)

    def _rotations(self, max_context: int) -> tuple[Tensor, Tensor]:
        """cos and signed sin per position, (max_context, 1, head_dim): rope(x) = x · cos + swap_halves(x) · sin."""
        frequencies, factor = rope_frequencies(self.config)
        angles = torch.outer(
            torch.arange(max_context, dtype=torch.float32), torch.tensor(frequencies, dtype=torch.float32)
        )
        cos, sin = angles.cos() * factor, angles.sin() * factor
        # Numbers of a head that rope leaves as they are.
        still = self.config.head_dim // 2 - len(frequencies)
        cos, sin = F.pad(cos, (0, still), value=1.0), F.pad(sin, (0, still))
        whole = torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)
        cos, sin = (table.unsqueeze(1).to(self.device, self.dtype) for table in whole)
        return cos, sin

    @torch.inference_mode()
    def forward(self, tokens: Tensor, positions: Tensor, rows: Tensor | None, layout: Layout, cache: KVCache) -> Tensor:
        """The logits that follow some of a step's tokens; the step's keys and values go into the cache.

        tokens, positions   (tokens,)  int64
        rows                (draws,)   int64, which tokens' logits are wanted; None if all are
        returns             (draws, vocabulary)
        """
        x = F.embedding(tokens, self.embedding)
        way = self._fused if self.kernels else self._plain
        return self.head(way(x, positions, rows, layout, cache))

    def _plain(self, x: Tensor, positions: Tensor, rows: Tensor | None, layout: Layout, cache: KVCache) -> Tensor:
        """x (tokens, hidden) → what the head multiplies, (draws, hidden)."""
        config = self.config
        eps = config.norm_eps
        cos, sin = self.cos[positions], self.sin[positions]
        turned = config.heads + config.kv_heads
        for layer, kv in zip(self.layers, cache.layers, strict=True):
            h = norm(x, layer.attention_norm, eps)
            qkv = layer.qkv(h).view(len(x), turned + config.kv_heads, config.head_dim)
            qk = qkv[:, :turned]
            if layer.qk_norm is not None:
                qk = norm(qk, None, eps) * layer.qk_norm
            # In place: values already lie behind the keys, so both go into the cache in one copy.
            if layer.turned:
                torch.addcmul(qk * cos, qk.roll(config.head_dim // 2, -1), sin, out=qkv[:, :turned])
            elif layer.qk_norm is not None:
                qkv[:, :turned] = qk
            kv.flatten(0, 1).index_copy_(0, layout.slots, qkv[:, config.heads :])
            out = self.attention(qkv[:, : config.heads], kv, layout)
            if layer.attention_post is None:
                x = layer.output.plus(out, x)
            else:
                x = x + norm(layer.output(out), layer.attention_post, eps)
            assert not isinstance(layer.mlp, FusedMlp)
            x = layer.mlp.add(norm(x, layer.mlp_norm, eps), x)
        return norm(x if rows is None else x[rows], self.norm, eps)

    def _fused(self, x: Tensor, positions: Tensor, rows: Tensor | None, layout: Layout, cache: KVCache) -> Tensor:
        """As _plain. What a layer adds to x is added by the kernel that normalises the sum."""
        config, kernels = self.config, self.kernels
        assert kernels
        eps = config.norm_eps
        delta = post = None
        for layer, kv in zip(self.layers, cache.layers, strict=True):
            h = kernels.add_norm(x, delta, post, layer.attention_norm, eps)
            qkv = layer.qkv(h).view(len(x), -1, config.head_dim)
            turns = (self.cos, self.sin) if layer.turned else None
            q = kernels.rotate(qkv, config.heads, turns, positions, layout.slots, kv, layer.qk_norm, eps)
            out = layer.output(self.attention(q, kv, layout))
            h = kernels.add_norm(x, out, layer.attention_post, layer.mlp_norm, eps)
            delta, post = layer.mlp(h), layer.mlp.post
        if rows is not None:
            x, delta = x[rows], None if delta is None else delta[rows]
        return kernels.add_norm(x, delta, post, self.norm, eps)
