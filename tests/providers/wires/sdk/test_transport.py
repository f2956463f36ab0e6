"""The SDKs as judges: over every recorded case and fault both transports give the same, but where sdk.yaml says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.cases import FOLDER, recorded_cases
from tests.upstream.faults import CANARIES, CLOSED_WITHIN_S, QUESTION, TEXT, rows

WITH_SDK = ("dashscope", "qianfan")
pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, WITH_SDK)), reason="the extra `sdk` is not installed"
)

DIFFERENCES: dict[str, dict[str, str]] = yaml.safe_load((FOLDER / "sdk.yaml").read_text("utf-8"))
CASES = [case for case in recorded_cases() if case.wire in WITH_SDK]
ROWS = [row for row in rows() if row.wire in WITH_SDK]


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.upstream.sdk_child"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Connection pool is full" not in done.stderr
    return {**json.loads(done.stdout), "stderr": done.stderr}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_transports_give_the_same_deltas_but_where_the_sdk_breaks(case: Any, told: dict[str, Any]):
    by = told["cases"][str(case)]
    assert (by["http"] == by["sdk"]) == (str(case) not in DIFFERENCES["cases"]), by


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_fault_ends_the_same_through_the_sdk(row: Any, told: dict[str, Any]):
    outcome = told["faults"][str(row)]
    assert outcome["ends"] == 1
    assert outcome["asked"] <= row.asked
    whole = "x" * row.says if row.says else TEXT
    assert whole.startswith(outcome["text"])
    kept = {"all": outcome["text"] == whole, "none": not outcome["text"], "some": bool(outcome["text"])}[row.text]
    as_written = outcome["code"] == row.ends and kept and outcome["asked"] == row.asked
    assert as_written == (str(row) not in DIFFERENCES["faults"]), outcome
    if row.connection != "none":
        assert outcome["closed_after_s"] is not None and outcome["closed_after_s"] < CLOSED_WITHIN_S


def test_every_difference_belongs_to_a_case_or_a_fault():
    assert set(DIFFERENCES["cases"]) <= set(map(str, CASES))
    assert set(DIFFERENCES["faults"]) <= set(map(str, ROWS))


def test_the_sdks_write_down_no_key_and_no_question(told: dict[str, Any]):
    everything = told["log"] + told["stderr"] + "".join(row["message"] for row in told["faults"].values())
    for secret in (*CANARIES.values(), "sk-key-of-the-case", QUESTION):
        assert secret not in everything
