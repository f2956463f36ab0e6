"""Every row of the matrix comes out as it must; `python -m tests.reliability` plays those that take longer, too."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.reliability.__main__ import accounts
from tests.reliability.matrix import Row, play, rows
from tests.reliability.rig import Chain, folder

# Configuration of the gateway → how many chains of it play rows at the same time.
CHAINS = {"resuming": ({"resume_window_s": 2}, 3), "at once": ({"resume_window_s": 0, "heartbeat_s": 10}, 1)}


def chain_of(row: Row) -> str:
    return "resuming" if row.resuming else "at once"


@pytest.fixture(scope="module")
def chains():
    with folder() as where, contextlib.ExitStack() as stack:
        yield {
            kind: [Chain(where / f"{kind}{n}".replace(" ", "-"), stack, server=server) for n in range(count)]
            for kind, (server, count) in CHAINS.items()
        }


@pytest.fixture(scope="module")
def playing(request, chains):
    """The rows that were selected, begun; a chain plays one at a time, and most of that is waiting."""
    # Other modules' tests have rows of their own.
    chosen = [
        item.callspec.params["row"]
        for item in request.session.items
        if item.path == request.path and "row" in item.fixturenames
    ]
    with contextlib.ExitStack() as stack:
        played: dict[Row, Future] = {}
        for kind, found in chains.items():
            free = list(found)

            def one(row: Row, free: list[Chain] = free) -> list[str]:
                chain = free.pop()
                try:
                    return play(row, chain)
                finally:
                    free.append(chain)

            pool = stack.enter_context(ThreadPoolExecutor(len(found)))
            played |= {row: pool.submit(one, row) for row in chosen if chain_of(row) == kind}
        yield played


@pytest.mark.parametrize("row", [row for row in rows() if not row.full], ids=str)
def test_a_fault_has_the_end_that_the_matrix_says(row, playing):
    assert playing[row].result() == []


def test_after_all_of_it_every_stream_is_accounted_for(chains, request):
    for found in chains.values():
        for chain in found:
            assert accounts(chain) == []
