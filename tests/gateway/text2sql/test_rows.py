from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import uuid

import pytest

from gateway.text2sql.rows import Collected, safe


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**53, 2**53),
        (2**53 + 1, "9007199254740993"),
        (-(2**63), "-9223372036854775808"),
        (0.1, 0.1),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (decimal.Decimal("10.50"), "10.50"),
        (decimal.Decimal("1E+3"), "1000"),
        (decimal.Decimal("NaN"), "NaN"),
        (dt.date(2024, 3, 1), "2024-03-01"),
        (dt.datetime(2024, 3, 1, 8, 30, tzinfo=dt.UTC), "2024-03-01T08:30:00+00:00"),
        (dt.time(8, 30), "08:30:00"),
        (dt.timedelta(days=1, hours=-1), 82800.0),
        (b"\x00\xff", "0x00ff"),
        (memoryview(b"a"), "0x61"),
        ("沈塘桥😀", "沈塘桥😀"),
        ("a\0b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ([1, decimal.Decimal("1.0")], [1, "1.0"]),
        ({"a": 2**60}, {"a": str(2**60)}),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
)
def test_a_value_keeps_every_digit_in_json(value, told):
    assert safe(value) == told
    assert json.loads(json.dumps(safe(value), allow_nan=False)) == told
    json.dumps(safe(value), ensure_ascii=False).encode()


def test_rows_stop_at_the_cap_and_say_so():
    collected = Collected(row_limit=3, byte_limit=1000)
    collected.describe(["n"])
    assert collected.add([(1,), (2,)])
    assert not collected.truncated
    assert not collected.add([(3,), (4,)])
    assert collected.truncated
    assert collected.rows == [[1], [2], [3]]


def test_exactly_as_many_rows_as_the_cap_are_not_truncated():
    collected = Collected(row_limit=2, byte_limit=1000)
    collected.describe(["n"])
    assert collected.add([(1,), (2,)])
    assert not collected.truncated


def test_bytes_stop_at_the_cap_too():
    collected = Collected(row_limit=100, byte_limit=1000)
    collected.describe(["n"])
    assert not collected.add([("x" * 100,)] * 10)
    assert collected.truncated
    assert 0 < len(collected.rows) < 10


@pytest.mark.parametrize(
    ("values", "word"),
    [([1, 2], "integer"), ([1, 2.5], "number"), ([None, "a"], "text"), ([None], "text"), ([1, "a"], "text")],
)
def test_a_columns_type_comes_from_its_values_where_the_driver_does_not_tell(values, word):
    collected = Collected(10, 1000)
    collected.describe(["n"])
    collected.add([(value,) for value in values])
    assert collected.columns() == [{"name": "n", "type": word}]
