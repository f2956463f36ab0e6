"""MySQL's and MariaDB's tables from their information_schema, which shows exactly what the role may see."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Engine, text

from prompts.tables import Column, ForeignKey, Table, clean

TABLES = "SELECT table_name, table_type, table_comment FROM information_schema.tables WHERE table_schema = :name"
COLUMNS = """SELECT table_name, column_name, column_type, column_comment, column_key FROM information_schema.columns
    WHERE table_schema = :name ORDER BY table_name, ordinal_position"""
KEYS = """SELECT table_name, constraint_name, column_name, referenced_table_schema, referenced_table_name,
    referenced_column_name FROM information_schema.key_column_usage
    WHERE table_schema = :name AND referenced_table_name IS NOT NULL
    ORDER BY table_name, constraint_name, ordinal_position"""


def tables(engine: Engine, database: str) -> list[Table]:
    """The tables and views of `database` that the role may see."""
    with engine.connect() as connection:
        described, columns, keys = (
            connection.execute(text(query), {"name": database}).fetchall() for query in (TABLES, COLUMNS, KEYS)
        )
    columns_of: dict[str, list[Any]] = defaultdict(list)
    for row in columns:
        columns_of[row[0]].append(row)
    keys_of: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in keys:
        keys_of[row[0]][row[1]].append(row)
    tables = []
    for name, kind, comment in described:
        own = columns_of[name]
        tables.append(
            Table(
                name=name,
                columns=tuple(Column(row[1], _text(row[2]), clean(_text(row[3]))) for row in own),
                comment="" if kind == "VIEW" else clean(_text(comment)),
                primary_key=tuple(row[1] for row in own if row[4] == "PRI"),
                foreign_keys=tuple(
                    ForeignKey(
                        tuple(row[2] for row in rows),
                        rows[0][4] if rows[0][3] == database else f"{rows[0][3]}.{rows[0][4]}",
                        tuple(row[5] for row in rows),
                    )
                    for rows in keys_of[name].values()
                ),
                is_view=kind == "VIEW",
            )
        )
    return tables


def _text(value: str | bytes | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
