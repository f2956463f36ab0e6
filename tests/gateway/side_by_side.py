"""Tests that mostly wait, played side by side: the first of a module starts all that are selected of it.

    @side_by_side
    def test_something(store, way): ...

Each has a Redis of its own in `store`, and in `way` a fault proxy before it; other arguments are parameters. What it
does runs in a thread, and its outcome is the test's.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from providers.scripted import Upstream
from tests.gateway.redis_server import RedisServer
from tests.reliability.proxy import Proxy

# More would be in each other's way on two cores: each starts two servers.
AT_ONCE = 6


def side_by_side(play: Callable[..., None]) -> Any:
    """The function as a test; see the module."""
    wanted = list(inspect.signature(play).parameters)

    @functools.wraps(play)
    def waits(played: dict[str, Future[None]], request: pytest.FixtureRequest, **_: Any) -> None:
        played[request.node.nodeid].result()

    given = ["played", "request", *(name for name in wanted if name not in ("store", "way"))]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    # A function of pytest's has attributes of ours.
    test: Any = waits
    test.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in given])
    del test.__wrapped__
    test.play, test.wanted = play, wanted
    return test


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest, upstream: Upstream) -> Iterator[dict[str, Future[None]]]:
    """The outcome of each test of this module that is played side by side."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = {}
        items: list[Any] = request.session.items
        for item in items:
            if item.path == request.path and hasattr(item.function, "play"):
                given = {"upstream": upstream} | (item.callspec.params if hasattr(item, "callspec") else {})
                found[item.nodeid] = pool.submit(run, item.function, given)
        yield found
        for outcome in found.values():
            # A run that is ended early begins nothing more.
            outcome.cancel()


def run(test: Any, given: dict[str, Any]) -> None:
    with contextlib.ExitStack() as stack:
        store = RedisServer()
        stack.callback(store.close)
        given = given | {"store": store}
        if "way" in test.wanted:
            given["way"] = stack.enter_context(Proxy(to=("127.0.0.1", store.port)))
        test.play(**{name: given[name] for name in test.wanted})
