"""Faults beside the statement: examples that cannot be read, a memory that fails, URLs and types as they are met."""

from __future__ import annotations

import logging

import pytest

from gateway.settings import SettingsError, parse
from gateway.text2sql.database import Database
from gateway.text2sql.examples import Examples
from prompts.tables import Schema


def configured(tmp_path, **database):
    return parse(
        {
            "default": "m",
            "providers": {"m": {"type": "openai", "model": "m", "base_url": "http://127.0.0.1:1"}},
            "databases": {"x": {"url": "sqlite:///s.db", **database}},
        },
        folder=tmp_path,
        environ={},
    )


@pytest.mark.parametrize(
    ("text", "word"), [(None, "o such file"), ("- {question: 1}", "entry 1"), ("x: [", "YAML"), ("- 7", "entry 1")]
)
def test_examples_that_cannot_be_read_stop_the_start_with_their_key(tmp_path, text, word):
    if text is not None:
        (tmp_path / "e.yaml").write_text(text, "utf-8")
    with pytest.raises(SettingsError) as refused:
        configured(tmp_path, examples="e.yaml")
    assert "databases.x.examples" in str(refused.value) and word in str(refused.value)


def test_a_memory_that_cannot_be_opened_stops_the_start_with_its_key(tmp_path):
    (tmp_path / "text.db").write_text("this is no database, however it may be called", "utf-8")
    for memory in ("nowhere/m.db", "text.db"):
        with pytest.raises(SettingsError, match=r"databases\.x\.memory"):
            configured(tmp_path, memory=memory)
    assert configured(tmp_path, memory="m.db").databases["x"].memory == str(tmp_path / "m.db")
    assert not (tmp_path / "m.db").exists()


def test_a_memory_that_fails_later_is_left_out_with_one_line(tmp_path, caplog):
    settings = configured(tmp_path, memory="m.db").databases["x"]
    examples = Examples("x", settings)
    schema = Schema("sqlite", ())
    try:
        assert examples.nearest("有几站", schema) == []
        examples._store().close()
        with caplog.at_level(logging.WARNING):
            assert examples.nearest("有几站", schema) == [] and examples.nearest("有几站", schema) == []
        assert len([line for line in caplog.records if "memory" in line.message]) == 1
    finally:
        examples.close()


def test_postgres_is_postgresql(tmp_path):
    url = configured(tmp_path, url="postgres://reader@127.0.0.1/shop").databases["x"].url
    assert url == "postgresql://reader@127.0.0.1/shop"
    assert (
        Database("x", configured(tmp_path, url="postgres://r@127.0.0.1/shop").databases["x"]).dialect.name
        == "postgresql"
    )


def test_a_partitioned_table_is_one_table_and_an_enum_shows_its_values(postgresql_server, opened, recwarn):
    postgresql_server.own("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
    postgresql_server.own("CREATE TABLE felt (day date, how mood, p point) PARTITION BY RANGE (day)")
    postgresql_server.own("CREATE TABLE felt_2024 PARTITION OF felt FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')")
    postgresql_server.own("INSERT INTO felt VALUES ('2024-03-01', 'ok')")
    try:
        database = opened(postgresql_server, "owner", tables=None, columns={})
        schema = database.schema()
        assert "felt" in schema.by_name and "felt_2024" not in schema.by_name
        types = {column.name: column.type for column in schema.by_name["felt"].columns}
        assert types["how"] == "ENUM('sad', 'ok', 'happy')"
        rows = database.run(database.judge("SELECT how, count(*) FROM felt WHERE how = 'ok' GROUP BY how"))
        assert rows.rows == [["ok", 1]]
        assert [warning for warning in recwarn if "recognize" in str(warning.message)] == []
    finally:
        postgresql_server.own("DROP TABLE felt")
        postgresql_server.own("DROP TYPE mood")


def test_a_bit_of_mysqls_is_a_boolean(mysql_server, opened):
    mysql_server.own("CREATE TABLE flags (id INT, on_sale BIT(1), bits BIT(9))")
    mysql_server.own("INSERT INTO flags VALUES (1, b'1', b'101'), (2, b'0', b'1'), (3, NULL, NULL)")
    try:
        database = opened(mysql_server, "owner", tables=["flags"], columns={})
        rows = database.run(database.judge("SELECT on_sale, bits FROM flags ORDER BY id"))
        assert [row[0] for row in rows.rows] == [True, False, None]
        assert rows.columns[0]["type"] == "boolean" and rows.columns[1]["type"] == "bytes"
    finally:
        mysql_server.own("DROP TABLE flags")
