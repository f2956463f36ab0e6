"""prometheus-client's insides that gateway/observability/prometheus_files.py builds on, each named.

Where one fails after an upgrade: read prometheus_client/mmap_dict.py, values.py and multiprocess.py at the new
version, and run tests/gateway/observability.
"""

from __future__ import annotations

import inspect
import json

from prometheus_client import CollectorRegistry, Histogram, multiprocess, values
from prometheus_client.mmap_dict import MmapedDict, mmap_key


def test_a_histograms_child_has_its_sum_and_its_buckets_with_the_last_one_infinite():
    child = Histogram("h", "h", ["l"], buckets=(1, 2), registry=CollectorRegistry()).labels("x")
    child._sum.inc(3)
    assert len(child._buckets) == 3
    child._buckets[2].inc(1)
    assert child._sum.get() == 3


def test_a_metric_file_has_a_size_a_mark_and_a_file_and_doubles_when_it_is_full(tmp_path):
    file = MmapedDict(str(tmp_path / "counter_1.db"))
    assert file._used == 8
    assert file._capacity >= 8
    assert file._f.fileno() > 0
    assert list(inspect.signature(MmapedDict._init_value).parameters) == ["self", "key"]
    file.write_value(mmap_key("m", "m_total", (), (), "help"), 2.0, 0.0)
    file.close()
    [(key, value, _, _)] = MmapedDict.read_all_values_from_file(str(tmp_path / "counter_1.db"))
    assert (json.loads(key)[1], value) == ("m_total", 2.0)


def test_the_process_files_are_opened_by_a_name_that_can_be_replaced():
    assert values.MmapedDict is not None
    assert "MmapedDict(" in inspect.getsource(values.MultiProcessValue)


def test_the_files_are_named_by_kind_and_process():
    source = inspect.getsource(values.MultiProcessValue)
    assert "'{}_{}.db'" in source or '"{}_{}.db"' in source
    assert "multiprocess_mode" in source
    assert callable(multiprocess.MultiProcessCollector.collect)
    assert callable(multiprocess.MultiProcessCollector.merge)


def test_a_collector_knows_its_folder_and_reads_every_file_there(tmp_path):
    collector = multiprocess.MultiProcessCollector(None, str(tmp_path))
    assert collector._path == str(tmp_path)
    assert "'*.db'" in inspect.getsource(multiprocess.MultiProcessCollector.collect)
