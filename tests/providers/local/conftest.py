from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from providers.configuration import ProviderConfiguration
from providers.local import supervisor
from providers.local.client import Adapter
from tests.providers.local.models import FAMILIES, make_model


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, object]]:
    """A tiny model of each family: its folder, and transformers' own to judge by."""
    root = tmp_path_factory.mktemp("models")
    return {family: (root / family, make_model(root / family, family)) for family in FAMILIES}


@contextlib.contextmanager
def serving(folder: Path, **told) -> Iterator[Adapter]:
    """A supervisor with its engine, and a client of it."""
    settings = {"type": "local", "model": str(folder), "threads": 1, "kv_cache_mb": 8, "max_batch": 8} | told
    configuration = ProviderConfiguration(**settings)
    with tempfile.TemporaryDirectory(prefix="sluice-") as run_dir, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_RUN_DIR", run_dir)
        process = supervisor.start("local", configuration, Path(run_dir))
        adapter = Adapter(configuration, name="local")
        adapter.supervisor = process
        try:
            yield adapter
        finally:
            adapter.close()
            process.stdin.close()
            process.wait(30)


@pytest.fixture(scope="module")
def engine(models) -> Iterator[Adapter]:
    with serving(models["qwen3"][0]) as adapter:
        yield adapter


@pytest.fixture
def start(models) -> Iterator[Callable[..., Adapter]]:
    """Start an engine of one's own: to kill, or with other settings."""
    with contextlib.ExitStack() as stack:
        yield lambda folder=models["qwen3"][0], **told: stack.enter_context(serving(folder, **told))
