"""What the supervisor does when the engine does not come up."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from providers.configuration import ProviderConfiguration
from providers.local import supervisor
from providers.local.options import Options, of
from providers.local.supervisor import Engine
from providers.local.wire import Down, from_engine


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """An engine that dies as soon as it is started, and a supervisor that tries again after a tenth of a second."""
    monkeypatch.setattr(supervisor.sys, "executable", "/bin/false")
    engine = Engine(tmp_path / "engine.sock", Options("model"), retry_after_s=0.1)
    engine.start()
    yield engine
    engine.stop()


def until(condition, engine: Engine) -> None:
    last = time.monotonic() + 30
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


def an_engine_that(says: str, tmp_path, monkeypatch, clock) -> Engine:
    """An engine whose process says one word to its supervisor and is killed."""
    script = tmp_path / "python"
    # Of its command line it wants --heartbeat FD.
    script.write_text(
        f'#!/bin/sh\nwhile [ "$1" != --heartbeat ]; do shift; done\necho {says} >/proc/$$/fd/$2\nkill -9 $$\n'
    )
    script.chmod(0o700)
    monkeypatch.setattr(supervisor.sys, "executable", str(script))
    engine = Engine(tmp_path / "engine.sock", Options("model"), clock=clock)
    engine.start()
    return engine


def test_a_loader_that_dies_late_each_time_is_tried_ever_less_often_and_workers_are_told(tmp_path, monkeypatch):
    now = [0.0]
    engine = an_engine_that("loading", tmp_path, monkeypatch, lambda: now[0])
    pauses = []
    while len(pauses) < 6:
        assert now[0] < 2000
        died = engine._process
        now[0] += 20  # so long it loads
        until(lambda died=died: engine._process is not died, engine)
        if engine._process is None:
            worker = connect(engine)
            engine.attend()
            (down,) = from_engine().feed(worker.recv(4096))
            assert f"died {len(pauses) + 3} times while loading" in down.reason and "memory" in down.reason
            pauses.append(down.retry_after)
            now[0] += down.retry_after + 1
            until(lambda: engine._process is not None, engine)
    engine.stop()
    assert pauses == [30, 60, 120, 240, 240, 240]


def test_an_engine_that_served_is_started_again_at_once(tmp_path, monkeypatch):
    engine = an_engine_that("serving", tmp_path, monkeypatch, time.monotonic)
    for _ in range(5):
        died = engine._process
        until(lambda died=died: engine._process is not died, engine)
        assert engine._process is not None
    engine.stop()


def test_whatever_goes_wrong_while_loading_is_one_sentence_without_a_path(models):
    options = msgspec.json.encode(Options(str(models["qwen3"][0]), device="cpu", threads=-1)).decode()
    command = [sys.executable, "-m", "providers.local.engine", "--options", options, "--epoch", "1"]
    command += ["--supervisor", str(os.getpid())]
    with socket.socket(socket.AF_UNIX) as listener:
        command += ["--listen", str(listener.fileno()), "--heartbeat", "1"]
        process = subprocess.run(command, pass_fds=[listener.fileno()], capture_output=True, text=True, timeout=120)
    *_, last = process.stdout.splitlines()
    assert last == "cannot qwen3 could not be loaded: RuntimeError; see the engine's log"
    assert process.returncode == 2 and "Traceback" in process.stderr


@pytest.mark.parametrize("delay_s", [0, 0.02, 0.1])
def test_an_engine_whose_supervisor_is_killed_just_after_starting_it_ends_too(models, tmp_path, delay_s):
    configuration = ProviderConfiguration(type="local", model=str(models["qwen3"][0]), kv_cache_mb=8, threads=1)
    process = supervisor.start("local", configuration, tmp_path / "run")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    last = time.monotonic() + 60
    while not (pids := children.read_text().split()):
        assert time.monotonic() < last
    time.sleep(delay_s)
    process.kill()
    process.wait()
    while Path(f"/proc/{pids[0]}").exists():
        assert time.monotonic() < last
        time.sleep(0.05)


def test_a_stopped_supervisor_ends_with_its_master(tmp_path):
    """As its master a process that starts it and is killed; somebody else holds the pipe open."""
    path = tmp_path / "engine.sock"
    command = [sys.executable, "-m", "providers.local.supervisor", "--socket", str(path)]
    command += ["--options", msgspec.json.encode(Options(str(tmp_path / "nothing"))).decode()]
    begin = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", begin, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as master:
        pid = int(master.stdout.readline())
        last = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < last
            time.sleep(0.05)
        os.kill(pid, signal.SIGSTOP)
        master.kill()
        master.wait()
        try:
            while Path(f"/proc/{pid}").exists():
                assert time.monotonic() < last
                time.sleep(0.05)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


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
    process = supervisor.start("local", configuration, tmp_path / "run")
    try:
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    finally:
        process.stdin.close()
        assert process.wait(30) == 0
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_is_judged_without_starting_an_engine(models, tmp_path):
    from providers.local.supervisor import refusal

    assert refusal(str(models["qwen3"][0])) is None
    assert refusal(str(tmp_path / "elsewhere")) is None, "a hub's name is not asked for"
    assert refusal(str(tmp_path)).endswith("has no config.json")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert "is a GGUF file" in refusal(str(tmp_path / "x.gguf"))


def test_a_folder_is_judged_without_torch_and_without_a_process_of_its_own(models):
    probe = f"""
import os, subprocess, sys
subprocess.Popen = os.posix_spawn = os.fork = None
from providers.local.supervisor import refusal
print(refusal({str(models["qwen3"][0])!r}), sorted({{'torch', 'transformers', 'tokenizers'}} & {{*sys.modules}}))
"""
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert ran.stdout == "None []\n"
