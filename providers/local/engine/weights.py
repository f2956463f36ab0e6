"""Reading safetensors: one tensor at a time, in the dtype and on the device where it will be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from providers.local.engine.folder import CannotLoad, Folder


class Weights:
    """A folder's tensors by name. `taken` is called after each, so that whoever watches sees loading go on."""

    def __init__(self, folder: Folder, dtype: torch.dtype, device: torch.device, taken: Callable[[], None]) -> None:
        self.dtype = dtype
        self.device = device
        self._name = folder.name
        self._taken = taken
        self._files: dict[str, Any] = {}
        try:
            for path in folder.weight_files:
                file = safe_open(str(path), framework="pt", device="cpu")
                self._files |= dict.fromkeys(file.keys(), file)
        except Exception as error:
            raise CannotLoad(f"{path.name} of {folder.name} cannot be read: {error}") from None

    def take(self, name: str) -> Tensor:
        """The tensor. Raises CannotLoad if the files have none of that name."""
        if name not in self._files:
            raise CannotLoad(f"the weights of {self._name} have no {name}")
        tensor = self._files[name].get_tensor(name).to(self.device, self.dtype)
        self._taken()
        return tensor
