from __future__ import annotations

import json
import xml.etree.ElementTree

import pytest

from demo.metro import build
from gateway.settings import parse
from gateway.tools import evaluation
from gateway.tools.result_equality import contains, is_ordered, same
from providers.errors import CutOff
from tests.gateway.text2sql.written_replies import BAD, Provider

CASES = [
    {"question": "有几站？", "sql": "SELECT COUNT(*) FROM dtzpt"},
    {"question": "你好", "sql": ""},
    {"question": "最长的线？", "sql": "SELECT line FROM lines ORDER BY length_km DESC LIMIT 2"},
    {"question": "2 号线首站？", "rows": [["朝阳"]]},
    {"question": "坏的", "sql": "SELECT 1 AS x FROM dtzpt LIMIT 1"},
    {"question": "天气？", "sql": None, "class": "decline"},
    {
        "question": "换乘站？",
        "sql": "SELECT name, line FROM dtzpt WHERE name = '沈塘桥'",
        "key": "name",
        "language": "en",
    },
]
RIGHT = "```sql\nSELECT COUNT(name) AS n FROM dtzpt\n```"


@pytest.fixture
def settings(tmp_path):
    build.build(tmp_path / "metro.db")
    upstream = {"type": "openai", "model": "m", "base_url": "http://127.0.0.1:1"}
    return parse(
        {
            "default": "a",
            "providers": {"a": upstream, "b": upstream},
            "databases": {"metro": {"url": f"sqlite:///{tmp_path / 'metro.db'}", "row_limit": 1}},
            "text2sql": {"corrections": 0},
        },
        environ={},
    )


@pytest.fixture
def cases(tmp_path):
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join(json.dumps(case) for case in CASES) + "\n", "utf-8")
    return path


class Asked(Provider):
    def close(self):
        pass


def evaluate(monkeypatch, settings, cases, out, provider, names=()):
    said, wrong = [], []
    monkeypatch.setattr(evaluation, "Providers", lambda *_: provider)
    code = evaluation.run(settings, cases, names, out, said.append, complain=wrong.append)
    # What went wrong is one sentence of its own; what came of it is told only where something did.
    assert len(wrong) == (code != 0)
    assert code != 2 or not said
    return code, "\n".join(said + wrong)


def test_every_kind_of_answer_is_judged(monkeypatch, settings, cases, tmp_path):
    provider = Asked(
        RIGHT,
        "您好！",
        "```sql\nSELECT line FROM lines ORDER BY length_km LIMIT 2\n```",
        BAD,
        [CutOff("gone")],
        RIGHT,
        "```sql\nSELECT seq, name FROM dtzpt WHERE name = '沈塘桥'\n```",
    )
    code, said = evaluate(monkeypatch, settings, cases, tmp_path / "out", provider)
    assert code == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    verdicts = [answer["verdict"] for answer in report["answers"]]
    assert verdicts == ["right", "right", "wrong", "refused", "failed", "unneeded", "right"]
    (figures,) = report["providers"]
    assert [figures[name] for name in ("right", "valid_sql", "refused", "failed")] == [0.4286, 0.5714, 0.1429, 0.1429]
    assert report["answers"][0]["completion_tokens"] == 5
    assert report["answers"][0]["first_token_s"] is not None
    assert "42.9%" in said and "report.json" in said
    picture = xml.etree.ElementTree.fromstring((tmp_path / "out" / "report.svg").read_text("utf-8"))  # noqa: S314 - our own picture
    assert picture.tag.endswith("svg")


def test_an_evaluation_that_was_stopped_goes_on_where_it_was(monkeypatch, settings, cases, tmp_path):
    class Stopped(Asked):
        def stream(self, request, name=None):
            if len(self.requests) == 2:
                raise KeyboardInterrupt
            return super().stream(request, name)

    code, said = evaluate(monkeypatch, settings, cases, tmp_path / "out", Stopped(RIGHT, "您好！"))
    assert code == 1 and "goes on from here" in said
    # The last line was cut while it was written.
    with (tmp_path / "out" / "results.jsonl").open("a") as file:
        file.write('{"provider": "a", "key')
    rest = Asked(*[RIGHT] * 5)
    code, _ = evaluate(monkeypatch, settings, cases, tmp_path / "out", rest)
    assert code == 0
    assert len(rest.requests) == 5
    assert len(json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["answers"]) == 7


def test_another_database_is_asked_anew_and_may_have_a_statement_of_its_own(monkeypatch, settings, tmp_path):
    cases = tmp_path / "cases.jsonl"
    case = CASES[0] | {"dialects": {"sqlite": "SELECT COUNT(*) FROM lines", "mysql": "SELECT 1"}}
    cases.write_text(json.dumps(case), "utf-8")
    settings.databases["other"] = settings.databases["metro"]
    asked = Asked(RIGHT, RIGHT)
    monkeypatch.setattr(evaluation, "Providers", lambda *_: asked)
    for name in ("metro", "other"):
        assert evaluation.run(settings, cases, (), tmp_path / "out", print, name) == 0
        (answer,) = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["answers"]
        assert answer["verdict"] == "wrong"  # stations, where lines were to be counted
    assert len(asked.requests) == 2


def test_each_provider_has_its_figures(monkeypatch, settings, tmp_path):
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps(CASES[0]), "utf-8")
    code, said = evaluate(monkeypatch, settings, cases, tmp_path / "out", Asked(RIGHT, "no"), names=("a", "b"))
    assert code == 0
    assert [line.split()[0] for line in said.splitlines()[:3]] == ["provider", "a", "b"]
    assert "100.0%" in said.splitlines()[1] and "0.0%" in said.splitlines()[2]


@pytest.mark.parametrize(
    "line",
    [
        '{"question": "x"}',
        '{"sql": "SELECT 1"}',
        "[1]",
        "nonsense",
        '{"question": "x", "sql": "", "y": 1}',
        '{"question": "x", "sql": "SELECT 1", "dialects": {"oracle": "SELECT 1"}}',
        "",
    ],
)
def test_a_bad_file_is_refused_with_its_line(monkeypatch, settings, tmp_path, line):
    cases = tmp_path / "cases.jsonl"
    cases.write_text(line + "\n", "utf-8")
    code, said = evaluate(monkeypatch, settings, cases, tmp_path / "out", Asked())
    assert code == 2 and "cases.jsonl" in said


def test_unknown_names_and_bad_expectations_are_refused(monkeypatch, settings, cases, tmp_path):
    code, said = evaluate(monkeypatch, settings, cases, tmp_path / "out", Asked(), names=("nope",))
    assert code == 2 and "nope" in said
    settings.providers["b"].api_key, settings.providers["b"].type = "", "dashscope"
    code, said = evaluate(monkeypatch, settings, cases, tmp_path / "out", Asked(), names=("b",))
    assert code == 2 and "providers.b.api_key: is needed, but not set" in said
    code = evaluation.run(settings, cases, (), tmp_path / "out", print, "nope", complain=(wrong := []).append)
    assert code == 2 and wrong == ['sluice: database: unknown database "nope"; expected one of metro']
    cases.write_text('{"question": "x", "sql": "DROP TABLE dtzpt"}', "utf-8")
    code, said = evaluate(monkeypatch, settings, cases, tmp_path / "out", Asked())
    assert code == 2 and "DROP" in said


@pytest.mark.parametrize(
    ("expected", "given", "ordered", "equal"),
    [
        ([[1, "a"], [2, "b"]], [[2, "b"], [1, "a"]], False, True),
        ([[1, "a"], [2, "b"]], [[2, "b"], [1, "a"]], True, False),
        ([[1, "a"]], [["a", 1]], True, True),
        ([[1, 1], [1, 1]], [[1, 1]], False, False),
        ([[1], [1], [2]], [[1], [2], [2]], False, False),
        ([["12.3400000000000000"]], [[12.34]], False, True),
        ([[1 / 3]], [["0.33333333"]], False, True),
        ([["007"]], [[7]], False, False),
        ([[None]], [[0]], False, False),
        ([], [], True, True),
        ([[1, 2]], [[1]], False, False),
        ([[1, 2], [2, 1]], [[1, 1], [2, 2]], False, False),
        ([[True]], [[1]], False, True),
        ([[n] * 9 for n in range(3)], [[n] * 9 for n in range(3)], True, True),
    ],
)
def test_results_are_equal_as_sets_and_in_order_only_where_that_was_asked(expected, given, ordered, equal):
    assert same(expected, given, ordered) is equal


def test_only_an_order_of_the_whole_statement_counts():
    assert is_ordered("SELECT a FROM t ORDER BY a", "sqlite")
    assert is_ordered("SELECT a FROM t UNION SELECT b FROM t ORDER BY a", "sqlite")
    assert not is_ordered("SELECT a FROM (SELECT a FROM t ORDER BY a) x", "sqlite")
    assert not is_ordered("SELECT rank() OVER (ORDER BY a) FROM t", "sqlite")


def test_the_cases_of_a_conversation_see_the_questions_before_them_and_their_answers(monkeypatch, settings, tmp_path):
    cases = tmp_path / "cases.jsonl"
    two = {"question": "几条线？", "sql": "SELECT COUNT(*) FROM lines", "conversation": "a"}
    lines = [CASES[0] | {"conversation": "a"}, CASES[0] | {"question": "别的", "conversation": 2}, two, CASES[0]]
    cases.write_text("\n".join(json.dumps(case) for case in lines), "utf-8")

    class Stopped(Asked):
        def stream(self, request, name=None):
            if len(self.requests) == 2:
                raise KeyboardInterrupt
            return super().stream(request, name)

    first = Stopped(RIGHT, "不知道")
    assert evaluate(monkeypatch, settings, cases, tmp_path / "out", first)[0] == 1
    # What goes on has the answers from before.
    rest = Asked("```sql\nSELECT COUNT(*) FROM lines\n```", RIGHT)
    assert evaluate(monkeypatch, settings, cases, tmp_path / "out", rest)[0] == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert [answer["verdict"] for answer in report["answers"]] == ["right", "no_sql", "right", "right"]

    def said(provider, n):
        return [message["content"] for message in provider.requests[n][0].messages if message["role"] != "system"]

    assert len(said(first, 0)) == len(said(first, 1)) == len(said(rest, 1)) == 1
    before, answer, _ = said(rest, 0)
    assert "有几站" in before and "COUNT(name)" in answer


def test_a_statement_in_also_is_as_right_and_further_columns_are_a_verdict_of_their_own(
    monkeypatch, settings, tmp_path
):
    cases = tmp_path / "cases.jsonl"
    longest = {"question": "最长？", "sql": "SELECT line FROM lines ORDER BY length_km DESC LIMIT 1"}
    either = {"question": "最长或最短？", "sql": "SELECT 1 AS x FROM lines LIMIT 1", "also": [longest["sql"]]}
    twice = {"question": "哪些区？", "sql": "SELECT DISTINCT district FROM dtzpt"}
    cases.write_text("\n".join(json.dumps(case) for case in (longest, either, twice, longest | {"key": "line"})))
    wide = "```sql\nSELECT length_km, line FROM lines ORDER BY length_km DESC LIMIT 1\n```"
    provider = Asked(
        wide, wide.replace("length_km, line", "line"), "```sql\nSELECT district FROM dtzpt WHERE line <> 'x'\n```", wide
    )
    assert evaluate(monkeypatch, settings, cases, tmp_path / "out", provider)[0] == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert [answer["verdict"] for answer in report["answers"]] == ["more", "right", "more", "right"]
    assert [report["providers"][0][name] for name in ("right", "right_or_more")] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("expected", "given", "ordered", "holds"),
    [
        ([["a"], ["b"]], [["b", 1], ["a", 2]], False, True),
        ([["a"], ["b"]], [["b", 1], ["a", 2]], True, False),
        ([["a"], ["b"]], [["a"], ["a"], ["b"]], False, True),
        ([["a"], ["b"]], [["a"], ["a"], ["b"]], True, False),
        ([["a", 1]], [["a"]], False, False),
        ([[1, 1]], [[1, 2]], False, False),
        ([], [["a"]], False, False),
        ([], [], False, True),
    ],
)
def test_rows_are_held_by_wider_rows(expected, given, ordered, holds):
    assert contains(expected, given, ordered) is holds


def test_also_must_be_a_list_of_statements(monkeypatch, settings, tmp_path):
    cases = tmp_path / "cases.jsonl"
    cases.write_text(json.dumps(CASES[0] | {"also": "SELECT 1"}), "utf-8")
    code, said = evaluate(monkeypatch, settings, cases, tmp_path / "out", Asked())
    assert code == 2 and "also: must be a list of statements" in said
