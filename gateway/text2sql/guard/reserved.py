"""Names that are reserved words of the server get its quotes.

`FROM lines` is a syntax error in MySQL and MariaDB, and with backticks around `lines` it is none.
Unquoted, such a name could only be refused by the server, so the quotes change no meaning. Only MySQL and MariaDB need
this: their list is long and has everyday words (`lines`, `rank`, `groups`). source: sqlglot's list for MySQL.
"""

from __future__ import annotations

from sqlglot import exp
from sqlglot.dialects.mysql import MySQL

from gateway.text2sql.databases.dialect import Dialect
from gateway.text2sql.guard import lexemes
from gateway.text2sql.guard.lexemes import Lexeme, Statement

# FROM DUAL is no table: in quotes the server would look for one.
RESERVED = {word.lower() for word in MySQL.Generator.RESERVED_KEYWORDS} - {"dual"}


def quoted(statement: Statement, tree: exp.Query, dialect: Dialect) -> Statement:
    """`statement` with quotes around such names of tables and columns; itself where there is none."""
    if dialect.sqlglot != "mysql":
        return statement
    places = {
        identifier.meta["start"]
        for identifier in tree.find_all(exp.Identifier)
        if "start" in identifier.meta and _is_reserved(identifier, dialect)
    }
    pieces, at = [], 0
    for lexeme in statement.lexemes:
        if lexeme.kind == "word" and lexeme.start in places:
            pieces += [statement.text[at : lexeme.start], _in_quotes(lexeme, dialect)]
            at = lexeme.end
    if not at:
        return statement
    return lexemes.read("".join([*pieces, statement.text[at:]]), dialect)


def _is_reserved(identifier: exp.Identifier, dialect: Dialect) -> bool:
    name = identifier.name.lower()
    if name not in RESERVED or identifier.args.get("quoted"):
        return False
    # A column's name may also be a word of the grammar, such as CURRENT_DATE: that is not ours to decide.
    return isinstance(identifier.parent, exp.Table) or (
        isinstance(identifier.parent, exp.Column) and name not in dialect.words
    )


def _in_quotes(lexeme: Lexeme, dialect: Dialect) -> str:
    return f"{dialect.quote}{lexeme.text}{dialect.quote}"
