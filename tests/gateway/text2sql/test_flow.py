"""A question's way to its rows, with a provider whose replies are written down and a real database."""

from __future__ import annotations

import gevent
import pytest

from gateway.answers.question import Question, Turn
from gateway.answers.steps import Correcting, Done, Rows, Sql, Start, Text
from gateway.settings import TextToSql
from gateway.text2sql.database import Databases
from gateway.text2sql.errors import SqlFailed, SqlLimit
from gateway.text2sql.flow import answer
from providers.delta import Delta, Usage
from providers.errors import CutOff
from providers.sampling import Sampling
from tests.gateway.text2sql.servers import settings
from tests.gateway.text2sql.slow_statements import SLOW
from tests.gateway.text2sql.written_replies import BAD, GOOD, Provider, Stream
from tests.reliability.rig import at_most


@pytest.fixture
def databases(sqlite_server):
    opened = []

    def open_all(corrections=1, **more):
        configured = {"metro": settings(sqlite_server.reader_url, **more)}
        opened.append(Databases(configured, TextToSql(corrections=corrections)))
        return opened[-1]

    yield open_all
    for each in opened:
        each.close()


def steps(provider, databases, /, **fields):
    fields.setdefault("database", "")
    return [step for batch in answer(Question("沈塘桥？", **fields), provider, databases) for step in batch]


def of(kind, given):
    return [step for step in given if isinstance(step, kind)]


def text(given):
    return "".join(step.text for step in of(Text, given))


def test_an_answer_is_who_answers_the_reply_the_statement_the_rows_and_the_end(databases):
    given = steps(Provider(GOOD), databases())
    assert isinstance(given[0], Start) and (given[0].provider, given[0].adjusted) == ("p", ["top_k dropped"])
    assert text(given) == GOOD
    assert of(Sql, given) == [
        Sql(
            "SELECT name, line FROM dtzpt WHERE name = '沈塘桥' ORDER BY line", "sqlite", ["dtzpt"], ok=True, final=True
        )
    ]
    assert of(Rows, given)[0].rows == [["沈塘桥", "19号线"], ["沈塘桥", "2号线"]]
    assert isinstance(given[-2], Rows)
    assert given[-1].finish_reason == "stop" and given[-1].usage == Usage(10, 5, 15)
    assert {"prompt", "sql"} <= given[-1].timing.keys()


def test_the_statement_comes_behind_the_replys_text(databases):
    batches = list(answer(Question("?", database=""), Provider(GOOD, size=1), databases()))
    with_sql = next(batch for batch in batches if of(Sql, batch))
    assert text(with_sql) == "" and with_sql[0].final


def test_of_several_statements_the_last_query_runs_and_the_drafts_are_shown(databases):
    reply = "草稿：\n```sql\nSELECT * FROM dtzpt\n```\n```sql\nSELECT nm FROM dtzpt\n```\n最终：\n" + GOOD
    given = steps(Provider(reply), databases())
    assert [(sql.ok, sql.final) for sql in of(Sql, given)] == [(True, False), (False, False), (True, True)]
    assert of(Rows, given)[0].rows == [["沈塘桥", "19号线"], ["沈塘桥", "2号线"]]


def test_a_thought_is_never_searched(databases):
    thought = (
        "<think>\n```sql\nSELECT note FROM secret WHERE note IS NOT NULL AND note > 'a' AND note < 'z'\n```\n</think>\n"
    )
    given = steps(Provider(thought + GOOD), databases())
    assert len(of(Sql, given)) == 1 and of(Correcting, given) == [] and of(Rows, given)


def test_a_reply_that_looks_like_sql_and_has_no_statement_is_asked_for_a_block(databases):
    provider = Provider("I select the name from all stations.", GOOD)
    given = steps(provider, databases())
    assert "```sql" in provider.requests[1][0].messages[-1]["content"]
    assert of(Rows, given) and given[-1].sql_found is None
    given = steps(Provider("I select the name from all stations."), databases(corrections=0))
    assert of(Sql, given) == [] and given[-1].sql_found is False
    assert steps(Provider("你好！"), databases())[-1].sql_found is None


def test_the_question_stands_alone_in_the_last_message_behind_the_tables_and_the_history(databases):
    provider = Provider("好")
    steps(
        provider,
        databases(),
        history=[Turn("有几条线？", "12 条")],
        sampling=Sampling(temperature=0.0),
        provider="q",
        language="en",
    )
    request, name = provider.requests[0]
    roles = [message["role"] for message in request.messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert request.messages[-1]["content"] == "沈塘桥？"
    assert "dtzpt" in request.messages[0]["content"] and "data analyst" in request.messages[0]["content"]
    assert "secret" not in request.messages[0]["content"] and "salary" not in request.messages[0]["content"]
    assert (request.sampling.temperature, name) == (0.0, "q")
    assert request.constrain_schema["staff"] == ["name"] and request.constrain_dialect == "sqlite"


def test_a_reply_without_a_statement_is_an_answer(databases):
    given = steps(Provider("你好！"), databases())
    assert [type(step) for step in given] == [Start, Text, Done]


def test_a_plain_chat_knows_no_database(databases):
    provider = Provider(GOOD)
    given = steps(provider, databases(), database="none")
    assert of(Sql, given) == [] and text(given) == GOOD
    assert provider.requests[0][0].messages == [{"role": "user", "content": "沈塘桥？"}]


def test_without_databases_every_question_is_a_plain_chat():
    given = steps(Provider(GOOD), Databases({}))
    assert of(Sql, given) == [] and isinstance(given[-1], Done)


def test_an_unknown_database_is_a_key_error_before_anybody_is_asked(databases):
    provider = Provider(GOOD)
    with pytest.raises(KeyError):
        steps(provider, databases(), database="nope")
    assert provider.requests == []


def test_the_statement_is_shown_and_not_run_where_the_owner_or_the_caller_says_so(databases):
    assert of(Rows, steps(Provider(GOOD), databases(execute=False), execute=True)) == []
    given = steps(Provider(GOOD), databases(), execute=False)
    assert of(Rows, given) == [] and of(Sql, given)[0].ok and isinstance(given[-1], Done)


def test_a_refused_statement_is_corrected_once(databases):
    provider = Provider(BAD + "." * 500, GOOD)
    given = steps(provider, databases())
    assert [(sql.ok, bool(sql.reason)) for sql in of(Sql, given)] == [(False, True), (True, False)]
    assert of(Correcting, given) == [Correcting(of(Sql, given)[0].reason, 1)]
    assert provider.read[0][-1] == "closed"
    assert [sql.final for sql in of(Sql, given)] == [False, True]
    assert of(Rows, given)[0].rows[0][0] == "沈塘桥"
    assert len(of(Start, given)) == 1 and len(of(Done, given)) == 1
    assert given[-1].usage == Usage(20, 10, 30)
    asked = provider.requests[1][0].messages
    assert [message["role"] for message in asked] == ["system", "user", "assistant", "user"]
    assert "DROP" in asked[-1]["content"]
    assert text(given).endswith("\n\n" + GOOD)


def test_a_statement_that_is_hopeless_stops_the_reply_before_it_is_complete(databases):
    reply = "```sql\nSELECT note FROM secret WHERE " + "note IS NOT NULL AND " * 20 + "1 = 1\n```"
    provider = Provider(reply, GOOD)
    given = steps(provider, databases())
    first, second = of(Sql, given)
    assert not first.ok and "secret" in first.reason and len(first.sql) < 80
    assert second.ok
    assert len("".join(provider.read[0])) < 120
    assert given[-1].usage is None  # the stopped reply's cost is not known


def test_when_no_correction_is_left_a_refused_statement_still_ends_properly(databases):
    provider = Provider(BAD, BAD)
    given = steps(provider, databases())
    assert [sql.ok for sql in of(Sql, given)] == [False, False]
    assert text(given).endswith("and more")
    assert isinstance(given[-1], Done) and given[-1].finish_reason == "stop"
    assert len(provider.requests) == 2


def test_without_corrections_the_model_is_asked_once(databases):
    provider = Provider(BAD)
    given = steps(provider, databases(corrections=0))
    assert [sql.ok for sql in of(Sql, given)] == [False] and isinstance(given[-1], Done)
    assert len(provider.requests) == 1


def test_what_the_database_refuses_is_corrected_too(databases, monkeypatch):
    provider = Provider("```sql\nSELECT ln(name, 2, 3) FROM dtzpt```", GOOD)
    known = databases()
    run = known.get("metro").run
    calls = []

    def fail_once(verdict):
        calls.append(verdict)
        if len(calls) == 1:
            raise SqlFailed("the database refused the statement: no such thing")
        return run(verdict)

    monkeypatch.setattr(known.get("metro"), "run", fail_once)
    provider = Provider(GOOD, GOOD)
    given = steps(provider, known)
    assert [sql.ok for sql in of(Sql, given)] == [True, False, True]
    assert "no such thing" in provider.requests[1][0].messages[-1]["content"]
    assert len(of(Rows, given)) == 1
    assert given[-1].usage == Usage(20, 10, 30)


def test_what_the_database_refuses_in_the_end_fails_the_answer(databases, monkeypatch):
    known = databases(corrections=0)

    def fail(verdict):
        raise SqlFailed("the database refused the statement: no such thing")

    monkeypatch.setattr(known.get("metro"), "run", fail)
    with pytest.raises(SqlFailed) as failed:
        steps(Provider(GOOD), known)
    assert failed.value.code == "sql_failed" and not failed.value.retryable


def test_a_statement_over_its_time_fails_the_answer_and_is_not_corrected(databases):
    provider = Provider(f"```sql\n{SLOW[0]}\n```", GOOD)
    with pytest.raises(SqlLimit) as limit:
        steps(provider, databases(timeout_s=0.2))
    assert limit.value.code == "sql_limit" and limit.value.retryable
    assert len(provider.requests) == 1


def test_a_statement_that_the_reply_did_not_finish_is_not_run(databases):
    given = steps(Provider("```sql\nSELECT name FROM dtzpt", finish_reason="length"), databases())
    assert of(Sql, given) == [] and given[-1].finish_reason == "length"


def test_an_upstreams_failure_comes_after_what_it_said(databases):
    provider = Provider([[Delta("问题")], CutOff("it stopped")])
    given = []
    with pytest.raises(CutOff):
        for batch in answer(Question("?", database=""), provider, databases()):
            given += batch
    assert text(given) == "问题"
    assert provider.read[0][-1] == "closed"


def test_who_leaves_while_the_reply_streams_closes_the_upstream(databases):
    provider = Provider(GOOD)
    steps_of = answer(Question("?", database=""), provider, databases())
    next(steps_of)
    steps_of.close()
    assert provider.read[0][-1] == "closed"


def test_who_leaves_while_the_statement_runs_does_not_wait_for_it(databases):
    known = databases(timeout_s=30)
    provider = Provider(f"```sql\n{SLOW[0]}\n```")
    producing = gevent.spawn(steps, provider, known)
    while not provider.read or provider.read[0][-1] != "closed":
        gevent.sleep(0.01)
    gevent.sleep(0.1)
    producing.kill(timeout=at_most(1))
    assert producing.dead
    assert of(Rows, steps(Provider(GOOD), known))


def test_examples_whose_tables_have_changed_are_not_used(databases, tmp_path):
    path = tmp_path / "examples.yaml"
    path.write_text(
        "- {question: 有几站？, sql: SELECT COUNT(*) FROM dtzpt}\n- {question: 旧的？, sql: SELECT gone FROM dtzpt}\n",
        "utf-8",
    )
    provider = Provider("好")
    steps(provider, databases(examples=str(path)))
    system = provider.requests[0][0].messages[0]["content"]
    assert "有几站？" in system and "旧的？" not in system


def test_a_failure_before_the_first_batch_says_who_failed_last(databases):
    class FallsBack(Stream):
        def __iter__(self):
            self.provider, self.model = "second", "m2"
            raise CutOff("gone")
            yield

    class Failing(Provider):
        def stream(self, request, name=None):
            return FallsBack([], [])

    steps = answer(Question("沈塘桥？"), Failing(), databases())
    assert next(steps) == [Start("second", "m2", ["top_k dropped"])]
    with pytest.raises(CutOff):
        next(steps)
