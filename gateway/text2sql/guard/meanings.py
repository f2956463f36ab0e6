"""What a server would take, and take for something else than the writer meant, who thought of another server.

    MySQL    a || b          OR, where text was to be joined
    MySQL    SELECT "name"   the text name, where a column was meant
    SQLite   CAST(d AS DATE) the number 2024, where a date was meant
    both     DATE - DATE     a number that is no number of days

Such a statement is refused with the words that mend it, so that the model corrects it. What is an error for the server
itself needs no rule here. Each rule is a function of one node; a rule's statements are in tests/cases/sql/.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp
from sqlglot.tokens import Token, TokenType

from gateway.text2sql.databases.dialect import Dialect, coarse
from gateway.text2sql.guard.lexemes import Lexeme, Statement
from gateway.text2sql.guard.refused import Refused
from prompts.tables import Table

QUOTED = {TokenType.STRING, TokenType.IDENTIFIER}
DATES = ("DATE", "DATETIME", "TIMESTAMP", "TIMESTAMPTZ")
# Kinds of expressions that give a date or a time for certain.
GIVES_DATE = (exp.CurrentDate, exp.CurrentTimestamp, exp.Date, exp.DateAdd, exp.DateSub, exp.TsOrDsToDate, exp.LastDay)
DATE_TYPES = {
    exp.DType.DATE, exp.DType.DATETIME, exp.DType.TIMESTAMP, exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMPNTZ,
}  # fmt: skip
# Types of a CAST that SQLite takes for its own five, in a way that is rarely meant.
SQLITE_CASTS = {
    "DATE": "write date(x)", "DATETIME": "write datetime(x)", "TIMESTAMP": "write datetime(x)", "TIME": "write time(x)",
    "UNSIGNED": "write CAST(x AS INTEGER)",
}  # fmt: skip


# How many arguments a function takes: the parser drops more, and other servers' functions of that name take more.
ARGUMENTS = {
    "mysql": {"isnull": 1, "date": 1, "time": 1, "year": 1, "month": 1, "day": 1, "length": 1, "quarter": 1},
    "sqlite": {"length": 1, "lower": 1, "upper": 1},
    "postgres": {"length": 1, "lower": 1, "upper": 1, "now": 0, "decode": 2},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Context:
    """
    dates  columns that are dates
    text   the statement
    """

    dates: frozenset[str]
    text: str

    def called(self, node: exp.Expr) -> str:
        """The name of a function as it was written."""
        start, end = node.meta.get("start"), node.meta.get("end")
        return "" if start is None or end is None else self.text[start : end + 1].lower()


def check_signs(text: str, tokens: list[Token], dialect: Dialect) -> None:
    """Refuse an operator that means something else to this server; raises Refused."""
    for token in tokens:
        if token.token_type not in QUOTED:
            sign = text[token.start : token.end + 1]
            if not sign[0].isalnum() and sign in dialect.advice:
                raise Refused(f"{sign} is not allowed in {dialect.title}: {dialect.advice[sign]}")


def check(statement: Statement, tree: exp.Expr, tables: Sequence[Table], dialect: Dialect) -> None:
    """Raise Refused for an expression whose meaning here is not the one that was meant."""
    context = Context(_date_columns(tables), statement.text)
    rules = RULES.get(dialect.sqlglot, ())
    for node in tree.walk():
        for rule in rules:
            words = rule(node, context)
            if words:
                raise Refused(words)
    _check_arguments(statement, dialect)
    if dialect.sqlglot == "mysql":
        _check_quoted_texts(statement, tree, tables)


def _check_arguments(statement: Statement, dialect: Dialect) -> None:
    lexemes, most = statement.lexemes, ARGUMENTS.get(dialect.sqlglot, {})
    for n, lexeme in enumerate(lexemes[:-1]):
        wanted = most.get(lexeme.text.lower()) if lexemes[n + 1].text == "(" and lexeme.kind == "word" else None
        if wanted is not None and _arguments(lexemes, n + 1) > wanted:
            hint = dialect.advice.get(lexeme.text.lower())
            words = f"{lexeme.text.upper()} takes {wanted or 'no'} argument{'s' * (wanted != 1)} in {dialect.title}"
            raise Refused(f"{words}: {hint}" if hint else words)


def _arguments(lexemes: Sequence[Lexeme], opening: int) -> int:
    """How many arguments stand in the parentheses that open at `opening`."""
    depth, commas = 0, 0
    for n, lexeme in enumerate(lexemes[opening:]):
        depth += (lexeme.text in ("(", "[")) - (lexeme.text in (")", "]"))
        if depth == 0:
            return 0 if n == 1 else commas + 1
        commas += depth == 1 and lexeme.text == ","
    return commas + 1


def _date_columns(tables: Sequence[Table]) -> frozenset[str]:
    """Columns that are dates in every table that has one of that name."""
    kinds: dict[str, set[bool]] = {}
    for table in tables:
        for column in table.columns:
            kinds.setdefault(column.name.lower(), set()).add(column.type.upper().split("(")[0].strip() in DATES)
    return frozenset(name for name, found in kinds.items() if found == {True})


def _is_date(node: exp.Expr | None, dates: frozenset[str]) -> bool:
    node = node.unnest() if node is not None else None
    if isinstance(node, exp.Cast):
        return node.to.this in DATE_TYPES
    if isinstance(node, exp.Column):
        return node.name.lower() in dates
    return isinstance(node, GIVES_DATE)


def _is_text(node: exp.Expr | None) -> bool:
    node = node.unnest() if node is not None else None
    return isinstance(node, exp.Literal) and bool(node.is_string)


def _is_numeric_text(node: exp.Expr | None) -> bool:
    return node is not None and re.fullmatch(r"\s*[-+]?[\d.]+(e[-+]?\d+)?\s*", node.name, re.IGNORECASE) is not None


def _date_minus_date(node: exp.Expr, dates: frozenset[str]) -> bool:
    if not isinstance(node, exp.Sub | exp.Add):
        return False
    one, other = node.this, node.expression
    if isinstance(one.unnest(), exp.Interval) or isinstance(other.unnest(), exp.Interval):
        return False
    return _is_date(one, dates) or _is_date(other, dates)


def _mysql_dates(node: exp.Expr, context: Context) -> str | None:
    if not _date_minus_date(node, context.dates):
        return None
    return "MySQL reads a date in + and - as a number such as 20240301: write DATEDIFF(a, b) or DATE_ADD(a, INTERVAL …)"


def _sqlite_dates(node: exp.Expr, context: Context) -> str | None:
    if not _date_minus_date(node, context.dates):
        return None
    return "SQLite reads a date in + and - as its year: write julianday(a) - julianday(b), or date(a, '+1 day')"


def _added_texts(node: exp.Expr, _context: Context) -> str | None:
    sides = (node.this, node.expression) if isinstance(node, exp.Add) else ()
    if any(isinstance(side.unnest(), exp.Interval) for side in sides):
        return None  # MySQL: '2024-01-31' + INTERVAL 1 DAY
    if isinstance(node, exp.Add) and any(
        _is_text(side) and not _is_numeric_text(side) for side in (node.this, node.expression)
    ):
        return "+ adds numbers: write CONCAT(a, b), or a || b in SQLite, to join texts"
    return None


def _mysql_calls(node: exp.Expr, context: Context) -> str | None:
    if isinstance(node, exp.GroupConcat) and node.args.get("separator") is None:
        inner = node.this
        parts = inner.expressions if isinstance(inner, exp.Concat) else []
        if len(parts) == 2 and _is_text(parts[1]):
            return "GROUP_CONCAT joins its arguments in MySQL: write GROUP_CONCAT(x SEPARATOR ',')"
    if isinstance(node, exp.Date | exp.Anonymous | exp.TsOrDsToDate) and _first_text(node) in ("now", "today"):
        return "MySQL knows no date 'now': write CURRENT_DATE or NOW()"
    if isinstance(node, exp.Substring) and _is_text(node.args.get("start")):
        return "SUBSTRING takes a position in MySQL: write REGEXP_SUBSTR(text, pattern)"
    if isinstance(node, exp.Stddev | exp.StddevPop | exp.Variance | exp.VariancePop) and context.called(node) in (
        "stddev", "variance",
    ):  # fmt: skip
        return "say which one: STDDEV_SAMP or STDDEV_POP, VAR_SAMP or VAR_POP"
    if isinstance(node, exp.BitwiseNot):
        return "~x is a number of 64 bits without a sign in MySQL: write -x - 1"
    return None


def _sqlite_calls(node: exp.Expr, _context: Context) -> str | None:
    if isinstance(node, exp.Like):
        pattern = node.expression
        if _is_text(pattern) and "\\" in pattern.name and not isinstance(node.parent, exp.Escape):
            return "a backslash is a plain letter in SQLite's LIKE: write ESCAPE '\\' behind the pattern"
    if isinstance(node, exp.Substring) and _is_text(node.args.get("start")):
        return "substr takes a position in SQLite"
    if isinstance(node, exp.Cast) and not isinstance(node.parent, exp.Cast):
        name = node.to.sql("sqlite").upper()
        kind = node.to.this.name if isinstance(node.to.this, exp.DType) else ""
        for word, advice in SQLITE_CASTS.items():
            if word in (kind, name.split("(")[0]):
                return f"SQLite has no type {word}: {advice}"
        if node.to.this in (exp.DType.CHAR, exp.DType.VARCHAR, exp.DType.NCHAR) and node.to.expressions:
            return "SQLite cuts no text to a length: write substr(x, 1, n)"
    return None


def _postgresql_calls(node: exp.Expr, _context: Context) -> str | None:
    if isinstance(node, exp.ArrayOverlaps) and (
        isinstance(node.parent, exp.EQ | exp.NEQ | exp.GT | exp.GTE | exp.LT | exp.LTE)
        or any(
            isinstance(side.unnest(), exp.Predicate | exp.Boolean | exp.Not) for side in (node.this, node.expression)
        )
    ):
        return "&& compares arrays in PostgreSQL: write AND"
    if isinstance(node, exp.HexString):
        return "x'…' is a string of bits in PostgreSQL: write '\\x61'::bytea for bytes"
    if isinstance(node, exp.Cast) and node.to.this == exp.DType.CHAR and not node.to.expressions:
        return "CHAR is one character in PostgreSQL: write CAST(x AS text)"
    if isinstance(node, exp.Substring) and isinstance(node.args.get("start"), exp.Neg):
        return "a position below 1 lies in front of the text in PostgreSQL: write right(x, n)"
    return None


def _first_text(node: exp.Expr) -> str:
    first = node.this if isinstance(node.this, exp.Expr) else next(iter(node.expressions), None)
    return first.name.lower() if isinstance(first, exp.Literal) and first.is_string else ""


def _logarithm(node: exp.Expr, context: Context) -> str | None:
    if isinstance(node, exp.Log | exp.Ln) and context.called(node) == "log" and node.args.get("expression") is None:
        return "LOG(x) is the natural logarithm on one server and that of 10 on another: write LN(x) or LOG10(x)"
    return None


RULES = {
    "mysql": (_mysql_dates, _added_texts, _mysql_calls, _logarithm),
    "sqlite": (_sqlite_dates, _added_texts, _sqlite_calls, _logarithm),
    "postgres": (_postgresql_calls, _logarithm),
}


def _check_quoted_texts(statement: Statement, tree: exp.Expr, tables: Sequence[Table]) -> None:
    """MySQL reads "name" as a text. Where a column, a table or an alias has that name, it was meant."""
    # An alias may stand in double quotes.
    placed = {node.meta.get("start") for node in tree.find_all(exp.Identifier) if isinstance(node.parent, exp.Alias)}
    quoted = [
        lexeme
        for lexeme in statement.lexemes
        if lexeme.kind == "text" and lexeme.text[0] == '"' and lexeme.start not in placed
    ]
    if not quoted:
        return
    names = {coarse(column.name) for table in tables for column in table.columns}
    names |= {coarse(table.name) for table in tables}
    names |= {coarse(alias.alias) for alias in tree.find_all(exp.Alias, exp.TableAlias) if alias.name or alias.alias}
    for lexeme in quoted:
        if coarse(lexeme.text[1:-1]) in names:
            raise Refused(f"{lexeme.text} is a text in MySQL: a name stands in backticks, a text in single quotes")
