"""How one kind of database server reads SQL: everything that differs between servers, in one row for each.

A new kind of server is its driver's module (see server.py), a module with its row (dialects/), one line in
databases/__init__.py, and its two prompt templates (prompts/templates/<template>.<language>.jinja).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
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
    name_bytes      the server keeps so many bytes of a name (UTF-8)

    lexemes         what a statement's characters are to the server: see lexical()
    words           its grammar, types, units and constants, in lower case
    functions       the functions that may be called, in lower case
    glued           a function's parenthesis has to follow its name at once
    advice          word, function or sign → what to write instead of it

    alias_scopes    the clauses that see a name given with AS
    alias_alone     such a name counts only where it is a whole item there
    joins_see_all   the condition of a join also sees the tables that follow it in the FROM
    names_as_text   a double-quoted name that is no column is a text
    pseudo_columns  columns that every table has without listing them
    pseudo_values   unquoted names that are the server's own values, not columns
    row_functions   functions that may be read like a table → the columns that they give
    constants       unquoted names that are values such as the time, never columns
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
    name_bytes: int
    lexemes: re.Pattern[str]
    words: frozenset[str]
    functions: frozenset[str]
    glued: bool
    advice: Mapping[str, str]
    alias_scopes: frozenset[str]
    alias_alone: bool
    joins_see_all: bool
    names_as_text: bool
    pseudo_columns: frozenset[str]
    pseudo_values: frozenset[str]
    row_functions: Mapping[str, tuple[str, ...]]
    constants: frozenset[str] = frozenset()


# Lexemes whose text decides nothing else: what a text, a name, a number, a word or a sign is differs between servers.
_NUMBER = r"0[xX][0-9a-fA-F]+ | (?:\d+(?:\.\d*)? | \.\d+)(?:[eE][+-]?\d+)?"
_SIGN = r"[-+*/%^&|~!<>=?@\#$:.,;(){}\[\]]"


def lexical(*, text: str, name: str, comment: str, word: str = r"[^\W\d][\w$]*") -> re.Pattern[str]:
    """The pattern of one lexeme; its named groups are `space comment text name number word sign`.

    A number that letters follow is none, and neither is a character that no group takes: the statement is refused.
    Each group's inner pattern may have no capturing group but `tag`, PostgreSQL's dollar quote.
    """
    return re.compile(
        rf"(?P<space>[ \t\r\n\f]+) | (?P<comment>{comment}) | (?P<text>{text}) | (?P<name>{name})"
        rf"| (?P<word>{word}) | (?P<number>{_NUMBER})(?![\w$]) | (?P<sign>{_SIGN})",
        re.VERBOSE | re.DOTALL,
    )


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
