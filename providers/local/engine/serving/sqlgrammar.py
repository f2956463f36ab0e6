"""The grammar of replies whose SQL names only what a schema has: free prose with at most one fenced SELECT.

Which columns there are depends on the tables that are read, so the grammar has one scope per table, and one per pair
of tables that may be joined; a pair's columns are written with their table. Until its FROM a statement may belong to
any scope, and every scope costs at every step until then. So with more tables all joins have one scope, in which names
exist but need not belong together, and with very many tables every statement has. What a scope's rules are is said
once, in SCOPE. The text is Lark's form as llguidance reads it (https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

# Masks of tables with the same column names, on average: 24 tables of 20 columns 0.05 ms, 100 of 30 0.6, 200 of 15 2.4
# (13 at worst). Those 200 compile in 0.3 s, and 500 not at all. A scope's columns are one lexeme: as alternatives of a
# rule they took fifty times as long, and eight tables of 375 more than the library's limit.
MOST_SCOPES = 24
MOST_ALONE = 200

# Words that stand bare for no column or table in one at least of SQLite, PostgreSQL 16, MariaDB, MySQL 8 (its manual's
# list) and sqlglot: each keyword of each was tried as both, in the statements that the grammar knows.
RESERVED = frozenset(
    """
    accessible add all alter analyse analyze and any array as asc asensitive asymmetric authorization autoincrement
    before between bigint binary blob both by call cascade case cast change char character charset check collate
    collation column commit concurrently condition connect_by_root constraint continue convert count create cross cube
    cume_dist current_catalog current_date current_role current_schema current_time current_timestamp current_user
    cursor databases day_hour day_microsecond day_minute day_second dec decimal declare default deferrable delayed
    delete delete_domain_id dense_rank desc describe deterministic distinct distinctrow div do do_domain_ids double
    drop dual each else elseif empty enclosed end escape escaped except exists exit explain false fetch first_value
    float float4 float8 for force foreign freeze from full fulltext function glob grant group grouping groups having
    high_priority hour_microsecond hour_minute hour_second if ignore ignore_domain_ids ilike in index infile initially
    inner inout insensitive insert int int1 int2 int3 int4 int8 integer intersect interval into is isnull iterate join
    json_table key keys kill lag last_value lateral lead leading leave left library like limit linear lines load
    localtime localtimestamp lock long longblob longtext loop low_priority lower manual master_demote_to_replica
    master_demote_to_slave master_ssl_verify_server_cert match maxvalue mediumblob mediumint mediumtext middleint
    minute_microsecond minute_second mod modifies natural no_write_to_binlog not nothing notnull nth_value ntile null
    numeric of offset on only optimize optionally or order out outer outfile over overlaps page_checksum parallel
    parse_vcol_expr partition partitioned_by percent_rank placing portion precision primary procedure purge qualify
    raise range rank read read_write reads real recursive ref_system_id references regexp release rename repeat
    replace require resignal restrict return returning revoke right rlike rollback rollup row_number rows schemas
    second_microsecond select sensitive separator session_user set show signal similar smallint some spatial specific
    sql sql_big_result sql_buffer_result sql_cache sql_calc_found_rows sql_no_cache sql_small_result sqlexception
    sqlstate sqlwarning ssl starting stats_auto_recalc stats_persistent stats_sample_pages stored straight_join
    symmetric system table tablesample terminated then tinyblob tinyint tinytext to trailing transaction trigger true
    uncache undo union unique unlock unsigned update usage use user using utc_date utc_time utc_timestamp values
    varbinary varchar varcharacter variadic varying verbose virtual when where while window with write xor year_month
    zerofill
    """.split()  # noqa: SIM905
)
PLAIN = "[a-z一-鿿][a-z0-9_一-鿿]*"
QUOTES = {"mysql": "`", "mariadb": "`"}

# Prose never holds what the gateway would take for a statement (gateway/text2sql/extract.py): another fence, or a line
# that begins with SELECT or WITH, in any letters that Python takes for those. A lexeme is as long as it can be, so the
# prose and the fence behind it are one; and it has no limit, for counting would be a state per character.
COMMON = r"""
start: PROSE | FENCED query ";"? CLOSE AFTER?
OTHER_FENCES: /(?s:.*)(```|~~~)(?s:.*)/
UNFENCED: /((?s:.*)\n)?[ \t]*(?i:[sſ]elect|w[iıİ]th)([^A-Za-z0-9_](?s:.*))?/
TEXT: /(?s:.)%s/ & ~OTHER_FENCES & ~UNFENCED
PROSE: TEXT
FENCED: (TEXT & ~/(?s:.*)`/) "```sql\n"
CLOSE: "\n```"
AFTER: "\n" TEXT
WS: /( |\n {0,8})/
COMMA: /, ?/
COMPARE: / ?(=|<>|!=|<=|>=|<|>) ?/
ARITHMETIC: / [-+*\/] /
ALIAS: /[A-Za-z一-鿿][A-Za-z0-9_一-鿿]{0,30}/ & ~/(?i:%s)/
STRING: /'([^'\\\x00-\x1f]|''){0,60}'/ & ~/(?s:.*)```(?s:.*)/
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
term_@: COLUMN_@ | aggregate_@ | SCALAR "(" COLUMN_@ ")" | "ROUND"i "(" expression_@ (COMMA COUNT)? ")"
    | "SUBSTR"i "(" COLUMN_@ COMMA COUNT COMMA COUNT ")"
aggregate_@: "COUNT"i "(" ("*" | (DISTINCT WS)? COLUMN_@) ")" | AGGREGATE "(" (DISTINCT WS)? COLUMN_@ ")"
where_@: WS "WHERE"i WS condition_@
condition_@: predicate_@ (junction predicate_@)*
predicate_@: ("NOT"i WS)? "(" condition_@ ")" | operand_@ COMPARE (operand_@ | value | "(" single ")")
    | COLUMN_@ (WS "NOT"i)? WS "LIKE"i WS STRING
    | COLUMN_@ (WS "NOT"i)? WS "IN"i WS "(" (value (COMMA value)* | single) ")"
    | COLUMN_@ (WS "NOT"i)? WS "BETWEEN"i WS value WS "AND"i WS value | COLUMN_@ WS "IS"i (WS "NOT"i)? WS "NULL"i
operand_@: COLUMN_@ | SCALAR "(" COLUMN_@ ")" | "SUBSTR"i "(" COLUMN_@ COMMA COUNT COMMA COUNT ")"
group_@: WS "GROUP BY"i WS COLUMN_@ (COMMA COLUMN_@)* (WS "HAVING"i WS aggregate_@ COMPARE value)?
order_@: WS "ORDER BY"i WS expression_@ direction? (COMMA expression_@ direction?)*
single_@: "SELECT"i WS (DISTINCT WS)? (COLUMN_@ | aggregate_@) WS "FROM"i WS from_@ where_@?
"""


def _in_both_cases(rules: str) -> str:
    """ "SELECT"i as SELECT or select. Lark's own i folds by Unicode, where ſ is an s and the Kelvin sign a k."""
    return re.sub(r'"([A-Z][A-Z ]*)"i', lambda match: f'("{match[1]}" | "{match[1].lower()}")', rules)


def grammar(schema: Mapping[str, Sequence[str]], dialect: str = "", prose_characters: int | None = None) -> str:
    """The grammar for `schema`, table → columns, in `dialect`'s quotes; "" if none of its names can be written.

    prose_characters  at most so many before the statement, and behind it; None for any number
    """
    tables = _tables(schema, QUOTES.get(dialect, '"'))
    if not tables:
        return ""
    scopes = {}
    if len(tables) > MOST_ALONE:
        scopes["0"] = _everything(tables, joined="?")
    else:
        scopes |= {str(i): _alone(table) for i, table in enumerate(tables)}
    if MOST_SCOPES < len(tables) <= MOST_ALONE:
        scopes["0_0"] = _everything(tables, joined="")
    elif len(tables) <= MOST_SCOPES:
        # Two that a query would call alike are not joined.
        pairs = [pair for pair in combinations(range(len(tables)), 2) if len({tables[i].folded for i in pair}) == 2]
        # Tables that share a column's name are what is joined most.
        pairs.sort(key=lambda pair: not {*tables[pair[0]].columns} & {*tables[pair[1]].columns})
        for first, second in pairs[: MOST_SCOPES - len(tables)]:
            scopes[f"{first}_{second}"] = _joined(tables[first], tables[second])
    limit = "*" if prose_characters is None else f"{{0,{prose_characters}}}"
    rules = [COMMON % (limit, "|".join(sorted(RESERVED)))]
    rules += [(scope + SCOPE).replace("@", number) for number, scope in scopes.items()]
    # A subquery's result is one column of one table: enough for "the one with the most", and no more scopes.
    single = [f"single_{number}" for number in scopes if "_" not in number]
    rules.append(f"\nquery: {_any([f'query_{number}' for number in scopes])}\nsingle: {_any(single)}\n")
    return _in_both_cases("".join(rules))


class Table(NamedTuple):
    """
    name     as FROM has it, with its schema
    called   as its columns have it
    folded   the same for every spelling that a server might take for it
    columns  as they are written
    """

    name: str
    called: str
    folded: str
    columns: list[str]


def _tables(schema: Mapping[str, Sequence[str]], quote: str) -> list[Table]:
    """What of `schema` can be written, in Lark's strings."""
    tables = []
    for name, columns in schema.items():
        written = [_written(part, quote) for part in name.split(".")]
        usable = [_literal(each) for each in (_written(column, quote) for column in columns) if each]
        if usable and all(written):
            last = name.rpartition(".")[2]
            tables.append(Table(_literal(".".join(written)), _literal(written[-1]), last.casefold(), usable))
    return tables


def _qualified(table: Table) -> list[str]:
    return [f'{table.called} "." {column}' for column in table.columns]


def _alone(table: Table) -> str:
    return f"\nfrom_@: {table.name}\nCOLUMN_@: {_any(table.columns + _qualified(table))}"


def _joined(left: Table, right: Table) -> str:
    joined = [
        f'{first.name} WS ("LEFT"i WS)? "JOIN"i WS {second.name} WS "ON"i WS on_@'
        for first, second in ((left, right), (right, left))
    ]
    return (
        f"\nLEFT_@: {_any(_qualified(left))}\nRIGHT_@: {_any(_qualified(right))}\nCOLUMN_@: LEFT_@ | RIGHT_@"
        f"\non_@: LEFT_@ / ?= ?/ RIGHT_@ | RIGHT_@ / ?= ?/ LEFT_@\nfrom_@: {_any(joined)}"
    )


def _everything(tables: Sequence[Table], joined: str) -> str:
    """A scope for all tables, of which two are joined, or with "?" may be."""
    bare = list(dict.fromkeys(column for table in tables for column in table.columns))
    qualified = [column for table in tables for column in _qualified(table)]
    return (
        f"\nTABLE_@: {_any([table.name for table in tables])}\nQUALIFIED_@: {_any(qualified)}"
        f"\nCOLUMN_@: {_any([*bare, 'QUALIFIED_@'] if joined else ['QUALIFIED_@'])}"
        f'\nfrom_@: TABLE_@ (WS ("LEFT"i WS)? "JOIN"i WS TABLE_@ WS "ON"i WS QUALIFIED_@ / ?= ?/ QUALIFIED_@){joined}'
    )


def _written(name: str, quote: str) -> str:
    """A name as SQL writes it, in quotes unless it means the same without them to every server; "" if it cannot be."""
    if not name or any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return ""
    if re.fullmatch(PLAIN, name) and name not in RESERVED:
        return name
    written = quote + name.replace(quote, quote * 2) + quote
    return "" if "```" in written else written  # that would end the block


def _literal(text: str) -> str:
    """Lark's string for it; without an @, which stands for a scope's number."""
    escaped = "".join(f"\\x{ord(c):02x}" if c < " " or c == "@" else "\\" + c if c in '"\\' else c for c in text)
    return f'"{escaped}"'


def _any(alternatives: Sequence[str]) -> str:
    return alternatives[0] if len(alternatives) == 1 else "(" + " | ".join(alternatives) + ")"
