"""Whether a statement may run: one query over allowed tables, columns and functions, sent as it was written.

    lexemes.py      the statement cut as its server cuts it; comments and hints go
    reader.py       the parser of each server's SQL
    words.py        each word is a name in the parser's tree, or on the server's lists
    kinds.py        the kinds of expressions that a tree may hold
    meanings.py     what the server takes, and takes for something else than was meant
    names.py        tables and columns; table functions; recursion.py: WITH RECURSIVE
    size_bounds.py  how long a value can become
    reserved.py     names that are reserved words get the server's quotes

Nothing is translated. What is sent is the judged statement's own text, with a LIMIT behind it where it has none; that
text is read again, and gives the judged tree. This is one layer of several: docs/databases.md says what stops what.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from gateway.text2sql.databases import DIALECTS
from gateway.text2sql.databases.dialect import Dialect
from gateway.text2sql.guard import lexemes, meanings, reserved, size_bounds, words
from gateway.text2sql.guard import reader as readers
from gateway.text2sql.guard.kinds import EXPRESSIONS, WORDS
from gateway.text2sql.guard.names import Names
from gateway.text2sql.guard.refused import Refused
from prompts.tables import Schema

log = logging.getLogger("sluice.sql")
# It warns of what it cannot read, with the statement; what cannot be read is refused here, with a reason.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

# MySQL fills a BINARY up to its length.
TYPE_LENGTH = 10_000
BEGINNINGS = {"select", "with", "(", "values"}
STARS_IN = (exp.Select, exp.Count, exp.Column)


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    sql      the statement that is sent, without the LIMIT of ours; as it came where it was refused
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
    dialect = DIALECTS[schema.server]
    try:
        statement = lexemes.read(sql, dialect)
        tree = parse(statement, dialect)
        tables = check(statement, tree, schema, dialect)
        in_quotes = reserved.quoted(statement, tree, dialect)
        if in_quotes is not statement:
            # Judged anew as a whole: what is sent is what was judged.
            statement, tree = in_quotes, parse(in_quotes, dialect)
            tables = check(statement, tree, schema, dialect)
        limited = with_limit(statement, tree, row_limit + 1, dialect)
    except Refused as refusal:
        return Verdict(sql, ok=False, reason=str(refusal))
    except RecursionError:
        return Verdict(sql, ok=False, reason="the statement is too deeply nested to be judged")
    except Exception as error:  # noqa: BLE001 - a judgement is never a failure: what cannot be judged may not run
        log.warning("a statement could not be judged: %s in %s", type(error).__name__, _place(error))
        return Verdict(sql, ok=False, reason="the statement could not be judged; write it in a simpler way")
    return Verdict(statement.text, ok=True, limited=limited, tables=tables, tree=tree)


def parse(statement: lexemes.Statement | str, dialect: Dialect) -> exp.Query:
    """The one query that the statement is; raises Refused."""
    if isinstance(statement, str):
        statement = lexemes.read(statement, dialect)
    first = statement.lexemes[0].text
    if first.lower() not in BEGINNINGS:
        raise Refused(f"only SELECT may run here, not {first.upper()[:40]}")
    try:
        reader = readers.of(dialect)
        tokens = lexemes.token_list(reader, statement)
        meanings.check_signs(statement.text, tokens, dialect)
        trees = [tree for tree in reader.parser().parse(tokens, statement.text) if tree is not None]
    except SqlglotError as error:
        raise Refused(_unread(error, statement, dialect)) from None
    except (AttributeError, TypeError, ValueError, LookupError, re.error):
        # The parser's own faults: a function without the argument that its kind needs, a path into JSON.
        raise Refused(f"it could not be read as SQL of {dialect.title}: check its functions' arguments") from None
    if len(trees) != 1:
        raise Refused("there must be one statement, got several" if trees else "there is no statement")
    tree = trees[0]
    if not isinstance(tree, exp.Select | exp.SetOperation | exp.Subquery | exp.Values):
        raise Refused(f"only SELECT may run here, not {first.upper()}")
    query: exp.Query = tree  # type: ignore[assignment]  # VALUES has what a query has, under another base
    return query


def check(statement: lexemes.Statement, tree: exp.Query, schema: Schema, dialect: Dialect) -> list[str]:
    """The tables that `tree` reads; raises Refused."""
    for node in tree.walk():
        _check_kind(node, dialect)
        if isinstance(node, exp.Select) and not node.expressions:
            raise Refused("a SELECT says nothing about what to select")
    words.check(statement, tree, dialect)
    size_bounds.check(tree)
    tables = Names(schema, dialect, statement.text).check(tree)
    meanings.check(statement, tree, [schema.by_name[name] for name in tables], dialect)
    return tables


def _check_kind(node: exp.Expr, dialect: Dialect) -> None:
    if not isinstance(node, exp.Func) and type(node) not in EXPRESSIONS:
        what = WORDS.get(node.key)
        shown = " ".join(node.sql(dialect.sqlglot).split())[:60] or node.key.upper()
        raise Refused(f"{what} is not allowed: {shown}" if what else f"this is not allowed: {shown}")
    if isinstance(node, exp.JSONTable) and not isinstance(node.parent, exp.Table):
        raise Refused("JSON_TABLE gives rows: write it behind FROM, with a name")
    if isinstance(node, exp.DataTypeParam) and node.name.isdigit() and int(node.name) > TYPE_LENGTH:
        raise Refused(f"a type's length must be at most {TYPE_LENGTH:,}, got {node.name}")
    if node.is_star and isinstance(node, exp.Star | exp.Column) and not isinstance(node.parent, STARS_IN):
        # Elsewhere PostgreSQL makes a row of it, or all columns in spite of a name given with AS.
        raise Refused("* stands for columns in a select list and in COUNT(*) only")


def with_limit(statement: lexemes.Statement, tree: exp.Query, most: int, dialect: Dialect) -> str:
    """The statement with `LIMIT most` behind it, where it has no limit of its own; its own stays as it was written.

    Read again, the text has to give the judged tree and that LIMIT, and nothing else.
    """
    if tree.args.get("limit") is not None or (isinstance(tree, exp.Values) and dialect.name == "sqlite"):
        return statement.text
    limited = f"{statement.text}\nLIMIT {most}"
    again = parse(limited, dialect)
    limit = again.args.get("limit")
    again.set("limit", None)
    if not isinstance(limit, exp.Limit) or limit.expression.name != str(most) or again != tree:
        raise Refused("its end cannot take a LIMIT: write LIMIT at the end of the whole statement")
    return limited


def _place(error: Exception) -> str:
    """The last function of ours in `error`'s trace, for the log; the statement is not in it."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = trace.tb_frame.f_code.co_name
        trace = trace.tb_next
    return place


def _unread(error: SqlglotError, statement: lexemes.Statement, dialect: Dialect) -> str:
    """Why a statement could not be read: the place, and what to write instead of another server's word."""
    for lexeme in statement.lexemes:
        word = lexeme.text.lower()
        if lexeme.kind != "word" or word in dialect.words | dialect.functions:
            continue
        if advice := dialect.advice.get(word) or words.ELSEWHERE.get(word):
            return f"{word.upper()} is not allowed in {dialect.title}: {advice}"
    begin = f"it could not be read as SQL of {dialect.title}"
    faults = error.errors if isinstance(error, ParseError) else []
    if not faults:
        return f"{begin}: check its quotes and parentheses"
    before, at = str(faults[0].get("start_context") or ""), str(faults[0].get("highlight") or "")
    near = " ".join([*before.split()[-4:-1], *(f"{(before.split(' ') or [''])[-1]}{at}").split()])[-80:]
    if not str(faults[0].get("end_context") or "").strip():
        return f"{begin}: something is missing behind {near}"
    return f"{begin} near {near}"
