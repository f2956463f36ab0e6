"""Import the engine on a machine that has torch and transformers, and none of the gateway's libraries.

The engine needs of `providers` its own folder and `providers/sampling.py`, whose class is a msgspec struct. Where
msgspec is missing, plain classes stand in for the two names that the module uses: nothing is decoded there.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


class Meta:
    """What msgspec.Meta keeps of a parameter's declaration."""

    extra: dict[str, Any] | None = None

    def __init__(self, **declared: Any) -> None:
        self.__dict__.update(declared)


class Struct:
    """A dataclass whose fields are named as a msgspec struct names them."""

    def __init_subclass__(cls, **_options: Any) -> None:
        # In place: with `slots` it would be a new class, and the struct's own name would mean the old one.
        dataclasses.dataclass(kw_only=True)(cls)
        # By setattr: an annotation here would be one more field.
        setattr(cls, "__struct_fields__", tuple(field.name for field in dataclasses.fields(cls)))  # type: ignore[arg-type]  # noqa: B010


def engine_alone() -> None:
    """Make `providers.local.engine` importable, whatever of the gateway's libraries is missing."""
    if importlib.util.find_spec("msgspec") is None:
        stand_in: Any = types.ModuleType("msgspec")
        stand_in.Meta, stand_in.Struct = Meta, Struct
        sys.modules["msgspec"] = stand_in
    elif importlib.util.find_spec("pydantic") is not None:
        return
    # The package's own module imports every wire.
    package = types.ModuleType("providers")
    package.__path__ = [str(ROOT / "providers")]
    sys.modules.setdefault("providers", package)
