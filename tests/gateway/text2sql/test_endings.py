"""How a reply ends decides whether its statement is run: over generated endings, read by the real wire.

An answer that was cut or failed never runs a statement, whatever it held. One whose end has an unknown name, or is
not a plain stop, never runs a block that is still open. A thought is no reply: its statements are never run.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.answers.question import Question
from gateway.answers.steps import Done, Rows
from gateway.settings import TextToSql
from gateway.text2sql.database import Databases
from gateway.text2sql.flow import answer
from providers.catalogue import WIRES
from providers.configuration import ProviderConfiguration
from providers.errors import ProviderError
from providers.wires.finish_reasons import CONTENT_FILTER, FAILED, LENGTH, STOP
from tests.gateway.text2sql import servers
from tests.gateway.text2sql.written_replies import Provider

OPEN = "站名：\n```sql\nSELECT name FROM dtzpt WHERE name = '沈塘桥'\n"
CLOSED = OPEN + "```\n"
DRAFT = "先试试：\n```sql\nSELECT COUNT(*) FROM dtzpt\n```\n不对。"
known = sorted(STOP | LENGTH | CONTENT_FILTER | FAILED)
words = st.sampled_from(known) | st.sampled_from(known).map(str.upper) | st.text("abcdefgh_", min_size=1, max_size=12)
endings = st.fixed_dictionaries(
    {
        "finish": st.none() | words,
        "done": st.booleans(),
        "cut": st.booleans(),
        "error": st.sampled_from([None, None, {"error": {"message": "broke", "code": 500}}, "half"]),
    }
)


STOPPED = {"finish": "stop", "done": True, "cut": False, "error": None}


def chunk(text: str = "", finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def batches(text: str, ending: dict[str, Any], **row: Any) -> list[Any]:
    """What the wire gives for a reply of this text with this ending; a failure stands last."""
    configuration = ProviderConfiguration(**{"type": "openai", "model": "m", "base_url": "http://x", **row})
    reader = WIRES["openai"].load().Adapter(configuration, "p").reply_reader("text/event-stream")
    body = b"".join(chunk(text[at : at + 7]) for at in range(0, len(text), 7))
    if ending["error"] == "half":
        body += b'data: {"choi\n\n'
    elif ending["error"]:
        body += b"data: " + json.dumps(ending["error"]).encode() + b"\n\n"
    if ending["finish"]:
        body += chunk(finish=ending["finish"])
    if ending["done"] and not ending["cut"]:
        body += b"data: [DONE]\n\n"
    found = [reader.feed(body)]
    if not (reader.ended or reader.failure):
        found.append(reader.end(cut=ending["cut"]))
    return [batch for batch in found if batch] + ([reader.failure] if reader.failure else [])


@pytest.fixture(scope="module")
def databases(sqlite_server):
    found = Databases({"metro": servers.settings(sqlite_server.reader_url)}, TextToSql(corrections=0))
    yield found
    found.close()


def asked(reply: list[Any], databases: Databases) -> list[Any]:
    steps: list[Any] = []
    try:
        for batch in answer(Question("沈塘桥？", database=""), Provider(reply), databases):
            steps += batch
    except ProviderError as error:
        steps.append(error)
    return steps


@given(st.sampled_from([OPEN, CLOSED]), endings)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_reply_that_was_cut_failed_or_ended_unknown_runs_an_unfinished_statement(databases, text, ending):
    steps = asked(batches(text, ending), databases)
    rows = [step for step in steps if isinstance(step, Rows)]
    failed = isinstance(steps[-1], ProviderError)
    assert not (failed and rows)
    if failed:
        return
    done = steps[-1]
    assert isinstance(done, Done)
    plain_stop = done.finish_reason == "stop" and done.finish_reason_raw is None
    if text == OPEN and not plain_stop:
        assert not rows
    word = (ending["finish"] or "").lower()
    if word and word not in STOP | LENGTH | CONTENT_FILTER | FAILED and done.finish_reason == "stop":
        assert done.finish_reason_raw == ending["finish"] or word in {"null", "none"}


@pytest.mark.parametrize(
    ("text", "row"),
    [
        (f"<think>{DRAFT}</think>\n没有查询。", {}),
        (f"<thought>{DRAFT}</thought>没有查询。", {}),
        (f"{DRAFT}\n</think>\n没有查询。", {"think_tags": True}),
        (f"{DRAFT}\n</think>\n没有查询。", {"model": "deepseek-r1"}),
        (f"{DRAFT}\n</think>\n没有查询。", {"think_tags": "opened"}),
        (f"<r>{DRAFT}</r>没有查询。", {"think_tags": ["<r>", "</r>"]}),
        (f"<think>{DRAFT}", {}),
    ],
)
def test_a_statement_of_a_thought_is_never_run(databases, text, row):
    reply = batches(text, STOPPED, **row)
    assert not [step for step in asked(reply, databases) if isinstance(step, Rows)]


def test_the_statement_behind_a_thought_is_run(databases):
    reply = batches(f"{DRAFT}\n</think>\n{CLOSED}", STOPPED, think_tags=True)
    (rows,) = [step for step in asked(reply, databases) if isinstance(step, Rows)]
    assert {row[0] for row in rows.rows} == {"沈塘桥"}
