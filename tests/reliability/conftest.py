"""Rigs of real parts, one for each configuration, shared by a module's tests."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from tests.reliability.rig import Chain, folder

_streams = itertools.count(1)


@pytest.fixture
def stream() -> str:
    """The name of a stream that nobody has asked for yet."""
    return f"s{next(_streams)}"


@pytest.fixture(scope="module")
def at_once():
    """A chain whose gateway closes the upstream as soon as the last reader has left."""
    with folder() as where, contextlib.ExitStack() as stack:
        yield Chain(where, stack, server={"resume_window_s": 0, "heartbeat_s": 10})


@pytest.fixture(scope="module")
def resuming():
    """A chain whose gateway waits two seconds for a reader's return."""
    with folder() as where, contextlib.ExitStack() as stack:
        yield Chain(where, stack, server={"resume_window_s": 2})
