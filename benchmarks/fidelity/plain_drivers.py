"""A throwaway database on each server: filled with made-up rows, and asked by a plain driver, without the gateway."""

from __future__ import annotations

import contextlib
import datetime
import os
import random
import re
import secrets
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pymysql
from sqlalchemy import make_url

from benchmarks.fidelity.sets import Column, Schema
from gateway.text2sql.databases.postgresql_values import load_into

ROWS = 60
ACCEPTED = "a throwaway database of a benchmark, made by its owner"
KINDS = {
    "sqlite": {"integer": "INTEGER", "number": "REAL", "date": "TEXT", "text": "TEXT"},
    "postgresql": {"integer": "INTEGER", "number": "NUMERIC(12, 2)", "date": "DATE", "text": "TEXT"},
    "mysql": {"integer": "INTEGER", "number": "DECIMAL(12, 2)", "date": "DATE", "text": "VARCHAR(200)"},
}


class Plain(Protocol):
    """url: for the gateway."""

    url: str

    def create(self, statement: str) -> None: ...

    def fill(self, table: str, names: list[str], rows: list[tuple[Any, ...]]) -> None: ...

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the driver gives for the statement as it came; raises the driver's error."""


class SQLite:
    quote = '"'

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / f"{name}.db"
        self.url = f"sqlite:///{path}"
        self._connection = sqlite3.connect(path, isolation_level=None)

    def create(self, statement: str) -> None:
        self._connection.executescript(statement)

    def fill(self, table: str, names: list[str], rows: list[tuple[Any, ...]]) -> None:
        places = ", ".join("?" * len(names))
        self._connection.execute("BEGIN")
        self._connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)
        self._connection.execute("COMMIT")

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement.strip().rstrip(";")).fetchall()

    def close(self) -> None:
        self._connection.close()


class PostgreSQL:
    quote = '"'

    def __init__(self, _folder: Path, name: str) -> None:
        server = os.environ.get("SLUICE_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
        self._server = server
        self._name = f"fidelity_{name}_{secrets.token_hex(3)}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{self._name}"')
        self.url = make_url(server).set(database=self._name).render_as_string(hide_password=False)
        self._connection = psycopg.connect(self.url, autocommit=True)
        # Python has no interval of months: without this the driver counts 30 days for each.
        load_into(self._connection)

    def tables(self) -> list[str]:
        """All tables, those of other schemas with the schema's name."""
        listed = self._connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        return [table if schema == "public" else f"{schema}.{table}" for schema, table in listed]

    def create(self, statement: str) -> None:
        self._connection.execute(statement)

    def fill(self, table: str, names: list[str], rows: list[tuple[Any, ...]]) -> None:
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row(row)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        self._connection.execute("SET statement_timeout = 20000")
        return self._connection.execute(statement).fetchall()

    def close(self) -> None:
        self._connection.close()
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{self._name}" WITH (FORCE)')


class MySQL:
    quote = "`"

    def __init__(self, _folder: Path, name: str) -> None:
        server = make_url(os.environ.get("SLUICE_TEST_MYSQL", "mysql://root@127.0.0.1:3306"))
        self._name = f"fidelity_{name}_{secrets.token_hex(3)}"
        self.url = server.set(database=self._name).render_as_string(hide_password=False)
        self._connection = pymysql.connect(
            host=server.host, port=server.port or 3306, user=server.username, password=server.password or "",
            charset="utf8mb4", autocommit=True,
        )  # fmt: skip
        self.create(f"CREATE DATABASE `{self._name}` CHARACTER SET utf8mb4")
        self._connection.select_db(self._name)

    def create(self, statement: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def fill(self, table: str, names: list[str], rows: list[tuple[Any, ...]]) -> None:
        places = ", ".join(["%s"] * len(names))
        with self._connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", rows)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute("SET max_statement_time = 20")
            cursor.execute(statement)
            return list(cursor.fetchall())

    def close(self) -> None:
        self.create(f"DROP DATABASE `{self._name}`")
        self._connection.close()


DRIVERS = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MySQL}


@contextlib.contextmanager
def opened(server: str, schema: Schema, statements: list[str]) -> Iterator[Any]:
    """The database of `schema` on `server`, with rows that the statements' own literals are likely to find."""
    with tempfile.TemporaryDirectory() as folder:
        plain = DRIVERS[server](Path(folder), re.sub(r"\W", "_", schema.name)[:30])
        try:
            if schema.script:
                plain.create(schema.script)
            values = _Values(statements)
            for table, columns in schema.tables.items():
                _fill(plain, server, table, columns, values)
            yield plain
        finally:
            plain.close()


class _Values:
    def __init__(self, statements: list[str]) -> None:
        self.random = random.Random(7)
        texts = {text for statement in statements for text in re.findall(r"'([^'%_]{1,40})'", statement)}
        self._texts = sorted(texts)[:400] or ["a", "b"]

    def of(self, column: Column) -> Any:
        if self.random.random() < 0.05:
            return None
        if column.kind == "integer":
            is_year = "year" in column.name.lower()
            return self.random.randint(1995, 2012) if is_year else self.random.randint(1, 20)
        if column.kind == "number":
            return round(self.random.uniform(0, 200), 2)
        if column.kind == "date":
            return (datetime.date(1998, 1, 1) + datetime.timedelta(self.random.randint(0, 1800))).isoformat()
        return self.random.choice(self._texts)[:200]


def _fill(plain: Any, server: str, table: str, columns: list[Column], values: _Values) -> None:
    def quoted(name: str) -> str:
        name = name.lower() if server == "postgresql" else name
        return f"{plain.quote}{name}{plain.quote}"

    defined = ", ".join(f"{quoted(column.name)} {KINDS[server][column.kind]}" for column in columns)
    plain.create(f"CREATE TABLE {quoted(table)} ({defined})")
    rows = [tuple(values.of(column) for column in columns) for _ in range(ROWS)]
    plain.fill(quoted(table), [quoted(column.name) for column in columns], rows)
