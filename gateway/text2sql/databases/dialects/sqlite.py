"""SQLite's row: see dialect.py."""

import sqlite3

from gateway.text2sql.databases.dialect import Dialect, ascii_lower, lexical
from gateway.text2sql.databases.dialects import vocabulary as common
from gateway.text2sql.databases.dialects.vocabulary import words

# The library's own version decides: 3.44 brought these.
NEWER = words("concat concat_ws string_agg") if sqlite3.sqlite_version_info >= (3, 44) else words("")

SQLITE = Dialect(
    name="sqlite",
    title="SQLite",
    module="sqlite",
    sqlglot="sqlite",
    template="sqlite",
    quote='"',
    fold_table=ascii_lower,
    fold_column=ascii_lower,
    quoting_exact=False,
    name_bytes=1_000,
    lexemes=lexical(
        text=r"[xX]'[0-9a-fA-F]*' | '(?:[^']|'')*'",
        name=r'"(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]\[]*\]',
        comment=r"--[^\n]* | /\*.*?\*/",
    ),
    words=common.GRAMMAR | common.TYPES | common.CONSTANTS | words("""
        RIGHT FULL GLOB ISNULL NOTNULL NULLS FIRST LAST FILTER GROUPS EXCLUDE TIES NO OTHERS OF
        TEXT BLOB TINYINT MEDIUMINT NCHAR NVARCHAR CLOB UNSIGNED NOCASE BINARY RTRIM
    """),
    functions=common.FUNCTIONS | words("""
        total group_concat
        ifnull iif typeof likely unlikely likelihood random trunc
        instr unicode char printf quote like glob hex
        datetime julianday unixepoch strftime
        json json_extract json_array_length json_type json_valid json_quote json_each json_tree
        json_group_array json_group_object json_set json_insert json_replace json_remove json_patch json_object
        json_array format sinh cosh tanh asinh acosh atanh octet_length
    """) - words("hex") | NEWER,
    glued=False,
    advice={
        "::": "write CAST(… AS …)",
        "ilike": "LIKE ignores the case of ASCII letters in SQLite",
        "regexp": "SQLite has no REGEXP here: write LIKE or GLOB",
        "rlike": "SQLite has no RLIKE: write LIKE or GLOB",
        "similar": "SQLite has no SIMILAR TO: write LIKE or GLOB",
        "interval": "SQLite has no INTERVAL: write date(x, '+1 day')",
        "top": "write LIMIT at the end",
        "fetch": "write LIMIT at the end",
        "div": "write CAST(a / b AS INTEGER)",
        "xor": "write a <> b",
        "lateral": "SQLite has no LATERAL: write a subquery in SELECT, or a JOIN",
        "any": "write IN (…)", "some": "write IN (…)",
        "array": "SQLite has no arrays",
        "string_agg": "write group_concat(x, ',')", "listagg": "write group_concat(x, ',')",
        "dateadd": "write date(x, '+1 day')", "from_unixtime": "write datetime(x, 'unixepoch')",
        "unix_timestamp": "write unixepoch(x)", "sysdate": "write datetime('now', 'localtime')",
        "getdate": "write datetime('now', 'localtime')",
        "concat": "join texts with ||", "concat_ws": "join texts with ||",
        "now": "write datetime('now', 'localtime')", "curdate": "write date('now', 'localtime')",
        "curtime": "write time('now', 'localtime')",
        "date_format": "write strftime('%Y-%m-%d', x)", "to_char": "write strftime('%Y-%m-%d', x)",
        "to_date": "write date(x)", "str_to_date": "write date(x)",
        "date_trunc": "write date(x, 'start of month')",
        "date_add": "write date(x, '+1 day')", "date_sub": "write date(x, '-1 day')",
        "datediff": "write julianday(a) - julianday(b)", "timestampdiff": "write julianday(a) - julianday(b)",
        "extract": "write CAST(strftime('%m', x) AS INTEGER)", "date_part": "write CAST(strftime('%m', x) AS INTEGER)",
        "year": "write CAST(strftime('%Y', x) AS INTEGER)", "month": "write CAST(strftime('%m', x) AS INTEGER)",
        "day": "write CAST(strftime('%d', x) AS INTEGER)", "quarter": "write (strftime('%m', x) + 2) / 3",
        "left": "write substr(x, 1, n)", "right": "write substr(x, -n)",
        "greatest": "write max(a, b)", "least": "write min(a, b)",
        "if": "write CASE WHEN … THEN … ELSE … END", "nvl": "write COALESCE(a, b)", "isnull": "write COALESCE(a, b)",
        "stddev": "SQLite has no standard deviation: write sqrt(avg(x * x) - avg(x) * avg(x))",
        "position": "write instr(text, part)", "strpos": "write instr(text, part)", "locate": "write instr(text, part)",
        "char_length": "write length(x)", "rand": "write random()",
        "hex": "hex() reads a number as text in SQLite: write printf('%X', n)",
        "lpad": "write printf('%05d', n)",
    },
    alias_scopes=frozenset({"order", "group", "having", "where"}),
    alias_alone=False,
    joins_see_all=True,
    names_as_text=True,
    # rowid and _rowid_ may be other names of a closed key.
    pseudo_columns=frozenset({"rowid", "oid", "_rowid_"}),
    pseudo_values=frozenset(),
    row_functions={
        "json_each": ("key", "value", "type", "atom", "id", "parent", "fullkey", "path"),
        "json_tree": ("key", "value", "type", "atom", "id", "parent", "fullkey", "path"),
    },
)  # fmt: skip

# What SQLite's authorizer may be asked for besides the guard's functions: operators are functions there.
AUTHORIZED = SQLITE.functions | words("current_date current_time current_timestamp -> ->> regexp match") - words(
    "regexp match"
)
