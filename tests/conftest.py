"""The order of tests where several processes run them (`pytest -n`, as `make test` does)."""

from __future__ import annotations

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # torch would start a thread for each core in each of the processes; the models of the tests need none.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Folders with the files that take longest begin first, so that no process is left alone with one at the end.
FIRST = (
    "tests/reliability/", "tests/providers/local/", "tests/gateway/answers/", "tests/gateway/server/",
    "tests/gateway/text2sql/",
)  # fmt: skip


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
