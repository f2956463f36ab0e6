"""What a prompt knows of a database: its tables, columns, keys and comments, read from the live database.

The order is the owner's where tables are listed and the name's otherwise, and columns keep theirs, so that the same
database always gives the same bytes and an upstream's prefix cache hits.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy
from sqlalchemy import Engine, func, inspect, select, text
from sqlalchemy.engine import Inspector
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.exc import CompileError, SAWarning, SQLAlchemyError

from gateway.text2sql.databases import information_schema
from gateway.text2sql.databases.create_table import comments
from prompts.tables import Column, ForeignKey, Schema, Table, clean

log = logging.getLogger("sluice.sql")

ENUM_VALUES = 20


class Unmatched(ValueError):
    """A configured key names no open table or column: ignoring it could leave open what it should close."""


def read(
    engine: Engine,
    allowed: Sequence[str] | None = None,
    open_columns: Mapping[str, Sequence[str]] | None = None,
    samples: Mapping[str, int] | None = None,
) -> Schema:
    """The allowed part of the database behind `engine`; blocks while it asks.

    allowed       table or view names, `schema.name` outside the default schema; None: all of the default schema
    open_columns  table → the columns that may be read; a table that is not named is open whole
    samples       "table.column" → how many of its most frequent values the prompt may show

    The keys of `open_columns` and `samples` name tables as `allowed` does. Raises Unmatched, SQLAlchemyError.
    """
    with warnings.catch_warnings():
        # SQLAlchemy warns on standard error of types that it does not know; the prompt shows a column without one.
        warnings.simplefilter("ignore", SAWarning)
        return _read(engine, allowed, open_columns, samples)


def _read(
    engine: Engine,
    allowed: Sequence[str] | None,
    open_columns: Mapping[str, Sequence[str]] | None,
    samples: Mapping[str, int] | None,
) -> Schema:
    inspector = inspect(engine)
    default = inspector.default_schema_name or "main"
    wanted: dict[str | None, list[str] | None] = {}
    for name in allowed or ():
        where, _, bare = name.rpartition(".")
        listed = wanted.setdefault(where if where and where != default else None, [])
        assert listed is not None
        listed.append(bare)
    if allowed is None:
        wanted[None] = None

    opened = {name.removeprefix(f"{default}."): columns for name, columns in (open_columns or {}).items()}
    shown = {name.removeprefix(f"{default}."): count for name, count in (samples or {}).items()}
    found: dict[str, Table] = {}
    for schema, names in wanted.items():
        for table in _tables(inspector, engine, schema, names):
            found[table.name] = _opened(table, opened.get(table.name))
    if allowed is None:
        order = sorted(found)
    else:
        order = [name.removeprefix(f"{default}.") for name in allowed]
    missing = tuple(name for name in order if name not in found)
    _match(opened, shown, found, missing)
    tables = [_linked(found[name], found, default) for name in dict.fromkeys(order) if name in found]
    if shown:
        tables = [_sampled(engine, table, shown) for table in tables]
    return Schema(engine.dialect.name, tuple(tables), default, missing)


def _match(opened: Iterable[str], shown: Iterable[str], found: Mapping[str, Table], missing: Sequence[str]) -> None:
    """Raise Unmatched for a key of `columns` or `samples` that stands for nothing; a table may be gone for a while."""
    near = ", ".join(found)[:200]
    for name in opened:
        if name not in found and name not in missing:
            raise Unmatched(f"columns.{name} must name an open table, got an unknown one; open tables: {near}")
    for name in shown:
        table, _, column = name.rpartition(".")
        known = found.get(table)
        if known is None and table not in missing:
            raise Unmatched(f"samples.{name} must name an open table, got an unknown one; open tables: {near}")
        if known is not None and column not in {one.name for one in known.columns}:
            raise Unmatched(f"samples.{name} must name an open column of {table}, got an unknown one")


def _tables(inspector: Inspector, engine: Engine, schema: str | None, names: list[str] | None) -> list[Table]:
    if engine.dialect.name in ("mysql", "mariadb"):
        # SQLAlchemy reads SHOW CREATE TABLE there, which a role that may see only some columns is denied.
        found = information_schema.tables(engine, schema or inspector.default_schema_name or "")
        return [
            replace(table, name=f"{schema}.{table.name}" if schema else table.name)
            for table in found
            if names is None or table.name in names
        ]
    about: dict[str, Any] = {"schema": schema, "filter_names": names, "kind": ObjectKind.ANY}
    if names is None and engine.dialect.name == "postgresql":
        names = _without_partitions(inspector, engine, schema)
        about["filter_names"] = names
    if names == []:
        return []
    columns = inspector.get_multi_columns(**about)
    keys: dict[Any, Any] = inspector.get_multi_pk_constraint(**about)
    foreign: dict[Any, Any] = inspector.get_multi_foreign_keys(**about)
    views = {*inspector.get_view_names(schema)}
    table_comments: dict[str | None, tuple[str, dict[str, str]]] = {}
    if engine.dialect.name == "sqlite":
        table_comments.update(_sqlite_comments(engine))
    else:
        for (_, name), comment in inspector.get_multi_table_comment(**about).items():
            table_comments[name] = (comment.get("text") or "", {})
    read = []
    for (where, name), described in columns.items():
        table_comment, column_comments = table_comments.get(name, ("", {}))
        read.append(
            Table(
                name=f"{schema}.{name}" if schema else name,
                columns=tuple(
                    Column(
                        column["name"],
                        _type(column["type"], engine),
                        clean(column.get("comment") or column_comments.get(column["name"])),
                    )
                    for column in described
                ),
                comment=clean(table_comment),
                primary_key=tuple(keys.get((where, name), {}).get("constrained_columns") or ()),
                foreign_keys=tuple(
                    ForeignKey(
                        tuple(key["constrained_columns"]),
                        ".".join(filter(None, (key["referred_schema"], key["referred_table"]))),
                        tuple(key["referred_columns"]),
                    )
                    for key in sorted(foreign.get((where, name), ()), key=lambda key: key["constrained_columns"])
                ),
                is_view=name in views,
            )
        )
    return read


def _without_partitions(inspector: Inspector, engine: Engine, schema: str | None) -> list[str]:
    """The tables and views of a schema; of a partitioned table its own name alone."""
    names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
    names += inspector.get_materialized_view_names(schema)
    with engine.connect() as connection:
        query = "SELECT relname FROM pg_class WHERE relispartition AND relnamespace = CAST(:name AS regnamespace)"
        where = schema or inspector.default_schema_name or "public"
        quoted = engine.dialect.identifier_preparer.quote(where)
        partitions = {name for (name,) in connection.execute(text(query), {"name": quoted})}
    return [name for name in dict.fromkeys(names) if name not in partitions]


def _type(column_type: object, engine: Engine) -> str:
    if isinstance(column_type, sqlalchemy.Enum) and column_type.enums:
        # Its values are what a condition has to name; PostgreSQL's own word for the type is a name alone.
        values = ", ".join(f"'{clean(value, 40)}'" for value in column_type.enums[:ENUM_VALUES])
        return f"ENUM({values}{', …' if len(column_type.enums) > ENUM_VALUES else ''})"
    try:
        return str(column_type.compile(dialect=engine.dialect))  # type: ignore[attr-defined]
    except CompileError:
        return ""  # a type that SQLAlchemy does not know


def _opened(table: Table, columns: Sequence[str] | None) -> Table:
    if columns is None:
        return table
    return replace(
        table,
        columns=tuple(column for column in table.columns if column.name in columns),
        # Part of a key would look like the whole key.
        primary_key=table.primary_key if {*table.primary_key} <= {*columns} else (),
        is_partial=True,
        hidden=tuple(column.name for column in table.columns if column.name not in columns),
    )


def _linked(table: Table, found: Mapping[str, Table], default: str) -> Table:
    """`table` with those of its foreign keys that name nothing closed, on either side."""
    kept = []
    for key in table.foreign_keys:
        other = found.get(key.table.removeprefix(f"{default}."))
        if other is not None and not {*key.columns} & {*table.hidden} and not {*key.references} & {*other.hidden}:
            kept.append(replace(key, table=other.name))
    return replace(table, foreign_keys=tuple(kept))


def _sqlite_comments(engine: Engine) -> dict[str, tuple[str, dict[str, str]]]:
    # SQLite has no comments of its own, but it keeps CREATE TABLE as it was written.
    with engine.connect() as connection:
        created = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql NOT NULL"))
        return {name: comments(sql) for name, sql in created}


def _sampled(engine: Engine, table: Table, samples: Mapping[str, int]) -> Table:
    schema, _, bare = table.name.rpartition(".")
    columns = []
    for column in table.columns:
        count = samples.get(f"{table.name}.{column.name}", 0)
        if count:
            values: sqlalchemy.ColumnClause[Any] = sqlalchemy.column(column.name)
            source = sqlalchemy.table(bare, values, schema=schema or None)
            query = select(values).select_from(source).where(values.is_not(None)).group_by(values)
            query = query.order_by(func.count().desc(), values).limit(count)
            try:
                with engine.connect() as connection:
                    found = tuple(clean(str(value), 40) for (value,) in connection.execute(query))
                column = replace(column, samples=found)
            except SQLAlchemyError as error:
                # A view that takes too long, a type that cannot be grouped: the prompt does without.
                reason = type(getattr(error, "orig", None) or error).__name__
                log.warning("no samples of %s.%s: %s", table.name, column.name, reason)
        columns.append(column)
    return replace(table, columns=tuple(columns))
