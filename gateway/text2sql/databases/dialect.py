"""How one kind of database server reads SQL: everything that differs between servers, in one row for each.

A new kind of server is its driver's module (see server.py), a module with its row, one line in databases/__init__.py,
and its two prompt templates (prompts/templates/<template>.<language>.jinja).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """
    name            SQLAlchemy's name for it, as in a database's URL
    title           its name in a prompt
    module          the module in this folder that connects to it
    sqlglot         sqlglot's name for its SQL
    template        which prompts/templates/<template>.<language>.jinja holds its rules
    quote           the character around a quoted name
    fold_table      an unquoted table name as the server compares it
    fold_column     an unquoted column name as the server compares it
    quoting_exact   a quoted name is compared letter by letter
    alias_scopes    the clauses that see a name given with AS
    alias_alone     such a name counts only where it is a whole item there
    joins_see_all   the condition of a join also sees the tables that follow it in the FROM
    pseudo_columns  columns that every table has without listing them
    functions       functions that sqlglot has no class for, by name
    """

    name: str
    title: str
    module: str
    sqlglot: str
    template: str
    quote: str
    fold_table: Callable[[str], str]
    fold_column: Callable[[str], str]
    quoting_exact: bool
    alias_scopes: frozenset[str]
    alias_alone: bool
    joins_see_all: bool
    pseudo_columns: frozenset[str]
    functions: frozenset[str]


def as_written(name: str) -> str:
    """`name` itself: the server compares it letter by letter."""
    return name


def ascii_lower(name: str) -> str:
    """`name` with A–Z lowered, the way servers fold names; other letters stay."""
    return "".join(chr(ord(letter) + 32) if "A" <= letter <= "Z" else letter for letter in name)


def coarse(name: str) -> str:
    """`name` folded at least as far as any MySQL collation folds it: no case, no accents, no full-width letters.

    Two names that the server takes for one are always one here, so a closed column is found under each spelling.
    """
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in plain if not unicodedata.combining(letter))
