from __future__ import annotations

import random
import time

import pytest

from gateway.text2sql.extract import OpenStatement, looks_like_sql, statements

GOOD = "SELECT name, city FROM customers ORDER BY id"
TABLES = ["customers", "dtzpt"]
CASES = [
    # (reply, its statement)
    ("问题：…\n```sql\nSELECT 1\n```\n", "SELECT 1"),
    ("```SQL\nselect 1;\n```", "select 1;"),
    ("```sqlite\nselect 1\n```", "select 1"),
    ('``` sql title="x"\nselect 1\n```', "select 1"),
    ("```{sql}\nselect 1\n```", "select 1"),
    ("```{.sql .numberLines}\nselect 1\n```", "select 1"),
    ("~~~sql\nselect 1\n~~~", "select 1"),
    ("````sql\nselect '```'\n````", "select '```'"),
    ("1. 如下：\n   ```sql\n   select 1\n   ```", "select 1"),
    ("> ```sql\n> select 1\n> ```", "select 1"),
    (f"> ```sql\n> {GOOD}\n> ```", GOOD),
    ("答案：```sql\nselect 1\n```", "select 1"),
    ("The SQL is ```sql select 1``` and that is it", "select 1"),
    ("```\nselect 1\n```", "select 1"),
    ("```\n-- 注释\nwith a as (select 1) select * from a\n```", "-- 注释\nwith a as (select 1) select * from a"),
    ("```\n(SELECT 1) UNION (SELECT 2)\n```", "(SELECT 1) UNION (SELECT 2)"),
    (f"```SQL语句\n{GOOD}\n```", GOOD),
    (f"```plsql\n{GOOD}\n```", GOOD),
    (f"```text\n{GOOD}\n```", GOOD),
    (f"```查询\n{GOOD}\n```", GOOD),
    ("```\nDROP TABLE x\n```", None),
    ("```sql\nDROP TABLE x\n```", "DROP TABLE x"),
    ("```python\nselect = 1\n```\n```sql\nselect 2\n```", "select 2"),
    ("```sql\n```\n```sql\nselect 2\n```", "select 2"),
    ("```sql\r\nselect 1\r\n```\r\n", "select 1"),
    ("```sql\nselect 1", "select 1"),
    ("```sql\nselect 1\n``", "select 1"),
    # the last query counts
    ("```sql\nSELECT 1\n```\n```sql\nSELECT 2\n```", "SELECT 2"),
    (f"先写一个草稿：\n```sql\nSELECT * FROM customers\n```\n最终 SQL：\n```sql\n{GOOD}\n```", GOOD),
    (f"表结构：\n```sql\nCREATE TABLE customers (id INT);\n```\n查询：\n```sql\n{GOOD}\n```", GOOD),
    (f"查询：\n```sql\n{GOOD}\n```\n建表：\n```sql\nCREATE TABLE customers (id INT);\n```", GOOD),
    (f"```sql\nSELECT nm FROM customers\n```\n抱歉，列名应为 name：\n```sql\n{GOOD}\n```", GOOD),
    (f"```sql\n{GOOD}\n```\n`SELECT name FROM dtzpt` 只是例子。", GOOD),
    (f"```sql\n{GOOD}\n```\n```python\nprint(1)\n```\n```\nname | city\n```", GOOD),
    # thoughts
    (f"<think>\n试试：\n```sql\nSELECT 1\n```\n</think>\n```sql\n{GOOD}\n```", GOOD),
    (f"试试 SELECT 1 FROM customers;\n</think>\n```sql\n{GOOD}\n```", GOOD),
    (f"```sql\n{GOOD}\n```\n<think>\n```sql\nSELECT 1\n```\n</think>", GOOD),
    ("<think>\n```sql\nSELECT 1\n```\n</think>\n没有数据。", None),
    ("<think>\n```sql\nSELECT 1\n```\n", None),
    # names, members, tags
    (f"Question: x\nSQLQuery: {GOOD}", GOOD),
    (f"SQL: {GOOD};", GOOD),
    (f"SQL 语句：{GOOD}；", GOOD),
    (f"查询语句如下\n语句：\n{GOOD}\n\n以上。", GOOD),
    (f'{{"thoughts": "查客户", "sql": "{GOOD}"}}', GOOD),
    (f'```json\n{{"sql": "{GOOD}", "ok": true}}\n```', GOOD),
    ('{"SQL": "SELECT name\\nFROM customers WHERE city = \\"x\\""}', 'SELECT name\nFROM customers WHERE city = "x"'),
    (f"<sql>{GOOD}</sql>", GOOD),
    ("<code>SELECT name FROM customers WHERE id &lt; 3</code>", "SELECT name FROM customers WHERE id < 3"),
    (f"语句是 `{GOOD}`。", GOOD),
    # unfenced
    (f"可以用下面的语句：{GOOD};", GOOD),
    (GOOD.lower(), GOOD.lower()),
    (f"{GOOD};\n\n这条语句按编号列出客户。", GOOD),
    (f"{GOOD}\n\n这条语句按编号列出客户。", GOOD),
    ("SELECT name\n\nFROM customers\nWHERE id = 1", "SELECT name\n\nFROM customers\nWHERE id = 1"),
    ("The answer:\nSELECT name\nFROM dtzpt", "SELECT name\nFROM dtzpt"),
    ("The answer:\nselect name from dtzpt;", "select name from dtzpt"),
    ("WITH a AS (SELECT 1 AS x)\nSELECT x FROM a;\n", "WITH a AS (SELECT 1 AS x)\nSELECT x FROM a"),
    ("SELECT name FROM customers WHERE city = 'a;b'", "SELECT name FROM customers WHERE city = 'a;b'"),
    ("SELECT 1", "SELECT 1"),
    # what stands around a statement
    (f"```sql\n\ufeff{GOOD}\n```", GOOD),
    (f"```sql\nUSE shop;\n{GOOD}\n```", GOOD),
    (f"```sql\nSET time_zone = '+08:00';\nUSE shop;\n{GOOD}\n```", GOOD),
    (f"```\nshop=# {GOOD};\n```", f"{GOOD};"),
    ("```\nmysql> SELECT name\n    -> FROM customers;\n```", "SELECT name\nFROM customers;"),
    ("```sql\n1 SELECT name\n2 FROM customers\n```", "SELECT name\nFROM customers"),
    ("```sql\n1. SELECT name\n2. FROM customers\n```", "SELECT name\nFROM customers"),
    (f"```sql\nSQL: {GOOD}\n```", GOOD),
    (f"```sql\n\\c shop\n{GOOD};\n```", f"{GOOD};"),
    (f"```sql\nGO\n{GOOD}\nGO\n```", GOOD),
    (f"```sql\n{GOOD}\\G\n```", GOOD),
    (f"```sql\nBEGIN;\n{GOOD};\nCOMMIT;\n```", f"{GOOD};"),
    (f"```sql\n### SQL\n# 查询\n// 查询\n{GOOD}\n```", GOOD),
    (f"```sql\n[SQL] {GOOD}\n```", GOOD),
    (f"```sql\n<sql>{GOOD}</sql>\n```", GOOD),
    (f"```sql\n“{GOOD}”\n```", GOOD),
    (f"```\nsql\n{GOOD}\n```", GOOD),
    (f"```sql\n+ {GOOD}\n```", GOOD),
    # several queries of one block, and one block of something else
    (f"```sql\nSELECT 1;\n{GOOD};\n```", f"{GOOD};"),
    ("```sql\nSELECT ';' AS a; -- x; y\nSELECT 2\n```", "-- x; y\nSELECT 2"),
    ("```sql\nSELECT 1; DROP TABLE x;\n```", "SELECT 1; DROP TABLE x;"),
    ("```sql\nDROP TABLE x; SELECT 1;\n```", "DROP TABLE x; SELECT 1;"),
    (f'```json\n{{"reason": "x", "final_sql": "{GOOD}"}}\n```', GOOD),
    (f"{{'sql': '{GOOD}'}}", GOOD),
    (f"```yaml\nsql: |\n  {GOOD}\n```", GOOD),
    (f'```python\ncursor.execute("""{GOOD}""")\n```', GOOD),
    (f'```bash\nsqlite3 shop.db "{GOOD}"\n```', GOOD),
    (
        "```sql\nINSERT INTO x VALUES ('SELECT name FROM customers')\n```",
        "INSERT INTO x VALUES ('SELECT name FROM customers')",
    ),
    (f"\\`\\`\\`sql\n{GOOD}\n\\`\\`\\`", GOOD),
    # where words go on
    (f"<answer>{GOOD}</answer>", GOOD),
    (f"[SQL]\n{GOOD}\n[/SQL]", GOOD),
    (f"<|sql|>{GOOD}<|/sql|>", GOOD),
    (f"【SQL】\n{GOOD}\n【解释】按编号", GOOD),
    (f'Action Input: "{GOOD}"\nObservation:', GOOD),
    (f"SQLQuery: {GOOD}\nSQLResult: [('甲','杭州')]\nAnswer: 甲", GOOD),
    (f"{GOOD}\n解释：按编号列出客户。", GOOD),
    (f"{GOOD}\nThis lists all customers.", GOOD),
    (f"{GOOD} 这条语句按编号列出", GOOD),
    ("SELECT\n姓名,\n城市\nFROM customers\nWhere id = 1;", "SELECT\n姓名,\n城市\nFROM customers\nWhere id = 1"),
    ("SELECT name, -- 姓名；客户\n city FROM customers;", "SELECT name, -- 姓名；客户\n city FROM customers"),
    (
        "WITH t AS (\n\n  SELECT name\n\n  FROM customers\n\n)\n\nSELECT * FROM t;",
        "WITH t AS (\n\n  SELECT name\n\n  FROM customers\n\n)\n\nSELECT * FROM t",
    ),
    # prose
    ("你好！有什么可以帮您？", None),
    ("Please select the station from the list", None),
    ("Select the station", None),
    ("With pleasure: the tables cannot answer this.", None),
    ("select the `name`;", None),
    ("Use SELECT to choose columns FROM the table that you need.", None),
    ("use `select 1` here", None),
    ("", None),
]


def found(reply: str, cut: bool = False) -> str | None:
    given = statements(reply, TABLES, cut=cut)
    return given[-1] if given else None


@pytest.mark.parametrize(("reply", "statement"), CASES)
def test_the_statement_that_a_person_would_point_at_is_found(reply, statement):
    assert found(reply) == statement


def test_drafts_are_given_in_order_before_the_last_one():
    reply = "```sql\nSELECT 1\n```\n```sql\nSELECT 2\n```\n```sql\nDROP TABLE x\n```\n```sql\nSELECT 3\n```"
    assert statements(reply) == ["SELECT 1", "SELECT 2", "SELECT 3"]


@pytest.mark.parametrize("reply", ["```sql\nselect name from dtz", "SELECT name FROM dtzpt"])
def test_a_statement_that_the_replys_end_cut_short_is_none(reply):
    assert found(reply, cut=True) is None


def test_a_reply_that_looks_like_sql_is_known_for_one():
    assert looks_like_sql("I would select the name\nfrom the table of stations")
    assert not looks_like_sql("<think>SELECT 1 FROM x</think> no")
    assert not looks_like_sql("你好")


def test_what_has_come_of_an_open_block_can_be_read_however_the_reply_is_cut():
    reply = "x\n```sql\nSELECT name FROM t\n```\nand\n```mysql\nSELECT 2"
    for seed in range(50):
        rng, follower, rest, seen = random.Random(seed), OpenStatement(), reply, []
        while rest:
            size = rng.randint(1, 9)
            follower.feed(rest[:size])
            seen.append(follower.partial)
            rest = rest[size:]
        assert seen[-1] == "SELECT 2"
        assert all("SELECT name FROM t\n``".startswith(part) or "SELECT 2".startswith(part) for part in seen)


def test_a_long_reply_costs_time_in_its_length_only():
    follower = OpenStatement()
    for _ in range(20_000):
        follower.feed("一段没有换行的文字，")
    assert follower.partial == ""


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param("```\n" + "/**/" * 2_000 + "x\n```", id="comments that no query follows"),
        pytest.param("SELECT" + " " * 50_000 + "`", id="blanks"),
        pytest.param("select\n" * 20_000, id="lines without an end"),
        pytest.param("<sql>" * 20_000, id="tags that do not close"),
        pytest.param('"sql": "' * 20_000, id="members that do not close"),
        pytest.param("SQL: select " * 20_000, id="names"),
        pytest.param("<think>" * 20_000, id="thoughts"),
        pytest.param("> " * 50_000, id="quotations"),
        pytest.param("use a" * 50_000, id="settings"),
        pytest.param("```sql\nSET " + "'a'" * 50_000 + "\n```", id="a setting of texts"),
        pytest.param("```\n" + "".join(f"{n} x\n" for n in range(20_000)) + "```", id="numbered lines"),
        pytest.param("SELECT '" * 20_000, id="texts that do not close"),
        pytest.param("`SELECT " * 20_000, id="code that does not close"),
        pytest.param("```sql x " * 20_000, id="fences in a line"),
    ],
)
def test_no_reply_takes_long_to_search(reply):
    begun = time.process_time()
    found(reply)
    looks_like_sql(reply)
    # Milliseconds; with a search that tries again and again it would be minutes, or years.
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "tag",
    [
        "</think>",
        "</thought>",
        "</seed:think>",
        "<|end_of_thought|>",
        "[/THINK]",
        "◁/think▷",
        "</reason>",
        "</THINK>",
        "</mm:think>",
        "<unused95>",
        "<|END_THINKING|>",
        "<channel|>",
    ],
)
def test_nothing_before_a_tag_that_closes_a_thought_is_a_statement(tag):
    draft, answer = "```sql\nSELECT 1 FROM draft\n```\n", "```sql\nSELECT 2 FROM t\n```"
    assert statements(draft + tag + answer) == ["SELECT 2 FROM t"]
    assert statements(draft + tag + "I cannot say.") == []


def test_no_channel_of_gpt_oss_but_the_final_one_holds_a_statement():
    draft, answer = "```sql\nSELECT 1 FROM draft\n```\n", "```sql\nSELECT 2 FROM t\n```"
    thought = f"<|channel|>analysis<|message|>{draft}<|end|>"
    assert statements(f"{thought}<|start|>assistant<|channel|>final<|message|>{answer}<|return|>") == [
        "SELECT 2 FROM t"
    ]
    assert statements(thought) == []
