"""The rules by which a reply is judged."""

import sqlite3

import pytest

from demo.metro.build import build
from demo.model.evaluate import asked, is_ordered, judge, report


@pytest.fixture(scope="module")
def metro(tmp_path_factory):
    path = tmp_path_factory.mktemp("metro") / "metro.db"
    build(path)
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        yield database


@pytest.fixture
def right(metro):
    def judged(gold: str | None, reply: str, **more: str) -> bool:
        return judge(metro, {"question": "?", "language": "zh", "sql": gold, **more}, reply).exact

    return judged


def fenced(sql: str) -> str:
    return f"思路\n\n```sql\n{sql}\n```"


def test_equal_rows_are_right_whatever_the_statement_looks_like(right):
    assert right("SELECT COUNT(*) FROM lines", fenced("SELECT COUNT(DISTINCT line) FROM dtzpt"))


def test_other_rows_an_error_and_no_statement_are_wrong(right):
    assert not right("SELECT COUNT(*) FROM lines", fenced("SELECT 13"))
    assert not right("SELECT COUNT(*) FROM lines", fenced("SELECT nothing FROM nowhere"))
    assert not right("SELECT COUNT(*) FROM lines", "我不知道")


def test_two_statements_are_wrong(right):
    assert not right("SELECT 1", fenced("SELECT 1") + fenced("SELECT 1"))


def test_a_question_to_decline_wants_no_statement(right):
    assert right(None, "抱歉，没有票价。")
    assert not right(None, fenced("SELECT 1"))


def test_columns_may_come_in_any_order_but_not_more_of_them(right):
    gold = "SELECT first_station, last_station FROM lines WHERE line = '1号线'"
    assert right(gold, fenced("SELECT last_station, first_station FROM lines WHERE line = '1号线'"))
    assert not right(gold, fenced("SELECT line, first_station, last_station FROM lines WHERE line = '1号线'"))


@pytest.fixture
def figures(metro):
    def judged(gold: str, reply: str, **more: object) -> tuple[bool, bool, bool]:
        verdict = judge(metro, {"question": "?", "language": "zh", "sql": gold, **more}, fenced(reply))
        return verdict.exact, verdict.strict, verdict.lenient

    return judged


def test_a_figure_more_is_strictly_right_and_a_figure_less_leniently(figures):
    names, both = "SELECT line FROM lines", "SELECT line, length_km FROM lines"
    assert figures(both, both) == (True, True, True)
    assert figures(names, both) == (False, True, True)
    assert figures(both, names) == (False, False, True)


def test_figures_are_forgiven_beside_right_names_alone(figures):
    longest = "SELECT line, length_km FROM lines ORDER BY length_km DESC LIMIT 1"
    assert figures(longest, "SELECT line FROM lines ORDER BY length_km LIMIT 1") == (False, False, False)
    assert figures("SELECT COUNT(*), SUM(length_km) FROM lines", "SELECT COUNT(*) FROM lines") == (False, False, False)
    assert figures("SELECT opened, stations FROM lines", "SELECT stations FROM lines") == (False, False, False)


def test_another_gold_statement_is_as_right(figures):
    total, daily = "SELECT SUM(entries) FROM riders", "SELECT day, SUM(entries) FROM riders GROUP BY day"
    assert figures(total, daily) == (False, False, False)
    assert figures(total, daily, also=[daily]) == (True, True, True)


class Parrot:
    """A stand-in for the model that notes what it is asked and answers with the length of what it saw before."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[str]]] = []

    def replies(self, asked: list[tuple[str, list[tuple[str, str]]]]) -> list[str]:
        self.seen += [(question, [reply for _, reply in history]) for question, history in asked]
        return [fenced(f"SELECT {len(history)}") for _, history in asked]


def test_questions_of_one_conversation_see_the_replies_before_them(metro):
    parrot = Parrot()
    questions = [
        {"question": "a", "conversation": 1, "sql": "SELECT 0", "language": "zh"},
        {"question": "x", "sql": "SELECT 0", "language": "en"},
        {"question": "b", "conversation": 1, "sql": "SELECT 1", "language": "zh"},
        {"question": "c", "conversation": 2, "sql": "SELECT 1", "language": "en"},
        {"question": "d", "conversation": 1, "sql": None, "language": "zh"},
    ]
    verdicts = list(asked(parrot, metro, questions))
    zero, one = fenced("SELECT 0"), fenced("SELECT 1")
    assert parrot.seen == [("a", []), ("x", []), ("c", []), ("b", [zero]), ("d", [zero, one])]
    assert [verdict.is_follow_up for verdict in verdicts] == [False, False, True, False, True]
    assert [verdict.strict for verdict in verdicts] == [True, True, True, False, False]
    lines = report(verdicts).splitlines()
    assert lines[1].split()[:3] == ["overall", "5", "3"]
    assert {"singles", "follow-ups", "declines", "class"} <= {line.split()[0] for line in lines[1:12]}


def test_rows_count_once_and_their_order_only_where_the_gold_has_one(right):
    assert right("SELECT DISTINCT name FROM dtzpt", fenced("SELECT name FROM dtzpt ORDER BY name DESC"))
    gold = "SELECT line FROM lines ORDER BY length_km DESC LIMIT 3"
    assert right(gold, fenced(gold))
    assert not right(
        gold, fenced("SELECT line FROM (SELECT * FROM lines ORDER BY length_km DESC LIMIT 3) ORDER BY length_km")
    )


def test_an_inner_order_does_not_order_the_result():
    assert not is_ordered("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 3)")
    assert is_ordered("SELECT a FROM t ORDER BY COUNT(a)")


def test_an_average_may_be_rounded_and_a_count_may_not(right):
    gold = "SELECT AVG(entries) FROM riders"
    assert right(gold, fenced("SELECT ROUND(AVG(entries)) FROM riders"))
    assert not right("SELECT COUNT(*) FROM riders", fenced("SELECT COUNT(*) + 1 FROM riders"))


def test_information_about_a_station_compares_the_key_alone(right):
    gold = "SELECT name, line FROM dtzpt WHERE name = '沈塘桥'"
    assert right(gold, fenced("SELECT name, district FROM dtzpt WHERE name = '沈塘桥'"), key="name")
    assert not right(gold, fenced("SELECT name, line FROM dtzpt WHERE name = '沈塘'"), key="name")
    assert not right(gold, fenced("SELECT district FROM dtzpt WHERE name = '沈塘桥'"), key="name")
