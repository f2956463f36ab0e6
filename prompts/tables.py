"""The plain types of a schema: tables, columns and keys as a prompt and the guard see them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

COMMENT_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Column:
    """
    type     as the database writes it, such as VARCHAR(20)
    samples  a few of its values, only where the owner allows them
    """

    name: str
    type: str
    comment: str = ""
    samples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForeignKey:
    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table or a view. `name` is what a statement calls it: `sales.orders` where it is not in the default schema.

    is_partial  only some of its columns are open; `hidden` are the others that the role can see, they are in no prompt
    """

    name: str
    columns: tuple[Column, ...]
    comment: str = ""
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    is_view: bool = False
    is_partial: bool = False
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Schema:
    """
    dialect   SQLAlchemy's name for the server
    default   the schema that a bare table name means: public, a MySQL database, main
    missing   tables that the owner listed and that are not there
    product   "mariadb" where the dialect's name says mysql for it, else ""
    timezone  of the sessions that statements run in, as the server names it; "" where the server has none
    """

    dialect: str
    tables: tuple[Table, ...]
    default: str = ""
    missing: tuple[str, ...] = ()
    product: str = ""
    timezone: str = ""
    by_name: Mapping[str, Table] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {table.name: table for table in self.tables})

    @property
    def server(self) -> str:
        """The kind of server whose SQL it is."""
        return self.product or self.dialect

    def only(self, names: Iterable[str]) -> Schema:
        """The same schema with these tables alone, in the same order."""
        wanted = set(names)
        return replace(self, tables=tuple(table for table in self.tables if table.name in wanted))

    def hash_of(self, names: Iterable[str]) -> str:
        """A short digest of these tables' columns and types: it changes when one of them does (or goes away)."""
        described = []
        for name in sorted(names):
            table = self.by_name.get(name)
            described.append((name, [(column.name, column.type) for column in table.columns] if table else None))
        return hashlib.sha256(repr(described).encode()).hexdigest()[:16]


def clean(comment: str | None, limit: int = COMMENT_CHARACTERS) -> str:
    """A comment on one line, without control or invisible formatting characters, at most `limit` characters."""
    kept = "".join(
        " " if character.isspace() else character
        for character in comment or ""
        if character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )
    kept = " ".join(kept.split())
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"
