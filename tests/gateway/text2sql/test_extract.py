from __future__ import annotations

import random
import time

import pytest

from gateway.text2sql.extract import SqlExtractor
from gateway.text2sql.guard.lexemes import STATEMENT_CHARACTERS

CASES = [
    # (reply, its statement)
    ("问题：…\n```sql\nSELECT 1\n```\n", "SELECT 1"),
    ("```sql\nSELECT 1\n```\n```sql\nSELECT 2\n```", "SELECT 1"),
    ("```SQL\nselect 1;\n```", "select 1;"),
    ("```sqlite\nselect 1\n```", "select 1"),
    ("```postgresql\nselect 1\n```", "select 1"),
    ("```mysql\nselect 1\n```", "select 1"),
    ('``` sql title="x"\nselect 1\n```', "select 1"),
    ("```{sql}\nselect 1\n```", "select 1"),
    ("```{.sql .numberLines}\nselect 1\n```", "select 1"),
    ("~~~sql\nselect 1\n~~~", "select 1"),
    ("````sql\nselect '```'\n````", "select '```'"),
    ("1. 如下：\n   ```sql\n   select 1\n   ```", "select 1"),
    ("> ```sql\n> select 1\n> ```", "> select 1\n>"),
    ("答案：```sql\nselect 1\n```", "select 1"),
    ("The SQL is ```sql select 1``` and that is it", "select 1"),
    ("```\nselect 1\n```", "select 1"),
    ("```\n-- 注释\nwith a as (select 1) select * from a\n```", "-- 注释\nwith a as (select 1) select * from a"),
    ("```\nDROP TABLE x\n```", None),
    ("```sql\nDROP TABLE x\n```", "DROP TABLE x"),
    ('```json\n{"sql": "select 1"}\n```', None),
    ("```python\nselect = 1\n```\n```sql\nselect 2\n```", "select 2"),
    ("```sql\n```\n```sql\nselect 2\n```", "select 2"),
    ("```sql\r\nselect 1\r\n```\r\n", "select 1"),
    ("use `select 1` here", None),
    ("你好！有什么可以帮您？", None),
    ("Please select the station from the list", None),
    ("Select the station", None),
    ("The answer:\nSELECT name\nFROM dtzpt", "SELECT name\nFROM dtzpt"),
    ("The answer:\nselect name from dtzpt;", "select name from dtzpt;"),
    ("It is `x`:\nselect name;\nselect line;\n", "select line;"),
    ("select name;\nSELECT line", "SELECT line"),
    ("SELECT a\nselect b;", "SELECT a\nselect b;"),
    ("select the `name`;", None),
    ("WITH a AS (SELECT 1)\nSELECT * FROM a;\n", "WITH a AS (SELECT 1)\nSELECT * FROM a;"),
    ("```text\nnothing\n```\nSELECT 1", None),
    ("```python\nx\n``````sql select 1```", None),
    ("```python" + " x" * 300 + "\n```sql\nselect 1\n```", "select 1"),
    ("`" * 120 + "sql\nselect 1\n" + "`" * 120, None),
    (" " * 500 + "```sql\nselect 1\n```", "select 1"),
    ("x ```sql" + " " * 500 + "select 1```", "select 1"),
    ("x ```" + " " * 300 + "sql select 1```", None),
    ("```sql\nselect 1", "select 1"),
    ("```sql\nselect 1\n``", "select 1"),
    ("", None),
]


def found(reply: str, pieces: list[str], cut: bool = False) -> str | None:
    extractor = SqlExtractor()
    statements = [extractor.feed(piece) for piece in pieces]
    statements.append(extractor.finish(reply, cut))
    given = [statement for statement in statements if statement is not None]
    assert len(given) <= 1
    return given[0] if given else None


@pytest.mark.parametrize(("reply", "statement"), CASES)
def test_a_statement_is_found_however_the_reply_is_cut(reply, statement):
    assert found(reply, [reply]) == statement
    assert found(reply, list(reply)) == statement
    for seed in range(30):
        rng, pieces, rest = random.Random(seed), [], reply
        while rest:
            size = rng.randint(1, 9)
            pieces.append(rest[:size])
            rest = rest[size:]
        assert found(reply, pieces) == statement


def test_a_statement_is_found_with_the_piece_that_closes_its_block():
    extractor = SqlExtractor()
    assert extractor.feed("```sql\nSELECT 1\n``") is None
    assert extractor.feed("`") == "SELECT 1"


def test_what_has_come_of_an_open_block_can_be_read():
    extractor = SqlExtractor()
    extractor.feed("x\n```sql\nSELECT na")
    assert extractor.partial == "SELECT na"
    extractor.feed("me FROM t\n```")
    assert extractor.partial == ""


@pytest.mark.parametrize("reply", ["```sql\nselect name from dtz", "SELECT name FROM dtz"])
def test_a_statement_that_the_replys_end_cut_short_is_none(reply):
    assert found(reply, [reply], cut=True) is None


def test_a_long_reply_costs_time_in_its_length_only():
    extractor = SqlExtractor()
    for _ in range(20_000):
        extractor.feed("一段没有换行的文字，")
    assert len(extractor._text) <= 400


@pytest.mark.parametrize("opening", ["```sql\n", "```\n", "```sql "])
def test_a_statement_that_is_too_long_for_the_guard_is_found_before_its_end(opening):
    extractor = SqlExtractor()
    extractor.feed(opening)
    fed = 0
    while (statement := extractor.feed("SELECT 1 ")) is None:
        fed += 9
        assert fed < STATEMENT_CHARACTERS + 500
    assert len(statement) > STATEMENT_CHARACTERS
    assert extractor.feed("\n```\n```sql\nSELECT 2\n```") is None


@pytest.mark.parametrize("opening", ["```python\n", "```\n", "~~~~text\n"])
def test_of_a_long_block_of_something_else_little_is_kept_and_the_next_block_counts(opening):
    extractor = SqlExtractor()
    extractor.feed(opening)
    for _ in range(20_000):
        extractor.feed("x = 1\n")
    assert len(extractor._text) <= STATEMENT_CHARACTERS
    closing = opening.partition("\n")[0].rstrip("pythonex")
    assert extractor.feed(f"{closing[:2]}") is None
    assert extractor.feed(f"{closing[2:]}\n```sql\nSELECT 2\n```") == "SELECT 2"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("```\n" + "/**/" * 2_000 + "x\n```", id="comments that no query follows"),
        pytest.param("SELECT" + " " * 50_000 + "`", id="blanks"),
        pytest.param("SELECT\n" * 20_000 + "`", id="lines in capitals"),
        pytest.param("select\n" * 20_000, id="lines without an end"),
        pytest.param("select\n" * 20_000 + ";x", id="an end that is none"),
    ],
)
def test_no_reply_takes_long_to_search(reply):
    begun = time.process_time()
    assert found(reply, [reply]) is None
    # Milliseconds; with a search that tries again and again it would be minutes, or years.
    assert time.process_time() - begun < 2


def test_random_fences_are_read_the_same_however_the_reply_is_cut():
    parts = ["`", "``", "```", "````", "~~~", "~", "\n", " ", "sql", "{sql}", "lite", "python", "1. ", "> ", "x"]
    parts += ["select 1", "SELECT 2;", "-- y\n", "\n```\n", "```sql\n", "~~~\n", " " * 150, "`" * 99, "long " * 50]
    outcomes = set()
    for seed in range(3_000):
        rng = random.Random(seed)
        reply = "".join(rng.choices(parts, k=rng.randint(2, 14)))
        whole = found(reply, [reply])
        cuts = sorted(rng.choices(range(len(reply)), k=3))
        assert found(reply, list(reply)) == whole, reply
        assert found(reply, [reply[a:b] for a, b in zip([0, *cuts], [*cuts, len(reply)], strict=True)]) == whole, reply
        outcomes.add(whole is None)
    assert outcomes == {True, False}


@pytest.mark.parametrize("size", [1, 7, 1_000, 10**9])
@pytest.mark.parametrize(
    ("opening", "rest"),
    [
        ("", "`"), ("", "~"), ("```", " "), ("~~~", "x"), ("x ```sql", " "), ("", "``` "), ("", "```sql``` "),
        ("", "```\n"), ("", "```py\n```\n"), ("`" * 99 + "py\n", "`" * 98 + " "), ("", "`` "), ("```\n", " "),
        ("```\n", "/**/"), ("", "x ```sqlx"), ("", "1. "), ("", "~~~ a\n~~~\n"), ("```\n", "("),
    ],
)  # fmt: skip
def test_the_cost_is_linear_whatever_the_reply_is_made_of(opening, rest, size):
    def cost(characters: int) -> float:
        reply = opening + rest * (characters // len(rest))
        pieces = [reply[i : i + size] for i in range(0, len(reply), size)]
        begun = time.process_time()
        found(reply, pieces)
        return time.process_time() - begun

    # Eight times as much, at most 20 times the work: 64 times is what a quadratic search would take.
    assert min(cost(16_000) for _ in range(3)) < 20 * max(min(cost(2_000) for _ in range(5)), 0.0002)
