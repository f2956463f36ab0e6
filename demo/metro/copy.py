"""Copy the demo database to PostgreSQL, MySQL or MariaDB: the same tables, comments, indexes and rows.

    python -m demo.metro.build --url postgresql://me@localhost/metro
    python -m demo.metro.build --url mysql://me:secret@localhost/metro

The database has to exist; the three tables there are replaced in one go (in MySQL, which cannot, one after the other).
Text compares byte by byte, as in SQLite, so that ORDER BY gives one order everywhere; dates stay text, so that
`day LIKE '2024-03-%'` works everywhere. English names are found whatever their case in MySQL alone: PostgreSQL's
collations that could do it forbid LIKE.
"""

import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Double, MetaData, Text, create_engine, inspect, make_url
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.pool import NullPool

from demo.metro import build
from gateway.text2sql.databases.create_table import comments

DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mysql+pymysql"}
# The longest text is a station's English name of 43 characters.
LETTERS = 100
BATCH = 5_000


def copy(url: str) -> dict[str, int]:
    """Replace the demo's tables in the database at `url`; returns how many rows each has.

    Raises ValueError for a server that is none of these, or where a table of the same name is not the demo's, and
    sqlalchemy.exc.SQLAlchemyError for what the server refuses.
    """
    parsed = make_url(url)
    server = parsed.get_backend_name()
    if server not in DRIVERS:
        raise ValueError(f"a copy goes to {', '.join(DRIVERS)}, not to {server}; for SQLite give a path")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metro.db"
        build.build(path)
        metadata = MetaData()
        metadata.reflect(source := create_engine(f"sqlite:///{path}", poolclass=NullPool))
        source.dispose()
        with sqlite3.connect(path) as database:
            described = dict(database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
            rows = {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in described}
        database.close()
    for name, table in metadata.tables.items():
        _fit(table, described[name])
    target = create_engine(parsed.set(drivername=DRIVERS[server]), poolclass=NullPool)
    try:
        with target.begin() as connection:
            _only_ours(connection, metadata)
            metadata.drop_all(connection)
            metadata.create_all(connection)
            for table in metadata.tables.values():
                names = [column.name for column in table.columns]
                for start in range(0, len(rows[table.name]), BATCH):
                    some = rows[table.name][start : start + BATCH]
                    connection.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in some])
    finally:
        target.dispose()
    return {name: len(rows[name]) for name in metadata.tables}


def _only_ours(connection: Connection, metadata: MetaData) -> None:
    there = inspect(connection)
    for name, table in metadata.tables.items():
        if there.has_table(name) and there.get_table_comment(name)["text"] != table.comment:
            raise ValueError(f"there is a table {name} already that is not the demo's")


def _fit(table: Any, statement: str) -> None:
    """Give a table that was read from SQLite its comments, and types that mean the same on the other servers."""
    table.comment, column_comments = comments(statement)
    table.dialect_options["mysql"]["default_charset"] = "utf8mb4"
    for column in table.columns:
        column.comment = column_comments[column.name]
        column.autoincrement = False
        if isinstance(column.type, sqlite.REAL):
            column.type = Double()  # REAL has half the digits there
        elif isinstance(column.type, sqlite.TEXT):
            collation = "utf8mb4_general_ci" if column.name == "name_en" else "utf8mb4_bin"
            # MySQL makes no index over TEXT.
            letters = mysql.VARCHAR(LETTERS, charset="utf8mb4", collation=collation)
            column.type = Text(collation="C").with_variant(letters, "mysql")
