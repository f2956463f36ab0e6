"""Failures of the engine: before it serves, and in a step."""

from __future__ import annotations


class CannotLoad(Exception):
    """The model cannot be served; the message is one sentence for the person who configured it."""


class OutOfMemory(Exception):
    """The device has too little memory for this step."""
