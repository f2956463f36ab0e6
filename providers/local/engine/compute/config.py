"""A model's sizes and variants, read from its config.json and its family's row in families.py."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from providers.local.engine.compute.families import FAMILIES
from providers.local.engine.errors import CannotLoad

ROPE_TYPES = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes count numbers, not bytes; for the flags see families.py.

    rotary_dim   how many numbers of a head rope turns
    unturned     the layers without rope
    sparse       the layers whose MLP is several experts
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_context: int
    norm_eps: float
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norm: bool
    tied: bool
    rope: dict[str, Any]
    rotary: float = 1.0
    interleaved: bool = False
    fused_qkv: bool = False
    fused_mlp: bool = False
    post_norms: bool = False
    unturned: frozenset[int] = frozenset()
    sparse: frozenset[int] = frozenset()
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    normalised_experts: bool = False

    @property
    def rotary_dim(self) -> int:
        return int(self.head_dim * self.rotary)

    @property
    def parameters(self) -> int:
        """How many numbers the weights are, norms and biases left out."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        sparse = self.hidden * self.experts * (1 + 3 * self.expert_intermediate)
        dense = 3 * self.hidden * self.intermediate
        mlps = len(self.sparse) * sparse + (self.layers - len(self.sparse)) * dense
        return self.layers * attention + mlps + self.vocabulary * self.hidden * (1 if self.tied else 2)


def read_config(config: dict[str, Any]) -> ModelConfig:
    """The sizes that a config.json describes. Raises CannotLoad."""
    named = config["architectures"]
    family = FAMILIES[named[0] if isinstance(named, list) else named]
    heads, hidden = _count(config, "num_attention_heads"), _count(config, "hidden_size")
    # Older files keep rope_theta at the top and the rest in rope_scaling; newer ones have all of it in
    # rope_parameters.
    rope = dict(config.get("rope_scaling") or {}) | dict(config.get("rope_parameters") or {})
    rope.setdefault("rope_theta", config.get("rope_theta", 10_000.0))
    rope.setdefault("rope_type", rope.get("type", "default"))
    if "original_max_position_embeddings" in config:
        rope["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    bias = config.get("attention_bias", config.get("use_bias", False))
    layers = _count(config, "num_hidden_layers")
    max_context = _count(config, "max_position_embeddings", 2048)
    if family.windowed and config.get("sliding_window"):
        max_context = min(max_context, _count(config, "sliding_window"))
    sparse = _sparse(config, layers) if family.experts else frozenset()
    return ModelConfig(
        layers=layers,
        hidden=hidden,
        intermediate=_count(config, "intermediate_size"),
        heads=heads,
        kv_heads=_count(config, "num_key_value_heads") if config.get("num_key_value_heads") else heads,
        head_dim=_count(config, "head_dim") if config.get("head_dim") else hidden // heads,
        vocabulary=_count(config, "vocab_size"),
        max_context=max_context,
        norm_eps=_number(config, "rms_norm_eps", 1e-6),
        qkv_bias=bias if family.qkv_bias is None else family.qkv_bias,
        output_bias=bias if family.output_bias is None else family.output_bias,
        mlp_bias=config.get("mlp_bias", config.get("use_bias", False)),
        qk_norm=family.qk_norm,
        tied=config.get("tie_word_embeddings", False),
        rope=rope,
        rotary=_number(
            rope
            | {
                "partial_rotary_factor": rope.get("partial_rotary_factor")
                or config.get("partial_rotary_factor")
                or family.rotary
            },
            "partial_rotary_factor",
        ),
        interleaved=family.interleaved,
        fused_qkv=family.fused_qkv,
        fused_mlp=family.fused_mlp,
        post_norms=family.post_norms,
        unturned=_unturned(config, layers),
        sparse=sparse,
        experts=_count(config, "num_experts" if "num_experts" in config else "num_local_experts") if sparse else 0,
        experts_per_token=_count(config, "num_experts_per_tok") if sparse else 0,
        expert_intermediate=_count(config, "moe_intermediate_size") if sparse else 0,
        normalised_experts=bool(config.get("norm_topk_prob", False)),
    )


def _unturned(config: dict[str, Any], layers: int) -> frozenset[int]:
    """The layers without rope: no_rope_layers has a 0 for each."""
    turned = config.get("no_rope_layers") or []
    return frozenset(number for number, flag in enumerate(turned[:layers]) if not flag)


def _sparse(config: dict[str, Any], layers: int) -> frozenset[int]:
    """The layers with experts: every decoder_sparse_step-th one, but for mlp_only_layers."""
    step, dense = _count(config, "decoder_sparse_step", 1), config.get("mlp_only_layers") or []
    return frozenset(number for number in range(layers) if number not in dense and (number + 1) % step == 0)


def _number(config: dict[str, Any], name: str, default: float | None = None) -> float:
    """The positive number that config.json has for `name`. Raises CannotLoad."""
    value = config.get(name, default)
    if value is None and name not in config:
        raise CannotLoad(f"config.json: {name} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise CannotLoad(f"config.json: {name} must be a positive number, got {json.dumps(value)}")
    return value


def _count(config: dict[str, Any], name: str, default: int | None = None) -> int:
    """The positive whole number that config.json has for `name`. Raises CannotLoad."""
    value = _number(config, name, default)
    if not isinstance(value, int):
        raise CannotLoad(f"config.json: {name} must be a whole number, got {value}")
    return value


def rope_frequencies(config: ModelConfig) -> tuple[list[float], float]:
    """The angle per position of each pair of a head's numbers, and the factor on cos and sin.

    default: θ_i = base^(−2i/d). linear divides by a factor; llama3 (Llama 3.1) divides the slow ones only, with a
    smooth passage; yarn (https://arxiv.org/abs/2309.00071) likewise, with a factor on the attention as well.
    """
    rope, dim = config.rope, config.rotary_dim
    base, kind = _number(rope, "rope_theta"), rope["rope_type"]
    plain = [base ** (-2 * i / dim) for i in range(dim // 2)]
    if kind == "default":
        return plain, 1.0
    if kind not in ROPE_TYPES:
        raise CannotLoad(f"config.json: rope_type must be one of {', '.join(ROPE_TYPES)}, got {kind}")
    original = _number(rope, "original_max_position_embeddings", config.max_context)
    if kind == "yarn" and rope.get("factor", 0) is None:
        factor = config.max_context / original
    else:
        factor = _number(rope, "factor")
    if kind == "linear":
        return [frequency / factor for frequency in plain], 1.0
    if kind == "llama3":
        low, high = _number(rope, "low_freq_factor"), _number(rope, "high_freq_factor")
        turns = [original * frequency / (2 * math.pi) for frequency in plain]
        keep = [min(1.0, max(0.0, (turn - low) / (high - low))) for turn in turns]
        return [f * (k + (1 - k) / factor) for f, k in zip(plain, keep, strict=True)], 1.0
    return _yarn(rope, plain, dim, base, factor, original)


def _yarn(
    rope: dict[str, Any], plain: list[float], dim: int, base: float, factor: float, original: float
) -> tuple[list[float], float]:
    def pair(turns: float) -> float:
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    def scale(part: float) -> float:
        return 0.1 * part * math.log(factor) + 1 if factor > 1 else 1.0

    low, high = pair(float(rope.get("beta_fast") or 32)), pair(float(rope.get("beta_slow") or 1))
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    keep = [1 - min(1.0, max(0.0, (i - low) / max(high - low, 0.001))) for i in range(dim // 2)]
    attention, part, whole = (rope.get(name) for name in ("attention_factor", "mscale", "mscale_all_dim"))
    if attention is None:
        attention = scale(float(part)) / scale(float(whole)) if part and whole else scale(1)
    return [f * (k + (1 - k) / factor) for f, k in zip(plain, keep, strict=True)], float(attention)
