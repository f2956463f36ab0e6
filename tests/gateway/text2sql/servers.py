"""Throwaway databases on real servers: the demo's tables, and beside them what nobody may read, call or change.

`secret` is not open, nor is `staff.salary`; both hold MARKER. Functions, procedures and sequences write when called.
A server that is not there is skipped; SLUICE_TEST_POSTGRESQL and SLUICE_TEST_MYSQL name other ones.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psycopg
import pymysql
from sqlalchemy import URL, make_url

from demo.metro import build
from gateway.settings import DatabaseSettings

MARKER = "TOPSECRET-7f3a"
TABLES = ["dtzpt", "lines", "riders", "staff", "busy"]
COLUMNS = {"staff": ["name"]}
ACCEPTED = "accepted in a test, to see what the other layers stop"
VIEW = "CREATE VIEW busy AS SELECT station, SUM(entries) AS entries FROM riders GROUP BY station"

COMMENTS = {"dtzpt": "地铁站点表", "lines": "线路表", "riders": "日客流表"}


class Server(Protocol):
    dialect: str
    reader_url: str
    owner_url: str

    def digest(self) -> str:
        """What is in the database, as a digest: it changes when anything does."""

    def running(self) -> int:
        """How many statements the gateway has running there."""

    def own(self, statement: str) -> None:
        """Run a statement as the owner."""

    def drop(self) -> None: ...


def settings(url: str, **more: Any) -> DatabaseSettings:
    """The configuration of a test database."""
    return DatabaseSettings(**({"url": url, "tables": TABLES, "columns": COLUMNS} | more))


def demo_rows(folder: Path) -> dict[str, tuple[list[str], list[tuple[Any, ...]]]]:
    """table → the names of its columns, its rows."""
    path = folder / "rows.db"
    build.build(path)
    with sqlite3.connect(path) as connection:
        return {
            table: (
                [column[1] for column in connection.execute(f"PRAGMA table_info({table})")],
                connection.execute(f"SELECT * FROM {table}").fetchall(),
            )
            for table in COMMENTS
        }


@dataclass(frozen=True)
class Runner:
    """A process that runs SQLite's statements, as the system lists it; `peak_kib` is the most memory that it had."""

    pid: int
    state: str
    peak_kib: int


def runners(path: Path) -> list[Runner]:
    """The processes that run statements of the file at `path`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            if str(path) not in words or not any(word.endswith("sqlite_runner.py") for word in words):
                continue
            lines = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines() if ":\t" in line)
        except (OSError, ValueError):
            continue  # it has ended meanwhile
        state = lines["State"][0]
        if state not in "ZX":
            found.append(Runner(int(folder.name), state, int(lines.get("VmHWM", "0 kB").split()[0])))
    return found


class SQLite:
    dialect = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "metro.db"
        build.build(self.path)
        with sqlite3.connect(self.path) as connection:
            connection.executescript(
                f"CREATE TABLE secret (note TEXT); INSERT INTO secret VALUES ('{MARKER}');"
                f"CREATE TABLE staff (name TEXT, salary TEXT); INSERT INTO staff VALUES ('Li', '{MARKER}'); {VIEW};"
            )
        self.reader_url = self.owner_url = f"sqlite:///{self.path}"

    def digest(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest() + str(sorted(os.listdir(self.path.parent)))

    def running(self) -> int:
        """The processes that run statements of this file, and do not wait for the next one."""
        return sum(process.state != "S" for process in runners(self.path))

    def own(self, statement: str) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute(statement)

    def drop(self) -> None:
        pass


DEFINITIONS = """
CREATE TABLE dtzpt (id {int} PRIMARY KEY, name {text} NOT NULL, name_en {text} NOT NULL, line {text} NOT NULL,
    seq {int} NOT NULL, district {text} NOT NULL, opened {text} NOT NULL, transfer_lines {text} NOT NULL,
    lng {real} NOT NULL, lat {real} NOT NULL);
CREATE TABLE lines (line {text} PRIMARY KEY, color {text} NOT NULL, opened {text} NOT NULL, length_km {real} NOT NULL,
    first_station {text} NOT NULL, last_station {text} NOT NULL, stations {int} NOT NULL);
CREATE TABLE riders (day {text} NOT NULL, station {text} NOT NULL, entries {int} NOT NULL, exits {int} NOT NULL);
CREATE TABLE secret (note {text});
CREATE TABLE staff (name {text}, salary {text});
CREATE TABLE calls (who {text});
CREATE SEQUENCE counter
"""


@dataclass
class PostgreSQL:
    rows: dict[str, tuple[list[str], list[tuple[Any, ...]]]]
    dialect: str = "postgresql"
    name: str = field(default_factory=lambda: f"sluice_test_{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.server = make_url(
            os.environ.get("SLUICE_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres")
        )
        self._ask(self.server, f"CREATE DATABASE {self.name}")
        self.owner = self.server.set(database=self.name)
        with self.connect() as connection:
            connection.execute(DEFINITIONS.format(int="INTEGER", text="TEXT", real="DOUBLE PRECISION"))
            for table, (columns, rows) in self.rows.items():
                with (
                    connection.cursor() as cursor,
                    cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy,
                ):
                    for row in rows:
                        copy.write_row(row)
                connection.execute(f"COMMENT ON TABLE {table} IS '{COMMENTS[table]}'")
            connection.execute(
                f"INSERT INTO secret VALUES ('{MARKER}'); INSERT INTO staff VALUES ('Li', '{MARKER}'); {VIEW};"
                "CREATE FUNCTION write_line(who TEXT) RETURNS BOOLEAN SECURITY DEFINER LANGUAGE sql "
                "AS $$ INSERT INTO calls VALUES (who) RETURNING true $$;"
                "CREATE PROCEDURE write_all() LANGUAGE sql AS $$ INSERT INTO calls VALUES ('all') $$;"
                f"CREATE ROLE {self.name} LOGIN; GRANT SELECT ON dtzpt, lines, riders, busy TO {self.name};"
                f"GRANT SELECT (name) ON staff TO {self.name}; ANALYZE"
            )
        self.owner_url = self.owner.render_as_string(hide_password=False)
        self.reader_url = self.owner.set(username=self.name, password=None).render_as_string(hide_password=False)

    def connect(self, url: URL | None = None) -> psycopg.Connection:
        return psycopg.connect((url or self.owner).render_as_string(hide_password=False), autocommit=True)

    def _ask(self, url: URL, *statements: str) -> None:
        with self.connect(url) as connection:
            for statement in statements:
                connection.execute(statement)

    def digest(self) -> str:
        asked = [
            *(f"SELECT count(*)::text || md5(string_agg(t::text, ',')) FROM {table} t"
              for table in ("dtzpt", "lines", "riders", "secret", "staff", "calls")),
            "SELECT string_agg(concat(nspname, relname, relkind, relnatts), ',' ORDER BY c.oid) FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname NOT LIKE 'pg\\_%'",
            "SELECT concat(last_value, is_called) FROM counter",
            "SELECT count(*)::text FROM pg_largeobject_metadata",
            "SELECT string_agg(rolname || coalesce(rolpassword, '-'), ',' ORDER BY oid) FROM pg_authid "
            f"WHERE rolname IN ('{self.name}', 'postgres', 'thief')",
        ]  # fmt: skip
        with self.connect() as connection:
            return repr([connection.execute(statement).fetchall() for statement in asked])

    def running(self) -> int:
        with self.connect() as connection:
            ((count,),) = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' "
                "AND application_name = 'sluice'"
            ).fetchall()
            return int(count)

    def own(self, statement: str) -> None:
        self._ask(self.owner, statement)

    def drop(self) -> None:
        self._ask(self.server, f"DROP DATABASE {self.name} WITH (FORCE)", f"DROP ROLE {self.name}")


@dataclass
class MySQL:
    rows: dict[str, tuple[list[str], list[tuple[Any, ...]]]]
    dialect: str = "mysql"
    name: str = field(default_factory=lambda: f"sluice_test_{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.server = make_url(os.environ.get("SLUICE_TEST_MYSQL", "mysql://root@127.0.0.1:3306"))
        self._ask(f"CREATE DATABASE {self.name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
        self._ask(
            *DEFINITIONS.format(int="INTEGER", text="VARCHAR(100)", real="DOUBLE")
            .replace(" lines ", " `lines` ")
            .strip()
            .split(";\n"),
            f"INSERT INTO secret VALUES ('{MARKER}')",
            f"INSERT INTO staff VALUES ('Li', '{MARKER}')",
            VIEW,
            "CREATE FUNCTION write_line(who VARCHAR(100)) RETURNS BOOLEAN MODIFIES SQL DATA "
            "BEGIN INSERT INTO calls VALUES (who); RETURN true; END",
            "CREATE PROCEDURE write_all() INSERT INTO calls VALUES ('all')",
            f"CREATE USER {self.name}@'%'",
            *(
                f"GRANT SELECT ON {self.name}.`{table}` TO {self.name}@'%'"
                for table in ("dtzpt", "lines", "riders", "busy")
            ),
            f"GRANT SELECT (name) ON {self.name}.staff TO {self.name}@'%'",
            database=self.name,
        )
        with self.connect(self.name) as connection, connection.cursor() as cursor:
            for table, (columns, rows) in self.rows.items():
                places = ", ".join(["%s"] * len(columns))
                cursor.executemany(f"INSERT INTO `{table}` ({', '.join(columns)}) VALUES ({places})", rows)
                cursor.execute(f"ALTER TABLE `{table}` COMMENT '{COMMENTS[table]}'")
            connection.commit()
        url = self.server.set(database=self.name)
        self.owner_url = url.render_as_string(hide_password=False)
        self.reader_url = url.set(username=self.name, password=None).render_as_string(hide_password=False)

    def connect(self, database: str | None = None) -> pymysql.Connection:
        url = self.server
        return pymysql.connect(
            host=url.host, port=url.port or 3306, user=url.username, password=url.password or "", database=database,
            charset="utf8mb4",
        )  # fmt: skip

    def _ask(self, *statements: str, database: str | None = None) -> None:
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def digest(self) -> str:
        asked = [
            "CHECKSUM TABLE dtzpt, `lines`, riders, secret, staff, calls",
            "SHOW FULL TABLES",
            "SELECT next_not_cached_value FROM counter",
            "SELECT user, host FROM mysql.user WHERE user IN ('root', 'thief') ORDER BY 1, 2",
            "SELECT @@max_connections",
        ]
        with self.connect(self.name) as connection, connection.cursor() as cursor:
            told = []
            for statement in asked:
                cursor.execute(statement)
                told.append(cursor.fetchall())
            return repr(told)

    def running(self) -> int:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM information_schema.processlist WHERE db = %s AND command <> 'Sleep'", (self.name,)
            )
            ((count,),) = cursor.fetchall()
            return int(count)

    def own(self, statement: str) -> None:
        self._ask(statement, database=self.name)

    def drop(self) -> None:
        self._ask(f"DROP DATABASE {self.name}", f"DROP USER {self.name}@'%'")
