"""Files that come with Sluice beside its packages: the logging configuration, the demo's data and its model."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
SHARED = "share/sluice/"


def path_of(name: str) -> Path | None:
    """Where `name` is, such as "logging.yaml" or "models/metro-sql": in a checkout, or in the installation's `share`.

    None where it was left out.
    """
    here = CHECKOUT / name
    if (CHECKOUT / "setup.cfg").is_file():
        return here if here.exists() else None
    try:
        listed = files("sluice") or []
    except PackageNotFoundError:
        return None
    for file in listed:
        # Recorded relative to the packages, such as ../../../share/sluice/logging.yaml.
        place = file.as_posix().partition(SHARED)[2]
        if place == name or place.startswith(name + "/"):
            parts_below = len(Path(place).parts) - len(Path(name).parts)
            path = Path(str(file.locate())).resolve()
            return path.parents[parts_below - 1] if parts_below else path
    return None
