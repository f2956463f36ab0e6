"""Judging a statement before it is complete: whether its beginning can still become one that may run.

Only what is certain counts: words that are complete, and what no continuation could make good. What passes here is
judged in full once it is complete, so this saves time and decides nothing.
"""

from __future__ import annotations

from sqlglot import exp

from gateway.text2sql.databases import DIALECTS
from gateway.text2sql.databases.dialect import Dialect
from gateway.text2sql.guard import judge, lexemes, words
from gateway.text2sql.guard.lexemes import Lexeme
from gateway.text2sql.guard.names import Names
from gateway.text2sql.guard.refused import Refused
from prompts.tables import Schema

# Behind one of these a word with a parenthesis is a call; behind a name it may be an alias with its columns.
BEFORE_A_CALL = {
    "select", "where", "and", "or", "not", "on", "having", "when", "then", "else", "=", "<", ">", "+", "-", "*", "/",
    "(", ",", "by", "distinct", "between",
}  # fmt: skip
# What stands before one of these, outside of parentheses, is a whole statement, and what it names stays named.
CLAUSES = {"where", "group", "having", "order", "limit", "offset", "union", "except", "intersect"}
# What ends a list of tables.
ENDS = CLAUSES | {"window", "fetch", "for", "select", "qualify"}


def early_reject(partial: str, schema: Schema) -> str | None:
    """Why no continuation of `partial` may run, or None where one still may, or where that is not certain yet."""
    dialect = DIALECTS[schema.server]
    if ";" in partial:
        return None  # what follows it decides, and it is short
    try:
        statement = lexemes.read(partial, dialect)
    except Refused:
        return None  # inside a text or a quoted name
    # The last word may go on.
    complete = statement.lexemes[:-1]
    try:
        _judge(complete, statement.lexemes, Names(schema, dialect, statement.text), dialect)
        _judge_beginning(statement.text, complete, schema, dialect)
    except Refused as refusal:
        return str(refusal)
    except Exception:  # noqa: BLE001 - a half statement may be anything; the whole one is judged later
        return None
    return None


def _judge(complete: list[Lexeme], read: list[Lexeme], names: Names, dialect: Dialect) -> None:
    if complete and complete[0].text.lower() not in judge.BEGINNINGS:
        raise Refused(f"only SELECT may run here, not {complete[0].text.upper()}")
    known = _with_names(read)
    in_query = [True]  # for each open parenthesis, whether a query stands in it
    lists = [False]  # and whether its tables are being listed
    for n, lexeme in enumerate(complete):
        word = lexeme.text.lower() if lexeme.kind in ("word", "sign") else ""
        if word == "(":
            following = read[n + 1].text.lower() if n + 1 < len(complete) else ""
            in_query.append(following in ("select", "with"))
            lists.append(False)
            _call(complete, n, dialect)
        elif word == ")" and len(in_query) > 1:
            in_query.pop()
            lists.pop()
        elif word == "into":
            raise Refused(words.WHAT["into"])
        elif word == "join" or (word == "from" and in_query[-1] and not _is_comparison(complete, n)):
            lists[-1] = True
            _table(read, n + 1, known, names)
        elif word in ENDS:
            lists[-1] = False
        elif word == "," and lists[-1]:
            _table(read, n + 1, known, names)


def _judge_beginning(text: str, complete: list[Lexeme], schema: Schema, dialect: Dialect) -> None:
    """Judge what stands before the last clause, if that is a statement by itself."""
    depth, cut = 0, 0
    for lexeme in complete:
        depth += (lexeme.text == "(") - (lexeme.text == ")")
        if depth == 0 and lexeme.kind == "word" and lexeme.text.lower() in CLAUSES:
            cut = lexeme.start
    if not cut:
        return
    try:
        statement = lexemes.read(text[:cut], dialect)
        tree = judge.parse(statement, dialect)
    except Refused:
        return  # it may not be one yet
    judge.check(statement, tree, schema, dialect)


def _with_names(read: list[Lexeme]) -> set[str]:
    """Every name that a common table expression may have been given: `name AS (`, `name (columns) AS (`."""
    names = set()
    for n, lexeme in enumerate(read[:-2]):
        if lexeme.text.lower() == "as" and read[n + 1].text == "(":
            before = n - 1
            if before >= 0 and read[before].text == ")":
                while before >= 0 and read[before].text != "(":
                    before -= 1
                before -= 1
            if before >= 0:
                names.add(read[before].text.strip('"`[]').lower())
    return names


def _is_comparison(read: list[Lexeme], n: int) -> bool:
    return n > 0 and read[n - 1].text.lower() == "distinct"  # IS DISTINCT FROM


def _table(read: list[Lexeme], n: int, known: set[str], names: Names) -> None:
    """Judge the table whose name begins at `n`, if it is all there: something else has begun behind it."""
    if n >= len(read) or read[n].kind not in ("word", "name") or read[n].text.lower() in ("lateral", "only", "dual"):
        return
    parts = [read[n]]
    while n + 2 < len(read) and read[n + 1].text == ".":
        parts.append(read[n + 2])
        n += 2
    if n + 1 >= len(read) or read[n + 1].text in (".", "("):
        return
    if len(parts) > 2 or (len(parts) == 1 and parts[0].text.strip('"`[]').lower() in known):
        return
    identifiers = [exp.to_identifier(part.text.strip('"`[]'), quoted=part.kind == "name") for part in parts]
    names.table(identifiers[-1], identifiers[0] if len(identifiers) > 1 else None)


def _call(complete: list[Lexeme], n: int, dialect: Dialect) -> None:
    """Judge the function that is called with the parenthesis at `n`."""
    if n < 2 or complete[n - 1].kind != "word" or complete[n - 2].text.lower() not in BEFORE_A_CALL:
        return
    word = complete[n - 1].text.lower()
    if complete[n - 2].text == "," and _in_with(complete, n):
        return
    if word not in dialect.functions and word not in dialect.words:
        raise Refused(words.unknown_function(word, dialect))


def _in_with(complete: list[Lexeme], n: int) -> bool:
    """Whether `, name (` at `n` may be the next table expression of a WITH."""
    return complete[0].text.lower() == "with" and n >= 3 and complete[n - 3].text == ")"
