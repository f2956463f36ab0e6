"""The rows of MySQL and MariaDB: see dialect.py."""

from dataclasses import replace

from gateway.text2sql.databases.dialect import Dialect, as_written, coarse

MYSQL = Dialect(
    name="mysql",
    title="MySQL",
    module="mysql",
    sqlglot="mysql",
    template="mysql",
    quote="`",
    # Whether table names fold depends on the server's file system: the guard asks for one spelling of each.
    fold_table=as_written,
    fold_column=coarse,
    quoting_exact=False,
    alias_scopes=frozenset({"order", "group", "having"}),
    alias_alone=False,
    joins_see_all=False,
    pseudo_columns=frozenset({"_rowid"}),
    functions=frozenset(
        {
            "now", "adddate", "subdate", "sysdate", "unix_timestamp", "yearweek", "weekday", "from_days", "makedate",
            "time_to_sec", "sec_to_time", "timediff", "period_diff", "field", "find_in_set", "mid", "json_unquote",
        }
    ),
)  # fmt: skip
MARIADB = replace(MYSQL, name="mariadb", title="MariaDB")
