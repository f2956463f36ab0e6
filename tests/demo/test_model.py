"""The finished model answers real questions, judged by what its statements bring back."""

import sqlite3
from pathlib import Path

import pytest

from demo.metro.build import build
from demo.model.evaluate import Model, agree, result, statement
from demo.model.names import stations

FOLDER = Path(__file__).parents[2] / "models" / "metro-sql"

INFORMATION = "SELECT name, line, district, opened, transfer_lines, lng, lat FROM dtzpt WHERE name = '沈塘桥'"
BUSIEST = "SELECT station FROM riders WHERE day = '2024-03-15' ORDER BY entries + exits DESC LIMIT 1"
RANKED = (
    "SELECT d.line, SUM(entries + exits) FROM riders r JOIN dtzpt d ON d.name = r.station"
    " GROUP BY d.line ORDER BY SUM(entries + exits) DESC LIMIT 3"
)
IN_YUHANG = "SELECT COUNT(DISTINCT name) FROM dtzpt WHERE district = '余杭区'"
QUESTIONS = {
    "沈塘桥地铁站的信息": INFORMATION,
    "2号线有多少个站": "SELECT stations FROM lines WHERE line = '2号线'",
    "西湖区有哪些地铁站": "SELECT name FROM dtzpt WHERE district = '西湖区'",
    "最长的线路是哪条": "SELECT line FROM lines ORDER BY length_km DESC LIMIT 1",
    "3月15日客流最大的站是哪个": BUSIEST,
    "How many stations are there in Yuhang District?": IN_YUHANG,
    "Which lines serve Wulin Square?": "SELECT line FROM dtzpt WHERE name = '武林广场'",
}
FOLLOW_UPS = [
    ("2号线有多少个站", "那3号线呢", "SELECT stations FROM lines WHERE line = '3号线'"),
    ("最长的线路是哪条", "最短的呢", "SELECT line FROM lines ORDER BY length_km LIMIT 1"),
    ("各线路客流从高到低", "只要前三", RANKED),
]
DECLINED = ["明天会下雨吗", "从城站到良渚要多少钱", "把沈塘桥的数据删除", "Tell me a story", "你好"]
OPENINGS = {"2号线多长": "您想了解", "How long is Line 2?": "You want to know"}


@pytest.fixture(scope="module")
def model():
    return Model(FOLDER)


@pytest.fixture(scope="module")
def metro(tmp_path_factory):
    path = tmp_path_factory.mktemp("metro") / "metro.db"
    build(path)
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        yield database


def test_the_files_are_small_enough_for_the_repository():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 8_000_000


def test_the_stations_own_names_pass_through_its_tokenizer(model):
    for row in stations():
        for name in (row["name"], row["name_en"]):
            assert model.tokenizer.decode(model.tokenizer(name)["input_ids"]) == name


@pytest.mark.parametrize("declined", ["抱歉，没有天气的资料。", ""])
def test_the_chat_template_shows_the_model_the_last_question_and_the_last_statement(model, declined):
    asked = [
        {"role": "system", "content": "a long schema"},
        {"role": "user", "content": "2号线多长"},
        {"role": "assistant", "content": "您想了解：2号线的长度。\n\n```sql\nSELECT length_km FROM lines\n```"},
        *[{"role": "user", "content": "明天会下雨吗"}, {"role": "assistant", "content": declined}][
            : 2 if declined else 0
        ],
        {"role": "user", "content": "那3号线呢"},
    ]
    prompt = model.tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    before = "<|user|>2号线多长<|assistant|>SELECT length_km FROM lines"
    assert prompt == f"{before}<|user|>那3号线呢<|assistant|>"
    alone = model.tokenizer.apply_chat_template(asked[-1:], add_generation_prompt=True, tokenize=False)
    assert alone == "<|user|>那3号线呢<|assistant|>"


def test_questions_that_are_asked_together_get_the_replies_that_each_gets_alone(model):
    asked = [(question, []) for question in QUESTIONS] + [("那3号线呢", [("2号线多长", model.reply("2号线多长"))])]
    assert model.replies(asked) == [model.reply(*one) for one in asked]


@pytest.mark.parametrize(("question", "gold"), QUESTIONS.items())
def test_a_question_brings_back_the_right_rows(model, metro, question, gold):
    sql = statement(model.reply(question))
    assert sql is not None
    # A figure may stand beside the name.
    assert agree(result(metro, gold)[1], result(metro, sql)[1], ordered=False, more=True)


@pytest.mark.parametrize(("first", "second", "gold"), FOLLOW_UPS)
def test_a_follow_up_brings_back_the_right_rows(model, metro, first, second, gold):
    sql = statement(model.reply(second, [(first, model.reply(first))]))
    assert sql is not None
    assert agree(result(metro, gold)[1], result(metro, sql)[1], ordered=False, more=True)


def test_a_ranking_shows_its_figures(model, metro):
    sql = statement(model.reply("最长的线路是哪条"))
    assert sql is not None
    assert result(metro, sql)[1] == result(metro, "SELECT line, MAX(length_km) FROM lines")[1]


def test_the_opposite_is_not_answered(model, metro):
    sql = statement(model.reply("哪些线不经过西湖区"))
    gold = "SELECT line FROM lines WHERE line NOT IN (SELECT line FROM dtzpt WHERE district = '西湖区')"
    assert sql is not None
    assert agree(result(metro, gold)[1], result(metro, sql)[1], ordered=False)


def test_a_station_that_does_not_exist_gives_no_rows(model, metro):
    sql = statement(model.reply("梧桐浦站在哪个区？"))
    assert sql is not None
    assert result(metro, sql)[1] == []


@pytest.mark.parametrize(
    "question",
    ["明天会下雨吗", "从城站到良渚要多少钱", "把沈塘桥的数据删除", "Tell me a story", "你好", "😀😀"],
)
def test_what_it_cannot_answer_it_declines_without_sql(model, question):
    reply = model.reply(question)
    assert "```" not in reply
    assert len(reply) > 20


@pytest.mark.parametrize(
    ("question", "opening"), [("2号线多长", "您想了解"), ("How long is Line 2?", "You want to know")]
)
def test_the_reply_restates_the_question_in_its_language_before_the_statement(model, question, opening):
    reply = model.reply(question)
    assert reply.startswith(opening)
    assert reply.endswith("\n```")
    assert reply.index(opening) < reply.index("```sql\n")
