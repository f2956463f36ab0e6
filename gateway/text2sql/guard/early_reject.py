"""Judging a statement before it is complete: whether what has come of it can still become one that may run.

Only what is certain counts: words that are complete, and what no continuation could make good. Whatever passes here is
judged in full once it is complete, so this saves time and decides nothing.
"""

from __future__ import annotations

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokens import Token, TokenType

from gateway.text2sql.databases import DIALECTS
from gateway.text2sql.databases.dialect import Dialect
from gateway.text2sql.guard.functions import EXPRESSIONS, FUNCTIONS
from gateway.text2sql.guard.judge import check, parse
from gateway.text2sql.guard.names import Names, Refused
from prompts.tables import Schema

NAMES = {TokenType.VAR, TokenType.IDENTIFIER}
BEGINNINGS = {TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN}
# Behind one of these a name with a parenthesis is a call.
BEFORE_A_CALL = {
    TokenType.SELECT, TokenType.WHERE, TokenType.AND, TokenType.OR, TokenType.NOT, TokenType.ON, TokenType.HAVING,
    TokenType.WHEN, TokenType.THEN, TokenType.ELSE, TokenType.EQ, TokenType.NEQ, TokenType.GT, TokenType.GTE,
    TokenType.LT, TokenType.LTE, TokenType.PLUS, TokenType.DASH, TokenType.STAR, TokenType.SLASH, TokenType.L_PAREN,
    TokenType.ORDER_BY, TokenType.GROUP_BY, TokenType.DISTINCT,
}  # fmt: skip


# What stands before one of these, outside of parentheses, is a whole statement, and what it names stays named.
CLAUSES = {
    TokenType.WHERE, TokenType.GROUP_BY, TokenType.HAVING, TokenType.ORDER_BY, TokenType.LIMIT, TokenType.OFFSET,
    TokenType.UNION, TokenType.EXCEPT, TokenType.INTERSECT,
}  # fmt: skip
# What ends a list of tables.
ENDS = CLAUSES | {TokenType.WINDOW, TokenType.FETCH, TokenType.FOR, TokenType.SELECT, TokenType.QUALIFY}


def early_reject(partial: str, schema: Schema) -> str | None:
    """Why no continuation of `partial` may run, or None where one still may, or where that is not certain yet."""
    dialect = DIALECTS[schema.dialect]
    try:
        tokens = sqlglot.tokenize(partial, read=dialect.sqlglot)
    except SqlglotError:
        return None  # inside a text or a quoted name
    # The last word may go on.
    complete = tokens[:-1]
    try:
        _judge(complete, tokens, Names(schema, dialect), dialect)
        _judge_beginning(partial, complete, schema, dialect)
    except Refused as refusal:
        return str(refusal)
    return None


def _judge(complete: list[Token], tokens: list[Token], names: Names, dialect: Dialect) -> None:
    if complete and complete[0].token_type not in BEGINNINGS:
        raise Refused(f"only SELECT may run here, not {complete[0].text.upper()}")
    known = _with_names(tokens)
    in_query = [True]  # for each open parenthesis, whether a query stands in it
    lists = [False]  # and whether its tables are being listed
    for n, token in enumerate(complete):
        kind = token.token_type
        if kind == TokenType.L_PAREN:
            following = tokens[n + 1].token_type if n + 1 < len(complete) else None
            in_query.append(following in (TokenType.SELECT, TokenType.WITH))
            lists.append(False)
            _call(complete, n, dialect)
        elif kind == TokenType.R_PAREN and len(in_query) > 1:
            in_query.pop()
            lists.pop()
        elif kind == TokenType.SEMICOLON:
            raise Refused("it is several statements, only one may run")
        elif kind == TokenType.RECURSIVE:
            raise Refused("WITH RECURSIVE is not allowed")
        elif kind == TokenType.INTO:
            raise Refused("INTO is not allowed")
        elif kind == TokenType.JOIN or (kind == TokenType.FROM and in_query[-1] and not _is_comparison(complete, n)):
            lists[-1] = True
            _table(tokens, n + 1, known, names)
        elif kind in ENDS:
            lists[-1] = False
        elif kind == TokenType.COMMA and lists[-1]:
            _table(tokens, n + 1, known, names)


def _judge_beginning(partial: str, complete: list[Token], schema: Schema, dialect: Dialect) -> None:
    """Judge what stands before the last clause, if that is a statement by itself."""
    depth, cut = 0, 0
    for token in complete:
        if token.token_type in (TokenType.L_PAREN, TokenType.R_PAREN):
            depth += 1 if token.token_type == TokenType.L_PAREN else -1
        elif depth == 0 and token.token_type in CLAUSES:
            cut = token.start
    if not cut:
        return
    try:
        tree = parse(partial[:cut], dialect)
    except Refused:
        return  # it may not be one yet
    check(tree, schema, dialect)


def _with_names(tokens: list[Token]) -> set[str]:
    """Every name that a common table expression may have been given: `name AS (`, `name (columns) AS (`."""
    found = set()
    for n, token in enumerate(tokens[:-2]):
        if token.token_type == TokenType.ALIAS and tokens[n + 1].token_type == TokenType.L_PAREN:
            before = n - 1
            if before >= 0 and tokens[before].token_type == TokenType.R_PAREN:
                while before >= 0 and tokens[before].token_type != TokenType.L_PAREN:
                    before -= 1
                before -= 1
            if before >= 0:
                found.add(tokens[before].text.lower())
    return found


def _is_comparison(tokens: list[Token], n: int) -> bool:
    return n > 0 and tokens[n - 1].token_type == TokenType.DISTINCT  # IS DISTINCT FROM


def _table(tokens: list[Token], n: int, known: set[str], names: Names) -> None:
    """Judge the table whose name begins at `n`, if it is all there: something else has begun behind it."""
    if n >= len(tokens) or tokens[n].token_type not in NAMES:
        return
    parts = [tokens[n]]
    while n + 2 < len(tokens) and tokens[n + 1].token_type == TokenType.DOT:
        parts.append(tokens[n + 2])
        n += 2
    if n + 1 >= len(tokens) or tokens[n + 1].token_type in (TokenType.DOT, TokenType.L_PAREN):
        return
    if len(parts) > 2 or (len(parts) == 1 and parts[0].text.lower() in known):
        return
    identifiers = [exp.to_identifier(part.text, quoted=part.token_type == TokenType.IDENTIFIER) for part in parts]
    names.table(identifiers[-1], identifiers[0] if len(identifiers) > 1 else None)


def _call(complete: list[Token], n: int, dialect: Dialect) -> None:
    """Judge the function that is called with the parenthesis at `n`."""
    if n < 2 or complete[n - 1].token_type != TokenType.VAR or complete[n - 2].token_type not in BEFORE_A_CALL:
        return
    name = complete[n - 1].text
    known = exp.FUNCTION_BY_NAME.get(name.upper())
    if known is not None and (known in FUNCTIONS or known in EXPRESSIONS):
        return
    # Each dialect has spellings of its own, which only its parser knows: it decides.
    try:
        parsed = sqlglot.parse_one(f"{name}(x, x)", read=dialect.sqlglot)
    except SqlglotError:
        return
    if isinstance(parsed, exp.Anonymous) and name.lower() not in dialect.functions:
        raise Refused(f"the function {name.lower()} is not allowed")
