"""The rules by which a reply is judged."""

import sqlite3

import pytest

from demo.metro.build import build
from demo.model.evaluate import is_ordered, judge, report


@pytest.fixture(scope="module")
def metro(tmp_path_factory):
    path = tmp_path_factory.mktemp("metro") / "metro.db"
    build(path)
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        yield database


@pytest.fixture
def right(metro):
    def judged(gold: str | None, reply: str, **more: str) -> bool:
        return judge(metro, {"question": "?", "language": "zh", "sql": gold, **more}, reply).right

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


def test_more_columns_are_counted_apart(metro):
    question = {"question": "?", "language": "zh", "sql": "SELECT line FROM lines"}
    verdict = judge(metro, question, fenced("SELECT line, opened FROM lines"))
    assert (verdict.right, verdict.right_with_more_columns) == (False, True)
    assert "0.0%   100.0%" in report([verdict])


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
