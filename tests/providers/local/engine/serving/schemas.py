"""The schema that constrained SQL is tested with."""

from __future__ import annotations

SCHEMA = {
    "dtzpt": ["id", "name", "line", "district", "opened", "lng"],
    "lines": ["line", "colour", "length_km"],
    "riders": ["station", "day", "riders"],
    "Order": ["select", "User Name", "编号"],
}
