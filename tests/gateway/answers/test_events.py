"""The names of events are declared once; what is promised about a new one holds for those that there are."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.answers import steps
from gateway.answers.events import Encoder, read
from gateway.answers.steps import TERMINAL, EventName
from gateway.errors import Failure

ROOT = Path(__file__).resolve().parents[3]
EVERY_STEP = [
    steps.Start("p", "m"),
    steps.Reasoning("r"),
    steps.Text("t"),
    steps.Sql("SELECT 1", "sqlite", [], ok=True),
    steps.ToolCalls([]),
    steps.Extras({"images": []}),
    steps.Correcting("why", 1),
    steps.Rows([], [], truncated=False, elapsed_ms=1.0),
    steps.Done("stop"),
]


def test_each_event_is_written_under_its_declared_name():
    batch = Encoder("a", 0).batch(EVERY_STEP)
    assert batch is not None
    failed = Encoder("a", 0).failed(Failure("internal", "x"), "r", "p", "m")
    written = [event.name for event in read(batch.sse)] + [read(failed.sse)[-1].name]
    assert sorted(written) == sorted(EventName)


def test_the_terminal_events_are_the_last_ones_that_an_encoder_writes():
    for end in (steps.Done("stop"), Failure("internal", "x")):
        encoder = Encoder("a", 0)
        batch = encoder.failed(end, "r", "p", "m") if isinstance(end, Failure) else encoder.batch([end])
        assert encoder.ended and read(batch.sse)[-1].name in TERMINAL


def test_the_api_page_has_a_row_for_each_event():
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    section = page.split("## Events")[1].split("## ")[0]
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`\w+`)", section, re.MULTILINE))))
    apart = {EventName.MESSAGE, EventName.TOOL_CALLS, EventName.EXTRAS}
    assert named == set(EventName) - apart and "`tool_calls` events" in section and "*(unnamed)*" in section


def test_no_other_module_of_the_product_writes_an_events_name_as_text():
    """A format, the terminal and the shared log read names from steps.EventName: a new event changes none of them."""
    names = "|".join(EventName)
    quoted = re.compile(rf"""(?:name|event) (?:==|!=|in) \(?["'](?:{names})["']""")
    for path in (ROOT / "gateway").rglob("*.py"):
        assert not quoted.search(path.read_text("utf-8")), path
