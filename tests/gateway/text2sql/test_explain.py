# ruff: noqa: E501 (statements and their sentences are read across)
"""What a statement asks for, said from its tree."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.metro.build import build
from demo.model.generate import examples
from gateway.answers.events import Encoder
from gateway.settings import DatabaseSettings
from gateway.text2sql.database import Database
from gateway.text2sql.databases import DIALECTS
from gateway.text2sql.explain import LONGEST, explain
from gateway.text2sql.guard.judge import parse
from prompts.tables import Column, Schema, Table


def table(name: str, comment: str, /, **columns: str) -> Table:
    return Table(name, tuple(Column(column, "TEXT", said) for column, said in columns.items()), comment)


METRO = (
    table("dtzpt", "地铁站点表，每站每线一行", name="站名，不带“站”字", line="线路，如 2号线", district="行政区", opened="开通日期 YYYY-MM-DD",
          transfer_lines="可换乘的其他线路，逗号分隔", seq="线内顺序，从 1 起"),
    table("lines", "线路表", line="线路", opened="首段开通日期 YYYY-MM-DD", length_km="长度（公里）", stations="车站数，含支线"),
    table("riders", "日客流表，每站每天一行", day="日期 YYYY-MM-DD", station="站名", entries="进站人次", exits="出站人次"),
)  # fmt: skip
SENTENCES = {
    "SELECT SUM(entries) FROM riders WHERE day > (SELECT DISTINCT day FROM riders ORDER BY day DESC LIMIT 1 OFFSET 7)": (
        "进站人次的合计，日期是最近的 7 个之一",
        "total entries, where day is among the latest 7",
    ),
    "SELECT SUM(entries) FROM riders WHERE day > (SELECT DISTINCT day FROM riders ORDER BY day LIMIT 1 OFFSET 7)": (
        "进站人次的合计，日期大于 （不重复的日期，日期从小到大，跳过前 7 行，只取第一行）",
        "total entries, where day is more than (different day, by day from the smallest, after the first 7 rows, the first row alone)",
    ),
    "SELECT day, SUM(entries) FROM riders WHERE station = '凤起路' AND day BETWEEN '2024-04-19' AND '2024-04-25' GROUP BY day": (
        "日期、进站人次的合计，站名是凤起路，日期从 2024-04-19 到 2024-04-25，每个日期一行",
        "day, total entries, where station is 凤起路, day is from 2024-04-19 to 2024-04-25, one row for each day",
    ),
    "SELECT line, length_km FROM lines ORDER BY length_km DESC LIMIT 3": (
        "线路、长度，长度从大到小，取前 3 行",
        "line, length km, by length km from the largest, the first 3 rows",
    ),
    "SELECT COUNT(*) AS n FROM dtzpt AS d WHERE d.line = '2号线'": (
        "行数，取自地铁站点表，线路是2号线",
        "number of rows, from dtzpt, where line is 2号线",
    ),
    "SELECT * FROM dtzpt WHERE name = '沈塘桥'": (
        "全部列，取自地铁站点表，站名是沈塘桥",
        "all columns, from dtzpt, where name is 沈塘桥",
    ),
    "SELECT DISTINCT district FROM dtzpt WHERE district NOT IN (SELECT district FROM dtzpt WHERE transfer_lines <> '')": (
        "不重复的行政区，不符合（可换乘的其他线路不是空文本）",
        "different district, where not (transfer lines is not empty)",
    ),
    "SELECT d.line, ROUND(AVG(r.entries)) AS n FROM dtzpt AS d JOIN riders AS r ON r.station = d.name GROUP BY 1 ORDER BY n DESC LIMIT 1": (
        "线路、进站人次的平均值，每个线路一行，进站人次的平均值从大到小，只取第一行",
        "line, average entries, one row for each line, by average entries from the largest, the first row alone",
    ),
    "SELECT station FROM riders WHERE strftime('%w', day) IN ('0', '6') GROUP BY station HAVING AVG(entries + exits) >= 100": (
        "站名，日期的星期是日或六，每个站名一行，只要（进站人次 + 出站人次）的平均值不小于 100",
        "station, where weekday of day is Sunday or Saturday, one row for each station, only where average (entries + exits) is at least 100",
    ),
    "SELECT opened FROM lines WHERE opened = (SELECT MAX(opened) FROM lines)": (
        "首段开通日期，首段开通日期是（最大的首段开通日期）",
        "opened, where opened is (largest opened)",
    ),
    "SELECT name FROM dtzpt WHERE name LIKE '%桥' OR name NOT LIKE '江%' AND seq > 3": (
        "站名，（站名以桥结尾或（不符合（站名以江开头）且线内顺序大于 3））",
        "name, where (name ends with 桥 or (not (name begins with 江) and seq is more than 3))",
    ),
    "SELECT line FROM lines UNION SELECT line FROM dtzpt": ("（线路） 合并 （线路）", "(line) together with (line)"),
    "SELECT name, RANK() OVER (PARTITION BY line ORDER BY seq) FROM dtzpt": (
        "站名、名次（在每个线路之内）",
        "name, rank (within each line)",
    ),
}


def sentence(sql: str, dialect: str = "sqlite", tables: tuple[Table, ...] = METRO) -> dict[str, str]:
    said = explain(parse(sql, DIALECTS[dialect]), Schema(dialect, tables), DIALECTS[dialect].sqlglot)
    assert said is not None
    return said


@pytest.mark.parametrize(("sql", "said"), SENTENCES.items())
def test_a_statement_is_said_in_both_languages(sql, said):
    assert sentence(sql) == {"zh": said[0], "en": said[1]}


PAIRS = [
    ("name IN ('a', 'b')", "name NOT IN ('a', 'b')"),
    ("name = 'a'", "name <> 'a'"),
    ("NOT name = 'a'", "name = 'a'"),
    ("name LIKE 'a%'", "name NOT LIKE 'a%'"),
    ("seq BETWEEN 1 AND 2", "seq NOT BETWEEN 1 AND 2"),
    ("seq IS NULL", "seq IS NOT NULL"),
    ("EXISTS (SELECT 1 FROM lines)", "NOT EXISTS (SELECT 1 FROM lines)"),
    ("name IN (SELECT station FROM riders WHERE entries > 1)", "name NOT IN (SELECT station FROM riders WHERE entries > 1)"),
    ("seq > 1", "NOT (seq > 1)"),
    ("seq < 5", "5 < seq"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_a_condition_and_its_opposite_are_never_said_alike(one, other):
    said, opposite = (sentence(f"SELECT name FROM dtzpt WHERE {condition}") for condition in (one, other))
    assert said["zh"] != opposite["zh"]
    assert said["en"] != opposite["en"]


def test_a_negation_of_a_negation_is_the_condition():
    assert sentence("SELECT name FROM dtzpt WHERE NOT (name <> 'a')") == sentence(
        "SELECT name FROM dtzpt WHERE name = 'a'"
    )


def test_a_column_is_called_by_a_chinese_comment_in_chinese_alone():
    tables = (table("orders", "", total_price="amount in cents", 客户="", region_code="地区"),)
    said = sentence('SELECT total_price, "客户", region_code FROM orders', "postgresql", tables)
    assert said == {"zh": "total price、客户、地区", "en": "total price, 客户, region code"}


def test_a_long_statement_makes_a_sentence_of_bounded_length():
    listed = ", ".join(f"'{number:012}'" for number in range(200))
    said = sentence(f"SELECT name FROM dtzpt WHERE {' OR '.join([f'name IN ({listed})'] * 2)}")
    assert all(len(text) <= LONGEST for text in said.values())
    assert "200" in said["zh"]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql", "mariadb"])
def test_what_has_no_words_is_shown_as_sql(dialect):
    said = sentence("SELECT UPPER(name) FROM dtzpt WHERE LOWER(name) = 'a'", dialect)
    assert "UPPER(name)" in said["zh"]
    assert "LOWER(name) is a" in said["en"]


def test_every_training_statement_has_a_sentence_that_shows_its_values():
    for one in examples(800, seed=5):
        if one.sql:
            said = sentence(one.sql)
            assert "SELECT" not in said["zh"] + said["en"], one.sql


IDENTIFIERS = st.sampled_from(["name", "line", "district", "seq", "opened"])
CONDITIONS = st.recursive(
    st.builds("{} {} {}".format, IDENTIFIERS, st.sampled_from(["=", "<>", "<", ">=", "LIKE", "NOT LIKE"]), st.sampled_from(["'a%'", "3", "''", "'桥'"])),
    lambda inner: st.one_of(st.builds("({} AND {})".format, inner, inner), st.builds("({} OR {})".format, inner, inner), st.builds("NOT ({})".format, inner)),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(CONDITIONS, st.sampled_from(["name", "COUNT(*)", "MAX(seq) - MIN(seq)", "COUNT(DISTINCT name)"]))
def test_any_condition_is_said_without_an_error_on_one_line(condition, selected):
    said = sentence(f"SELECT {selected} FROM dtzpt WHERE {condition} ORDER BY 1")
    assert all(0 < len(text) <= LONGEST and "\n" not in text for text in said.values())


def test_the_rows_event_carries_the_sentence(tmp_path):
    build(tmp_path / "metro.db")
    database = Database("metro", DatabaseSettings(url=f"sqlite:///{tmp_path}/metro.db"))
    verdict = database.judge("SELECT length_km FROM lines WHERE line = '1号线'")
    batch = Encoder("a", 0).batch([database.run(verdict)])
    database.close()
    assert batch is not None
    (line,) = [line for line in batch.sse.decode().split("\n") if line.startswith("data: ")]
    assert json.loads(line.removeprefix("data: "))["explanation"] == {
        "zh": "长度，线路是1号线",
        "en": "length km, where line is 1号线",
    }
