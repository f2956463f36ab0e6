"""What the engine fails with: before it serves, and in a step."""

from __future__ import annotations


class CannotLoad(Exception):
    """The model cannot be served; the message is one sentence for whoever configured it."""


class OutOfMemory(Exception):
    """The device had no memory for this step."""
