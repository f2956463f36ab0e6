from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text

from demo.metro import build
from prompts.create_table import comments
from prompts.schema import read
from prompts.tables import Column, ForeignKey, Schema, Table, clean


@pytest.fixture
def engine(tmp_path):
    build.build(tmp_path / "metro.db")
    return create_engine(f"sqlite:///{tmp_path / 'metro.db'}")


def test_the_demos_tables_come_with_their_chinese_comments(engine):
    schema = read(engine, ["lines", "dtzpt"])
    assert [table.name for table in schema.tables] == ["lines", "dtzpt"]  # the owner's order
    dtzpt = schema.by_name["dtzpt"]
    assert dtzpt.comment.startswith("地铁站点表")
    assert [(column.name, column.type) for column in dtzpt.columns][:2] == [("id", "INTEGER"), ("name", "TEXT")]
    assert next(column for column in dtzpt.columns if column.name == "line").comment == "线路，如 2号线"
    assert dtzpt.primary_key == ("id",)


def test_without_a_list_every_table_and_view_is_there_by_name(engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW busy AS SELECT station FROM riders"))
    schema = read(engine)
    assert [table.name for table in schema.tables] == ["busy", "dtzpt", "lines", "riders"]
    assert schema.by_name["busy"].is_view


def test_a_table_that_is_not_there_is_told(engine):
    assert read(engine, ["dtzpt", "gone"]).missing == ("gone",)


def test_only_the_columns_that_are_open_are_shown(engine):
    table = read(engine, ["dtzpt"], {"dtzpt": ["name", "line"]}).by_name["dtzpt"]
    assert [column.name for column in table.columns] == ["name", "line"]
    assert table.is_partial and "district" in table.hidden


def test_sample_values_are_shown_only_where_the_owner_says_so(engine):
    columns = {
        column.name: column.samples for column in read(engine, samples={"dtzpt.line": 2}).by_name["dtzpt"].columns
    }
    assert len(columns["line"]) == 2 and columns["line"][0].endswith("号线")
    assert columns["name"] == ()


def test_reading_twice_gives_the_same_schema(engine):
    assert read(engine) == read(engine)


def test_a_hash_changes_with_the_columns_of_its_tables_and_with_no_others():
    def schema(*columns):
        tables = (Table("a", tuple(Column(name, "TEXT") for name in columns)), Table("b", (Column("x", "INT"),)))
        return Schema("sqlite", tables)

    before = schema("x").hash_of(["a"])
    assert schema("x").hash_of(["a"]) == before
    assert schema("x", "y").hash_of(["a"]) != before
    assert schema("x", "y").hash_of(["b"]) == schema("x").hash_of(["b"])
    assert Schema("sqlite", ()).hash_of(["a"]) != before


@pytest.mark.parametrize(
    ("statement", "table", "columns"),
    [
        ("CREATE TABLE t ( -- 表\n  a TEXT, -- 甲\n  b TEXT -- 乙\n)", "表", {"a": "甲", "b": "乙"}),
        ("CREATE TABLE t (\n  -- 甲\n  a TEXT,\n  -- 乙一\n  -- 乙二\n  b TEXT\n)", "", {"a": "甲", "b": "乙一 乙二"}),
        ("-- 表\nCREATE TABLE t (a TEXT /* 甲 */, b TEXT /* 乙 */)", "表", {"a": "甲", "b": "乙"}),
        ("CREATE TABLE t ( -- 表\n  a DECIMAL(10, 2), -- 甲\n  PRIMARY KEY (a) -- x\n)", "表", {"a": "甲"}),
        ("CREATE TABLE t (\n  \"a b\" TEXT, -- 甲\n  `c` TEXT, -- 丙\n  [d] TEXT -- 丁\n)", "",
         {"a b": "甲", "c": "丙", "d": "丁"}),
        ("CREATE TABLE t (\n  a TEXT DEFAULT '-- no', -- 甲\n  b TEXT CHECK (b <> ')') -- 乙\n)", "",
         {"a": "甲", "b": "乙"}),
        ("CREATE TABLE t (a, b)", "", {}),
        ("CREATE TABLE t (\n  a TEXT -- unclosed", "", {"a": "unclosed"}),
        ("", "", {}),
    ],
)  # fmt: skip
def test_comments_are_read_from_a_create_table_statement(statement, table, columns):
    assert comments(statement) == (table, columns)


def test_a_comment_is_one_clean_line_of_bounded_length():
    assert clean("a\nb\t c\u200b\u202e\x1b[31m\0d") == "a b c[31md"
    assert len(clean("长" * 500)) == 120
    assert clean(None) == ""


def test_foreign_keys_are_known(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE a (id INTEGER PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE b (a_id INTEGER REFERENCES a (id))"))
    assert read(engine).by_name["b"].foreign_keys == (ForeignKey(("a_id",), "a", ("id",)),)
