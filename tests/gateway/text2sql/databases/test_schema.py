from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text

from demo.metro import build
from gateway.text2sql.databases.create_table import comments
from gateway.text2sql.databases.schema import Unmatched, read
from prompts.render import table_text
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


@pytest.fixture
def shop(tmp_path):
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        for sql in (
            "CREATE TABLE secret (note TEXT PRIMARY KEY)",
            "CREATE TABLE staff (badge TEXT PRIMARY KEY, name TEXT UNIQUE, salary INT)",
            'CREATE TABLE orders (id INTEGER PRIMARY KEY, "增长%" INT, "a :b" TEXT, note TEXT REFERENCES secret (note),'
            " badge TEXT REFERENCES staff (badge), name TEXT REFERENCES staff (name))",
            "INSERT INTO orders (\"增长%\", \"a :b\") VALUES (7, 'x'), (7, 'y')",
            "CREATE VIEW broken AS SELECT nowhere AS x FROM orders",
        ):
            connection.exec_driver_sql(sql)
    return engine


def test_the_keys_of_columns_and_samples_name_tables_as_the_list_of_tables_does(shop):
    for name in ("staff", "main.staff"):
        table = read(shop, [name], {"main.staff": ["name"]}, {"main.staff.name": 1}).by_name["staff"]
        assert table.is_partial and table.hidden == ("badge", "salary")


@pytest.mark.parametrize(
    ("columns", "samples", "told"),
    [
        ({"Staff": ["name"]}, {}, "columns.Staff"),
        ({"public.staff": ["name"]}, {}, "columns.public.staff"),
        ({"secret": ["note"]}, {}, "columns.secret"),
        ({}, {"Staff.name": 1}, "samples.Staff.name"),
        ({}, {"staff.nmae": 1}, "samples.staff.nmae"),
        ({"staff": ["name"]}, {"staff.salary": 1}, "samples.staff.salary"),
    ],
)
def test_a_key_that_names_nothing_is_no_key_that_is_left_out(shop, columns, samples, told):
    with pytest.raises(Unmatched) as unmatched:
        read(shop, ["staff", "orders"], columns, samples)
    assert told in str(unmatched.value)
    assert "salary" not in str(unmatched.value).replace(told, "")


def test_a_key_of_a_table_that_is_gone_for_a_while_waits_for_it(shop):
    assert read(shop, ["orders", "gone"], {"gone": ["x"]}, {"gone.x": 1}).missing == ("gone",)


def test_keys_tell_nothing_of_what_is_closed(shop):
    schema = read(shop, ["orders", "staff"], {"staff": ["name"]})
    assert schema.by_name["staff"].primary_key == ()
    assert schema.by_name["orders"].foreign_keys == (ForeignKey(("name",), "staff", ("name",)),)
    shown = "".join(table_text(table, "sqlite") for table in schema.tables)
    assert "secret" not in shown and "REFERENCES staff (name)" in shown
    assert "badge" not in table_text(schema.by_name["staff"], "sqlite")


def test_samples_of_names_with_signs_are_read_and_one_that_cannot_be_stops_nothing(shop, caplog):
    samples = {"orders.增长%": 2, "orders.a :b": 2, "broken.x": 1}
    with shop.begin() as connection:
        connection.exec_driver_sql("DROP VIEW broken")
        connection.exec_driver_sql("CREATE VIEW broken AS SELECT abs(-9223372036854775808 + id * 0) AS x FROM orders")
    schema = read(shop, None, None, samples)
    told = {column.name: column.samples for table in schema.tables for column in table.columns if column.samples}
    assert told == {"增长%": ("7",), "a :b": ("x", "y")}
    assert "broken.x" in caplog.text


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql", "mariadb"])
def test_a_name_with_a_percent_sign_is_shown_as_it_is(dialect):
    assert "增长%`" in table_text(Table("t", (Column("增长%", "INT"),)), dialect).replace('"', "`")
