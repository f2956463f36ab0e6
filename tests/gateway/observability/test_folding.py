"""The files of ended workers are folded into one: sums stay, scrapes stay quick."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from gateway.observability import metric_files, prometheus_files

# One worker's life: some series of every metric.
WORKER = """
import os, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
from gateway.observability import metrics
metrics.started()
pace = metrics.Pace()
for n in range(5):
    pace.read(n / 10)
from providers.delta import Usage
metrics.ended("stop", "vllm", Usage(3, 4, 7), 0.2, pace)
for n in range(30):
    metrics.TOKENS.labels(f"p{n}", "prompt").inc()
    metrics.FIRST_TOKEN.labels(f"p{n}").observe(n)
print(os.getpid())
"""


def sample(folder, name, **labels):
    return prometheus_files.registry(str(folder)).get_sample_value(name, labels)


def test_after_a_hundred_reloads_the_sums_are_whole_and_a_scrape_is_quick(tmp_path):
    pid = int(subprocess.check_output([sys.executable, "-c", WORKER, str(tmp_path)], text=True))
    files = {file.name.partition("_")[0]: file.read_bytes() for file in tmp_path.glob(f"*_{pid}.db")}
    assert {"counter", "histogram"} <= files.keys()
    metric_files.retire(tmp_path, pid)
    assert not list(tmp_path.glob("gauge*.db"))
    for n in range(1, 100):
        for kind in metric_files.SUMMED:
            (tmp_path / f"{kind}_{n}.db").write_bytes(files[kind])
        metric_files.retire(tmp_path, n)
    assert len(list(tmp_path.glob("*.db"))) == 200
    assert sample(tmp_path, "sluice_streams_started_total") == 100
    assert sample(tmp_path, "sluice_streams_ended_total", cause="stop") == 100
    assert sample(tmp_path, "sluice_first_token_seconds_count", provider="p7") == 100
    assert sample(tmp_path, "sluice_first_token_seconds_sum", provider="p7") == 700
    assert sample(tmp_path, "sluice_inter_token_seconds_bucket", provider="vllm", le="+Inf") == 400
    assert sorted(file.name for file in tmp_path.glob("*.db")) == ["counter_folded.db", "histogram_folded.db"]
    # One more worker ends after the folding.
    for kind in metric_files.SUMMED:
        (tmp_path / f"{kind}_1.db").write_bytes(files[kind])
    metric_files.retire(tmp_path, 1)
    assert sample(tmp_path, "sluice_streams_started_total") == 101
    registry = prometheus_files.registry(str(tmp_path))
    took = []
    for _ in range(5):
        began = time.process_time()
        list(registry.collect())
        took.append(time.process_time() - began)
    assert min(took) < 0.02


def test_a_process_id_that_comes_again_loses_nothing(tmp_path):
    for _ in range(2):
        (tmp_path / "counter_7.db").write_bytes(b"\0" * 8)
        metric_files.retire(tmp_path, 7)
    assert len(os.listdir(tmp_path)) == 2
