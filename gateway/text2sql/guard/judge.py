"""Whether a statement may run: one SELECT over allowed tables, columns and functions, written out anew.

What the server gets is never the model's text but the text of the tree that was judged: hints, comments (also those
that MySQL executes) and anything else that the parser skipped are gone, and what the parser read otherwise than the
server would have is run as it was read. Names are judged in names.py; functions.py lists what may stand in a tree.
This is one layer of several: docs/databases.md says which one stops what.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import ClassVar

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect as Reader
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import ErrorLevel, SqlglotError
from sqlglot.generators.mysql import MySQLGenerator
from sqlglot.tokens import Token, TokenType

from gateway.text2sql.databases import DIALECTS
from gateway.text2sql.databases.dialect import Dialect
from gateway.text2sql.guard import size_bounds
from gateway.text2sql.guard.functions import EXPRESSIONS, FUNCTIONS, TYPES
from gateway.text2sql.guard.names import Names, Refused
from prompts.tables import Schema

# It warns of what it cannot read, with the statement; what cannot be read is refused here, with a reason.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

STATEMENT_CHARACTERS = 10_000
TOKENS = 1_500
NESTING = 30
# What a reader calls some kinds of expressions.
WORDS = {
    "lock": "locking rows", "into": "INTO", "placeholder": "a placeholder", "parameter": "a variable",
    "sessionparameter": "a server variable", "tablesample": "TABLESAMPLE", "dot": "a name of that many parts",
}  # fmt: skip
# Keywords that are functions where they stand alone, although the parser takes them for columns: quoted, they are not.
KEYWORDS = {
    "user", "current_user", "session_user", "system_user", "current_role", "current_catalog", "current_schema",
    "localtime", "localtimestamp", "current_date", "current_time", "current_timestamp",
}  # fmt: skip
STARS_IN = (exp.Select, exp.Count, exp.Column)


# Where a match stands without parentheses of its own.
LOOSE = (exp.Paren, exp.Where, exp.Having, exp.And, exp.Or, exp.Not, exp.Select, exp.Alias, exp.If)
TIGHT = (exp.Column, exp.Literal, exp.Paren, exp.Func)
OWN = (exp.RegexpLike, exp.JSONExtract, exp.JSONExtractScalar)


class _WrittenMySQL(MySQL):
    """MySQL as MariaDB understands it too: that has no REGEXP_LIKE, -> and ->>."""

    class Generator(MySQLGenerator):
        def regexplike_sql(self, node: exp.RegexpLike) -> str:
            if node.args.get("flag"):
                return self.function_fallback_sql(node)
            sides = [
                self.sql(side) if isinstance(side, TIGHT) else f"({self.sql(side)})"
                for side in (node.this, node.expression)
            ]
            written = " RLIKE ".join(sides)
            return written if isinstance(node.parent, LOOSE) else f"({written})"

        def jsonextract_sql(self, node: exp.JSONExtract | exp.JSONExtractScalar) -> str:
            return self.func("JSON_EXTRACT", node.this, node.expression, *node.expressions)

        def jsonextractscalar_sql(self, node: exp.JSONExtractScalar) -> str:
            return f"JSON_UNQUOTE({self.jsonextract_sql(node)})"

        TRANSFORMS: ClassVar = {kind: writer for kind, writer in MySQLGenerator.TRANSFORMS.items() if kind not in OWN}


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    sql      the statement as the judged tree writes it; as it came where it was refused
    limited  the same with a LIMIT, for the server; "" where it was refused
    tables   what it reads, in order of appearance
    reason   why it was refused, in a sentence
    tree     the judged tree, as it was read; None where it was refused
    """

    sql: str
    ok: bool
    limited: str = ""
    tables: list[str] = field(default_factory=list)
    reason: str | None = None
    tree: exp.Query | None = field(default=None, compare=False, repr=False)


def judge(sql: str, schema: Schema, row_limit: int) -> Verdict:
    """The verdict on `sql`; `limited` gives at most `row_limit` + 1 rows, for one more shows that there are more."""
    dialect = DIALECTS[schema.dialect]
    try:
        tree = parse(sql, dialect)
        tables = check(tree, schema, dialect)
        judged = tree.copy()
        written = write(tree.copy(), dialect)
        set_limit(tree, row_limit + 1)
        limited = write(tree, dialect)
        # The server reads what was written, so that is what has to pass.
        check(parse(limited, dialect), schema, dialect)
    except Refused as refusal:
        return Verdict(sql, ok=False, reason=str(refusal))
    except RecursionError:
        return Verdict(sql, ok=False, reason="the statement is too deeply nested to be judged")
    return Verdict(written, ok=True, limited=limited, tables=tables, tree=judged)


def parse(sql: str, dialect: Dialect) -> exp.Query:
    """The one query that `sql` is; raises Refused."""
    if len(sql) > STATEMENT_CHARACTERS:
        raise Refused(f"the statement is longer than {STATEMENT_CHARACTERS:,} characters")
    if "\0" in sql:
        raise Refused("the statement has a NUL character in it")
    try:
        reader = Reader.get_or_raise(dialect.sqlglot)
        tokens = reader.tokenize(sql)
        # The parser's time grows with the tokens, and steeply with nesting, so both are counted before.
        _count(tokens)
        if dialect.sqlglot == "mysql" and any(token.token_type == TokenType.DPIPE for token in tokens):
            # Models write it to join text, for which MySQL would read a condition that is nearly always true.
            raise Refused("|| means OR in MySQL: write CONCAT(…) to join text, or OR between conditions")
        statements = [statement for statement in reader.parser().parse(tokens, sql) if statement is not None]
    except (SqlglotError, RecursionError) as error:
        raise Refused(f"it could not be read as SQL: {_first_line(error)}") from None
    if len(statements) != 1:
        raise Refused("it is several statements, only one may run" if statements else "there is no statement")
    tree = statements[0]
    if not isinstance(tree, exp.Select | exp.SetOperation | exp.Subquery):
        raise Refused(f"only SELECT may run here, not {tree.key.upper()}")
    return tree


def _count(tokens: list[Token]) -> None:
    if len(tokens) > TOKENS:
        raise Refused(f"it has more than {TOKENS:,} words and signs")
    depth = 0
    for token in tokens:
        if token.text in ("(", "[", "{"):
            depth += 1
            if depth > NESTING:
                raise Refused(f"it nests deeper than {NESTING} levels")
        elif token.text in (")", "]", "}"):
            depth -= 1


def check(tree: exp.Query, schema: Schema, dialect: Dialect) -> list[str]:
    """The tables that `tree` reads; takes hints out of it; raises Refused."""
    for node in tree.walk():
        if isinstance(node, exp.Select):
            # They change the plan, or a limit of the server's (MAX_EXECUTION_TIME), never the answer.
            node.set("hint", None)
            node.set("operation_modifiers", None)
    for node in tree.walk():
        _check_kind(node, dialect)
        if isinstance(node, exp.Select) and not node.expressions:
            raise Refused("a SELECT says nothing about what to select")
        if isinstance(node, exp.Identifier) and node.name.lower() in KEYWORDS:
            node.set("quoted", True)
    size_bounds.check(tree)
    return Names(schema, dialect).check(tree)


def _check_kind(node: exp.Expr, dialect: Dialect) -> None:
    kind = type(node)
    if isinstance(node, exp.Anonymous):
        if not isinstance(node.this, str) or node.this.lower() not in dialect.functions:
            raise Refused(f"the function {node.name} is not allowed")
    elif isinstance(node, exp.Func) and kind not in EXPRESSIONS:
        if kind not in FUNCTIONS:
            raise Refused(_called(node, dialect))
    elif kind not in EXPRESSIONS:
        raise Refused(f"{WORDS.get(node.key, node.key.upper())} is not allowed: {node.sql(dialect.sqlglot)[:60]}")
    if node.is_star and isinstance(node, exp.Star | exp.Column) and not isinstance(node.parent, STARS_IN):
        # Elsewhere PostgreSQL makes a row of it, or all columns in spite of a name given with AS.
        raise Refused("* stands for columns in a select list and in COUNT(*) only")
    if isinstance(node, exp.DataType) and node.this not in TYPES:
        raise Refused(f"values cannot be cast to {node.sql(dialect.sqlglot)} here")


def _called(node: exp.Func, dialect: Dialect) -> str:
    """Why a function or an operator is refused, by the name that the dialect has for it: the parser has its own."""
    written = node.sql(dialect.sqlglot)
    name = re.match(r"[A-Za-z_]\w*(?=\()", written)
    called = str(node.meta.get("name") or (name.group() if name else ""))
    return f"the function {called.lower()} is not allowed" if called else f"this is not allowed: {written[:60]}"


def write(tree: exp.Expr, dialect: Dialect) -> str:
    """The text of `tree`, which is used up, without comments; raises Refused where the dialect cannot say it."""
    try:
        return tree.sql(
            dialect=_WrittenMySQL if dialect.sqlglot == "mysql" else dialect.sqlglot,
            copy=False,
            comments=False,
            unsupported_level=ErrorLevel.RAISE,
        )
    except (SqlglotError, RecursionError) as error:
        raise Refused(f"{dialect.title} has no way to say it: {_first_line(error)}") from None


def set_limit(tree: exp.Query, most: int) -> None:
    """Let `tree` give at most `most` rows; raises Refused where its own limit is no plain number."""
    clause = tree.args.get("limit")
    given = None
    if isinstance(clause, exp.Fetch):
        options = clause.args.get("limit_options")
        if options is not None and (options.args.get("percent") or options.args.get("with_ties")):
            raise Refused("FETCH takes a number of rows here, not PERCENT or WITH TIES")
        given = clause.args.get("count") or exp.Literal.number(1)
    elif isinstance(clause, exp.Limit):
        given = clause.expression
        if clause.args.get("expressions"):
            raise Refused("LIMIT ... BY is not allowed")
    if given is not None and not isinstance(given, exp.Null) and given.name.upper() != "ALL":
        if not isinstance(given, exp.Literal) or given.is_string or not re.fullmatch("[0-9]+", given.name):
            raise Refused("LIMIT takes a plain number here")
        most = min(most, int(given.name))
    tree.set("limit", exp.Limit(expression=exp.Literal.number(most)))


def _first_line(error: Exception) -> str:
    text = "".join(character for character in str(error).split("\n")[0] if character.isprintable())
    return text.replace("[4m", "").replace("[0m", "")[:200] or type(error).__name__
