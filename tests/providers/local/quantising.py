"""Tiny models with weights of fewer bits: files as AWQ and GPTQ write them, and transformers' models to judge by."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

GROUP = 32
# The column of each number in an int32 of AWQ's, from the lowest bits on.
AWQ = (0, 2, 4, 6, 1, 3, 5, 7)


def rounded(weight: Tensor, of: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q (out, in), scale and zero (groups, out), and the weight that they mean; `of` (in,) is each input's group."""
    q, meant = torch.empty_like(weight), torch.empty_like(weight)
    scales, zeros = [], []
    for group in range(int(of.max()) + 1):
        part = weight[:, of == group]
        low, high = part.amin(1), part.amax(1)
        scale = ((high - low) / 15).half().float()
        zero = (-low / scale).round().clamp(1, 15)
        q[:, of == group] = mine = (part / scale[:, None] + zero[:, None]).round().clamp(0, 15)
        meant[:, of == group] = (mine - zero[:, None]) * scale[:, None]
        scales.append(scale)
        zeros.append(zero)
    return q.int(), torch.stack(scales), torch.stack(zeros).int(), meant


def eight(numbers: Tensor, order: tuple[int, ...] = tuple(range(8))) -> Tensor:
    """(rows, n) → (rows, n / 8) int32"""
    columns = numbers.view(len(numbers), -1, 8)
    packed = torch.zeros(columns.shape[:2], dtype=torch.int64)
    for i, column in enumerate(order):
        packed |= columns[..., column].long() << 4 * i
    return (packed + (1 << 31)).remainder(1 << 32).sub(1 << 31).int()


def packed_model(source: Path, model: Any, folder: Path, method: str, sorted_inputs: bool = True) -> Any:
    """A folder as `method` writes it, of the dense one at `source`; returns transformers' model of the same numbers.

    sorted_inputs   false: inputs belong to groups in no order, as with desc_act
    """
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    judge, tensors = copy.deepcopy(model), load_file(folder / "model.safetensors")
    parameters = dict(judge.named_parameters())
    for name in [name for name in tensors if "_proj.weight" in name]:
        weight = tensors.pop(name)
        of = torch.arange(weight.shape[1]) // GROUP
        if not sorted_inputs:
            of = of[torch.randperm(len(of), generator=torch.Generator().manual_seed(weight.shape[1]))]
        q, scales, zeros, meant = rounded(weight, of)
        at = name.removesuffix("weight")
        if method == "awq":
            mine = {"qweight": eight(q.T.contiguous(), AWQ), "qzeros": eight(zeros, AWQ)}
        else:
            mine = {"qweight": eight(q).T.contiguous(), "qzeros": eight(zeros - 1), "g_idx": of.int()}
        tensors |= {at + part: tensor for part, tensor in mine.items()} | {at + "scales": scales.half()}
        parameters[name].data.copy_(meant)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    told = {"quant_method": method, "bits": 4, "group_size": GROUP, "desc_act": not sorted_inputs}
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": told}
    (folder / "config.json").write_text(json.dumps(config))
    return judge


def int8_model(model: Any) -> Any:
    """transformers' model with every matrix rounded as `weights: int8` rounds it, the head among them."""
    judge = copy.deepcopy(model)
    head = judge.lm_head.weight.detach().clone()
    judge.config.tie_word_embeddings = False
    judge.lm_head.weight = torch.nn.Parameter(head)
    for name, parameter in judge.named_parameters():
        if "_proj.weight" in name or name == "lm_head.weight":
            # A row of nothing but zeros, as of a token that pads, stays so.
            scale = parameter.data.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
            parameter.data.copy_((parameter.data / scale).round() * scale)
    return judge
