"""Every word of a statement is accounted for: it is a name in the parser's tree, or on the server's lists.

The statement is sent as it was written, so a word that the parser read past, or took for something else than the server
would, must not pass unseen: `INTO`, `PROCEDURE`, the second argument of a function whose kind has one, a table behind
SQLite's IN. Names are found in the tree by their place in the text; what they mean is judged in names.py.
"""

from __future__ import annotations

from sqlglot import exp

from gateway.text2sql.databases.dialect import Dialect
from gateway.text2sql.guard.lexemes import Lexeme, Statement
from gateway.text2sql.guard.refused import Refused

CHARSETS = {"_utf8", "_utf8mb3", "_utf8mb4", "_latin1", "_ascii", "_binary", "_gbk", "_gb18030"}
WHAT = {
    "into": "INTO is not allowed", "update": "locking rows is not allowed", "share": "locking rows is not allowed",
    "lock": "locking rows is not allowed", "procedure": "PROCEDURE is not allowed",
    "outfile": "writing files is not allowed", "dumpfile": "writing files is not allowed",
    "tablesample": "TABLESAMPLE is not allowed", "insert": "only SELECT may run here, not INSERT",
    "delete": "only SELECT may run here, not DELETE", "returning": "only SELECT may run here",
}  # fmt: skip
CALLED = {"left", "right", "isnull"}
# Words of servers that are none of these, and what to write on every one that is.
ELSEWHERE = {
    "minus": "write EXCEPT", "top": "write LIMIT at the end", "percent": "write LIMIT with a number of rows",
    "qualify": "write a subquery with the window function, and WHERE around it", "rownum": "write LIMIT at the end",
    "decode": "write CASE WHEN … THEN … END", "try_cast": "write CAST(x AS …)", "safe_cast": "write CAST(x AS …)",
    "safe_divide": "write a / NULLIF(b, 0)", "nvl2": "write CASE WHEN … THEN … END",
    "listagg": "write GROUP_CONCAT or string_agg",
    "sysdate": "write CURRENT_TIMESTAMP", "getdate": "write CURRENT_TIMESTAMP", "today": "write CURRENT_DATE",
    "dateadd": "add to a date in this server's own way", "pivot": "write SUM(CASE WHEN … THEN … END)",
    "nolock": "leave it out", "charindex": "write INSTR(text, part)", "convert": "write CAST(x AS …)",
    "len": "write LENGTH(x)", "sql_no_cache": "leave it out", "sql_calc_found_rows": "leave it out",
    "high_priority": "leave it out", "sql_big_result": "leave it out", "sql_small_result": "leave it out",
    "indexed": "leave it out", "countif": "write SUM(CASE WHEN … THEN 1 ELSE 0 END)",
}  # fmt: skip


# Where the parser puts a name that names.py judges; in any other place nothing would look at it.
PLACES = (
    exp.Column, exp.Table, exp.TableAlias, exp.Alias, exp.Join, exp.Window, exp.Unnest, exp.Collate, exp.JSONColumnDef,
    exp.ColumnDef,
)  # fmt: skip


def check(statement: Statement, tree: exp.Expr, dialect: Dialect) -> None:
    """Raise Refused for the first word or sign of `statement` that `tree` and the lists of `dialect` do not know."""
    named: dict[int, exp.Identifier] = {}
    for identifier in tree.find_all(exp.Identifier):
        if not isinstance(identifier.parent, PLACES):
            raise Refused(f"the name {identifier.name} is not allowed where it stands")
        if "start" in identifier.meta:
            named[identifier.meta["start"]] = identifier
    lexemes = statement.lexemes
    for n, lexeme in enumerate(lexemes):
        following = lexemes[n + 1] if n + 1 < len(lexemes) else None
        called = following is not None and following.text == "("
        node = named.get(lexeme.start)
        if lexeme.kind == "word":
            if node is None or (called and not isinstance(node.parent, exp.TableAlias)):
                _word(lexeme, lexemes[n - 1] if n else None, following, dialect)
        elif lexeme.kind == "name":
            _name(lexeme, node, called)
        elif lexeme.kind == "text":
            _text(lexeme, node, lexemes[n - 1] if n else None, dialect)


def _word(lexeme: Lexeme, before: Lexeme | None, following: Lexeme | None, dialect: Dialect) -> None:
    word = lexeme.text.lower()
    if following is not None and following.text == "(":
        # A word of the grammar may be another server's function: LEFT(x, 1), ISNULL(a, b).
        if word not in dialect.functions and (word not in dialect.words or word in CALLED):
            raise Refused(unknown_function(word, dialect))
        return
    if word in dialect.words:
        return
    if before is not None and before.text.lower() == "collate":
        return
    if following is not None and following.kind == "text" and word in CHARSETS and dialect.sqlglot == "mysql":
        return
    if following is not None and following.text in ("=", ":") and following.start == lexeme.end + following.gap:
        return  # an argument's name: days => 3; the parser has no other word there
    raise Refused(unknown_word(lexeme.text, dialect))


def unknown_function(word: str, dialect: Dialect) -> str:
    """Why a function may not be called, and what to write instead."""
    advice = dialect.advice.get(word) or ELSEWHERE.get(word)
    return f"the function {word} is not allowed in {dialect.title}" + (f": {advice}" if advice else "")


def unknown_word(word: str, dialect: Dialect) -> str:
    """Why a word may not stand in a statement, and what to write instead."""
    advice = dialect.advice.get(word.lower()) or ELSEWHERE.get(word.lower())
    if advice:
        return f"{word.upper()} is not allowed in {dialect.title}: {advice}"
    return WHAT.get(word.lower()) or f"{word.upper()} is not allowed here"


def _name(lexeme: Lexeme, node: exp.Identifier | None, called: bool) -> None:
    if node is None:
        raise Refused(f"the name {lexeme.text} is not allowed here")
    if called and not isinstance(node.parent, exp.TableAlias):
        raise Refused(f"a function's name is written without quotes, got {lexeme.text}")


def _text(lexeme: Lexeme, node: exp.Identifier | None, before: Lexeme | None, dialect: Dialect) -> None:
    """A text where a name should stand: an alias may be one, a table may not."""
    if node is not None and not isinstance(node.parent, exp.Alias | exp.TableAlias):
        quotes = "backticks" if dialect.quote == "`" else "double quotes"
        raise Refused(f"{lexeme.text} is a text in {dialect.title}, not a name: names stand in {quotes}")
    if before is not None and before.kind == "text" and dialect.sqlglot != "mysql":
        raise Refused("two texts side by side: join them with ||")
