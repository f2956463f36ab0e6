"""Reading safetensors: one tensor at a time, in the dtype and on the device where it will be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from providers.local.engine.errors import CannotLoad

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


class Weights:
    """A model's tensors by their names in its files.

    model   what the model is called where something is wrong
    taken   called after each tensor, so that the supervisor sees progress
    """

    def __init__(
        self, model: str, files: list[Path], dtype: torch.dtype, device: torch.device, taken: Callable[[], None]
    ) -> None:
        self.dtype = dtype
        self.device = device
        self._model = model
        self._taken = taken
        self._files: dict[str, Any] = {}
        try:
            for path in files:
                file = safe_open(str(path), framework="pt", device="cpu")
                self._files |= dict.fromkeys(file.keys(), file)
        except Exception as error:  # noqa: BLE001 - safetensors raises many kinds
            raise CannotLoad(f"{path.name} of {model} cannot be read: {error}") from None

    def has(self, name: str) -> bool:
        """Whether the files have a tensor of that name that was not taken yet."""
        return name in self._files

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor. Raises CannotLoad if the files have none of that name and shape, or no plain numbers in it."""
        if name not in self._files:
            raise CannotLoad(f"the weights of {self._model}: {name} is missing")
        tensor = self._files.pop(name).get_tensor(name)
        if tuple(tensor.shape) != shape:
            raise CannotLoad(f"the weights of {self._model}: {name} must have shape {shape}, got {tuple(tensor.shape)}")
        if tensor.dtype not in DTYPES:
            raise CannotLoad(
                f"the weights of {self._model}: {name} must be bfloat16, float16 or float32, got {tensor.dtype}"
            )
        self._taken()
        return tensor.to(self.device, self.dtype)

    def finish(self) -> None:
        """Raises CannotLoad where the files have more than was taken: then config.json describes another model."""
        left = [name for name in self._files if not name.endswith("rotary_emb.inv_freq")]
        if left:
            raise CannotLoad(f"the weights of {self._model}: {left[0]} is not described by config.json")
