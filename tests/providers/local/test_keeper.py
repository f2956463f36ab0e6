"""What the keeper does when the engine does not come up."""

from __future__ import annotations

import socket
import stat
import time

import pytest

from providers.configuration import ProviderConfiguration
from providers.local import keeper
from providers.local.keeper import Engine
from providers.local.options import Options, of
from providers.local.wire import Down, from_engine


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """An engine that dies as soon as it is started, and a keeper that tries again after a tenth of a second."""
    monkeypatch.setattr(keeper.sys, "executable", "/bin/false")
    engine = Engine(tmp_path / "engine.sock", Options("model"), retry_after_s=0.1)
    engine.start()
    yield engine
    engine.stop()


def until(condition, engine: Engine) -> None:
    last = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < last
        engine.attend()


def connect(engine: Engine) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(str(engine._path))
    return sock


def test_after_three_deaths_workers_are_told_why_also_those_that_waited(engine):
    waiting = connect(engine)
    until(lambda: engine._process is None, engine)
    for worker in (waiting, connect(engine)):
        engine.attend()
        (down,) = from_engine().feed(worker.recv(4096))
        assert isinstance(down, Down)
        assert "died 3 times" in down.reason and down.retry_after >= 1
        assert worker.recv(4096) == b""


def test_after_a_while_the_engine_is_tried_again(engine):
    until(lambda: engine._process is None, engine)
    until(lambda: engine._process is not None, engine)


def test_the_socket_is_its_owners_only_and_an_old_one_does_not_hinder(tmp_path):
    path = tmp_path / "engine.sock"
    for _ in range(2):
        Engine(path, Options("model"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_device_has_options_of_its_own():
    configuration = ProviderConfiguration(
        type="local", model="m", device=["cuda:0", "cuda:1"], threads=3, kv_cache_mb=5
    )
    assert of(configuration) == [
        Options("m", device=device, threads=3, kv_cache_mb=5) for device in ("cuda:0", "cuda:1")
    ]
    assert of(ProviderConfiguration(type="local", model="m")) == [Options("m")]


def test_the_run_folder_is_closed_to_others(tmp_path):
    configuration = ProviderConfiguration(type="local", model=str(tmp_path / "nothing"))
    process = keeper.start("local", configuration, tmp_path / "run")
    try:
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    finally:
        process.stdin.close()
        assert process.wait(10) == 0
    assert list((tmp_path / "run").iterdir()) == []
