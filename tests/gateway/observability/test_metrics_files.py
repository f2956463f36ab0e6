"""The metrics' files on a disk that is full, or that is gone: counting suffers, serving does not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from tests.gateway.configurations import configuration
from tests.gateway.live import Live, is_worker
from tests.waiting import eventually

PLANS = {"numbered": "count=5,pace=0", "stuck": "hang=between"}


def workers(live):
    return [pid for pid in live.workers() if is_worker(pid)]


def answered(live):
    try:
        with live.ask(provider="numbered") as reply:
            return reply.status == 200 and b"event: done" in reply.body()
    except (OSError, IndexError):
        return False


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for 2 MiB; whoever may not mount goes without."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], capture_output=True).returncode:
        pytest.skip("it needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    with pytest.raises(OSError, match="No space"), open(folder / "full", "wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_full_disk_ends_neither_workers_nor_master(upstream, small_disk, monkeypatch):
    with Live(configuration(upstream, PLANS, server={"workers": 2})) as probe:
        assert answered(probe)
    monkeypatch.setattr("tests.gateway.live.tempfile.tempdir", str(small_disk))
    with Live(configuration(upstream, PLANS, server={"workers": 2})) as live:
        with live.ask(provider="stuck") as stuck:
            next(stuck.events())
            before = workers(live)
            fill(small_disk)
            assert all(answered(live) for _ in range(8))
            assert workers(live) == before
            os.kill(before[0], signal.SIGKILL)
            eventually(lambda: before[0] not in workers(live) and len(workers(live)) == 2)
        assert live.process.poll() is None
        eventually(lambda: all(answered(live) for _ in range(4)))
        (small_disk / "full").unlink()


def test_a_run_directory_that_is_gone_ends_neither_workers_nor_master(upstream):
    with Live(configuration(upstream, PLANS, server={"workers": 2})) as live:
        with live.ask(provider="stuck") as reply:
            next(reply.events())
            shutil.rmtree(live.folder / "run")
            assert answered(live)
            for pid in workers(live):
                os.kill(pid, signal.SIGKILL)
                eventually(lambda pid=pid: pid not in workers(live) and len(workers(live)) == 2)
        eventually(lambda: answered(live))
        live.process.send_signal(signal.SIGHUP)
        eventually(lambda: "read again" in live.log.read_text("utf-8"))
        eventually(lambda: answered(live))
        assert live.process.poll() is None
        told = live.log.read_text("utf-8")
        assert "worker_died" in told
        assert "Unhandled exception" not in told


MANY = """
import os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from gateway.observability import metrics, prometheus_files
for n in range(400):
    name = os.path.join(sys.argv[1], f"counter_{n + 9000000}.db")
    prometheus_files.Allocated(name).read_value('["m", "m_total", {}, "h"]')
"""


def test_files_that_appear_while_they_are_read_are_read_whole(tmp_path):
    """And they take their blocks from the disk at once, so that no write can fail."""
    from prometheus_client.multiprocess import MultiProcessCollector

    collector, troubles = MultiProcessCollector(None, str(tmp_path)), []
    ended = threading.Event()

    def read():
        while not ended.is_set():
            try:
                list(collector.collect())
            except Exception as error:  # noqa: BLE001 - what is raised is what the test asks
                troubles.append(error)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        subprocess.run([sys.executable, "-c", MANY, str(tmp_path)], check=True, timeout=60)
    finally:
        ended.set()
        reading.join()
    assert troubles == []
    made = [file.stat() for file in tmp_path.glob("counter_9000???.db")]
    assert len(made) == 400
    assert all(one.st_blocks * 512 >= one.st_size > 0 for one in made)


def test_a_file_that_is_full_of_series_grows(tmp_path, monkeypatch):
    probe = f"""
import os
os.environ["PROMETHEUS_MULTIPROC_DIR"] = {str(tmp_path)!r}
from gateway.observability import metrics, prometheus_files
for n in range(5000):
    metrics.TOKENS.labels(f"provider {{n}}", "prompt").inc(n)
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
registry = CollectorRegistry()
MultiProcessCollector(registry)
told = registry.get_sample_value("sluice_tokens_total", {{"provider": "provider 4999", "kind": "prompt"}})
[file] = [name for name in os.listdir({str(tmp_path)!r}) if name.startswith("counter")]
found = os.stat(os.path.join({str(tmp_path)!r}, file))
print(told, found.st_blocks * 512 >= found.st_size > prometheus_files.FILE_BYTES)
"""
    told = subprocess.check_output([sys.executable, "-c", probe], text=True, timeout=60)
    assert told == "4999.0 True\n"
