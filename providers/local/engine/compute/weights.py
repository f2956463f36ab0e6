"""Reading safetensors: one tensor at a time, in the dtype and on the device where it will be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from providers.local.engine.compute.kernels.matrix import Matrix
from providers.local.engine.compute.products.checkpoints import Packing, read
from providers.local.engine.errors import CannotLoad

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


class Weights:
    """A model's tensors by their names in its files.

    model     what the model is called where something is wrong
    taken     called after each tensor, so that the supervisor sees progress
    form      what dense matrices are turned into: int8 or fp8; None leaves them
    packing   how int4 matrices are packed in the files, if they are
    """

    def __init__(
        self,
        model: str,
        files: list[Path],
        dtype: torch.dtype,
        device: torch.device,
        taken: Callable[[], None],
        form: str | None = None,
        packing: Packing | None = None,
    ) -> None:
        self.form = form
        self._packing = packing
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
        tensor = self._raw(name, *shape)
        if tensor.dtype not in DTYPES:
            raise CannotLoad(
                f"the weights of {self._model}: {name} must be bfloat16, float16 or float32, got {tensor.dtype}"
            )
        return tensor.to(self.device, self.dtype)

    def _raw(self, name: str, *shape: int) -> Tensor:
        """As `take`, with any numbers, on the CPU."""
        if name not in self._files:
            raise CannotLoad(f"the weights of {self._model}: {name} is missing")
        tensor: Tensor = self._files.pop(name).get_tensor(name)
        if tuple(tensor.shape) != shape:
            raise CannotLoad(f"the weights of {self._model}: {name} must have shape {shape}, got {tuple(tensor.shape)}")
        self._taken()
        return tensor

    def matrix(self, at: str, rows: int, wide: int, biased: bool) -> Matrix:
        """The matrix (rows, wide) of the layer `at`, in the form in which it will be used. Raises CannotLoad."""
        if self._packing and self.has(f"{at}.qweight"):
            matrix = read(self._raw, self.has, at, rows, wide, self._packing)
            order = None if matrix.order is None else matrix.order.to(self.device)
            matrix = replace(matrix, parts=tuple(part.to(self.device) for part in matrix.parts), order=order)
        else:
            matrix = Matrix("dense", (self.take(f"{at}.weight", rows, wide),))
            if self.form:
                matrix = matrix.quantise(self.form)
        # GPTQ's files have biases of nothing but zeros.
        if biased or (self._packing and self.has(f"{at}.bias")):
            matrix = replace(matrix, bias=self.take(f"{at}.bias", rows))
        return matrix

    def finish(self) -> None:
        """Raises CannotLoad where the files have more than was taken: then config.json describes another model."""
        left = [name for name in self._files if not name.endswith("rotary_emb.inv_freq")]
        if left:
            raise CannotLoad(f"the weights of {self._model}: {left[0]} is not described by config.json")
