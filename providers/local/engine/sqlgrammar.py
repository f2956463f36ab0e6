"""The grammar of replies whose SQL names only what a schema has: free prose, then at most one fenced SELECT.

Which columns there are depends on the tables that are read, so the grammar has one scope per table, and one per pair
of tables that may be joined; a pair's columns are written with their table. Until its FROM a statement may belong to
any scope, and every scope costs at every step until then; a schema of very many tables gets one scope for all of
them, in which names exist but need not belong together. What a scope's rules are is said once, in SCOPE. The text is
Lark's form as llguidance reads it (https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations

# 21 scopes: 0.04 ms a mask at worst; 36: 0.12; 105: 1.7 (tables of 20 columns with the same names).
MOST_SCOPES = 24
PROSE_CHARACTERS = 4000

RESERVED = (
    "all and any as asc between by case cross desc distinct else end except exists false for from full group having "
    "in inner intersect into is join left like limit natural not null offset on or order outer right select some table "
    "then to true union using values when where window with"
)

COMMON = r"""
start: PROSE (FENCE query ";"? CLOSE)?
PROSE: /([^`]|`[^`]|``[^`]){0,%d}/
FENCE: "```sql\n"
CLOSE: /\n?/ "```" /\n?/
WS: /( |\n {0,8})/
COMMA: /, ?/
COMPARE: / ?(=|<>|!=|<=|>=|<|>) ?/
ARITHMETIC: / [-+*\/] /
ALIAS: /[A-Za-z_\p{Han}][A-Za-z0-9_\p{Han}]{0,30}/ & ~/(?i:%s)/
STRING: /'([^'\\\x00-\x1f]|''){0,60}'/
NUMBER: /(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?/
COUNT: /[1-9][0-9]{0,5}/
value: STRING | "-"? NUMBER
AGGREGATE: "SUM"i | "AVG"i | "MIN"i | "MAX"i
SCALAR: "ABS"i | "LENGTH"i | "LOWER"i | "UPPER"i
DISTINCT: "DISTINCT"i
junction: WS ("AND"i | "OR"i) WS
direction: WS ("ASC"i | "DESC"i)
"""

SCOPE = r"""
query_@: "SELECT"i WS (DISTINCT WS)? items_@ WS "FROM"i WS from_@ where_@? group_@? order_@? (WS "LIMIT"i WS COUNT)?
items_@: "*" | item_@ (COMMA item_@)*
item_@: expression_@ (WS "AS"i WS ALIAS)?
expression_@: term_@ (ARITHMETIC (term_@ | NUMBER))*
term_@: column_@ | aggregate_@ | SCALAR "(" column_@ ")" | "ROUND"i "(" expression_@ (COMMA COUNT)? ")"
    | "SUBSTR"i "(" column_@ COMMA COUNT COMMA COUNT ")"
aggregate_@: "COUNT"i "(" ("*" | (DISTINCT WS)? column_@) ")" | AGGREGATE "(" (DISTINCT WS)? column_@ ")"
where_@: WS "WHERE"i WS condition_@
condition_@: predicate_@ (junction predicate_@)*
predicate_@: ("NOT"i WS)? "(" condition_@ ")" | operand_@ COMPARE (operand_@ | value | "(" single ")")
    | column_@ (WS "NOT"i)? WS "LIKE"i WS STRING
    | column_@ (WS "NOT"i)? WS "IN"i WS "(" (value (COMMA value)* | single) ")"
    | column_@ (WS "NOT"i)? WS "BETWEEN"i WS value WS "AND"i WS value | column_@ WS "IS"i (WS "NOT"i)? WS "NULL"i
operand_@: column_@ | SCALAR "(" column_@ ")" | "SUBSTR"i "(" column_@ COMMA COUNT COMMA COUNT ")"
group_@: WS "GROUP BY"i WS column_@ (COMMA column_@)* (WS "HAVING"i WS aggregate_@ COMPARE value)?
order_@: WS "ORDER BY"i WS expression_@ direction? (COMMA expression_@ direction?)*
single_@: "SELECT"i WS (DISTINCT WS)? (column_@ | aggregate_@) WS "FROM"i WS from_@ where_@?
"""


def _in_both_cases(rules: str) -> str:
    """ "SELECT"i as SELECT or select. Lark's own i folds by Unicode, where ſ is an s and the Kelvin sign a k."""
    return re.sub(r'"([A-Z][A-Z ]*)"i', lambda match: f'("{match[1]}" | "{match[1].lower()}")', rules)


def grammar(schema: Mapping[str, Sequence[str]], prose_characters: int = PROSE_CHARACTERS) -> str:
    """The grammar for `schema`, table → columns; tables without columns are left out."""
    tables = [(_name(table), [_name(column) for column in columns]) for table, columns in schema.items() if columns]
    scopes = {}
    if len(tables) > MOST_SCOPES:
        scopes["all"] = _everything(tables)
    else:
        scopes |= {str(i): _alone(table) for i, table in enumerate(tables)}
        pairs = list(combinations(range(len(tables)), 2))
        # Tables that share a column's name are what is joined most.
        pairs.sort(key=lambda pair: not {*tables[pair[0]][1]} & {*tables[pair[1]][1]})
        for first, second in pairs[: MOST_SCOPES - len(tables)]:
            scopes[f"{first}_{second}"] = _joined(tables[first], tables[second])
    rules = [COMMON % (prose_characters, "|".join(RESERVED.split()))]
    rules += [(scope + SCOPE).replace("@", number) for number, scope in scopes.items()]
    # A subquery's result is one column of one table: enough for "the one with the most", and no more scopes.
    single = [f"single_{number}" for number in scopes if "_" not in number]
    rules.append(f"\nquery: {_any([f'query_{number}' for number in scopes])}\nsingle: {_any(single)}\n")
    return _in_both_cases("".join(rules))


Table = tuple[str, list[str]]


def _qualified(table: Table) -> list[str]:
    return [f'{table[0]} "." {column}' for column in table[1]]


def _alone(table: Table) -> str:
    return f"\nfrom_@: {table[0]}\ncolumn_@: {_any(table[1] + _qualified(table))}"


def _joined(left: Table, right: Table) -> str:
    joined = [
        f'{first[0]} WS ("LEFT"i WS)? "JOIN"i WS {second[0]} WS "ON"i WS on_@'
        for first, second in ((left, right), (right, left))
    ]
    return (
        f"\nleft_@: {_any(_qualified(left))}\nright_@: {_any(_qualified(right))}\ncolumn_@: left_@ | right_@"
        f"\non_@: left_@ / ?= ?/ right_@ | right_@ / ?= ?/ left_@\nfrom_@: {_any(joined)}"
    )


def _everything(tables: Sequence[Table]) -> str:
    bare = list(dict.fromkeys(column for _, columns in tables for column in columns))
    qualified = [column for table in tables for column in _qualified(table)]
    return (
        f"\ntable_@: {_any([name for name, _ in tables])}\nqualified_@: {_any(qualified)}"
        f"\ncolumn_@: {_any(bare)} | qualified_@"
        '\nfrom_@: table_@ (WS "JOIN"i WS table_@ WS "ON"i WS qualified_@ / ?= ?/ qualified_@)?'
    )


def _name(name: str) -> str:
    """A name as SQL writes it: bare where that is allowed, else in double quotes; one that comes quoted stays as it is.

    A name with capitals may be either: PostgreSQL folds it to small letters where it is bare.
    """
    bare = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name) and name.lower() not in RESERVED.split()
    if bare or (len(name) > 2 and name[0] == name[-1] and name[0] in '"`'):
        written = [name]
    else:
        written = []
    if not written or (bare and name != name.lower() and "." not in name):
        written.append('"' + name.replace('"', '""') + '"')
    return _any([_literal(text) for text in written])


def _literal(text: str) -> str:
    escaped = "".join(f"\\x{ord(c):02x}" if ord(c) < 0x20 else "\\" + c if c in '"\\' else c for c in text)
    return f'"{escaped}"'


def _any(alternatives: Sequence[str]) -> str:
    return alternatives[0] if len(alternatives) == 1 else "(" + " | ".join(alternatives) + ")"
