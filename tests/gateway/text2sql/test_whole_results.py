"""A whole result as CSV, from each server: it is read to its end, and a slow statement is cancelled."""

from __future__ import annotations

import csv
import io

import pytest

from gateway.exports import Exports
from gateway.text2sql.errors import SqlLimit

MANY = "SELECT a.name AS a, b.name AS b FROM dtzpt a CROSS JOIN dtzpt b ORDER BY a.id, b.id"


def test_every_row_of_a_large_result_comes_in_order(server, opened):
    database = opened(server, row_limit=5)
    exports = Exports()
    whole = exports.of(database)
    try:
        verdict = whole.judge(MANY)
        assert verdict.ok, verdict.reason
        text = b"".join(exports.begin(whole, verdict, spreadsheet=False)).decode()
        found = list(csv.reader(io.StringIO(text, newline="")))
        first = database.run(database.judge(MANY)).rows
        count = database.run(database.judge("SELECT COUNT(*) FROM dtzpt")).rows[0][0]
        assert found[0] == ["a", "b"] and found[1:6] == first and len(found) == count * count + 1
    finally:
        whole.server.close()


def test_a_statement_ends_at_export_timeout_s(server, opened):
    exports = Exports()
    whole = exports.of(opened(server, export_timeout_s=0.3))
    try:
        slow = "SELECT COUNT(*) FROM dtzpt a CROSS JOIN dtzpt b CROSS JOIN dtzpt c CROSS JOIN dtzpt d"
        with pytest.raises(SqlLimit):
            exports.begin(whole, whole.judge(slow), spreadsheet=False)
    finally:
        whole.server.close()
