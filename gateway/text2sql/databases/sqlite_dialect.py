"""SQLite's row: see dialect.py."""

from gateway.text2sql.databases.dialect import Dialect, ascii_lower

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
    alias_scopes=frozenset({"order", "group", "having", "where"}),
    alias_alone=False,
    joins_see_all=True,
    # rowid and _rowid_ may be other names of a closed key.
    pseudo_columns=frozenset({"rowid", "oid", "_rowid_"}),
    functions=frozenset({"strftime", "date", "time", "datetime", "julianday", "unixepoch", "total"}),
)

# What SQLite's authorizer may be asked for: operators such as LIKE and GLOB are functions there.
AUTHORIZED = frozenset(
    {
        "abs", "acos", "asin", "atan", "atan2", "avg", "ceil", "ceiling", "coalesce", "cos", "count", "cume_dist",
        "current_date", "current_time", "current_timestamp", "date", "datetime", "degrees", "dense_rank", "exp",
        "first_value", "floor", "glob", "group_concat", "ifnull", "iif", "instr", "json_extract", "julianday", "lag",
        "last_value", "lead", "length", "like", "likelihood", "likely", "ln", "log", "log10", "log2", "lower", "ltrim",
        "max", "min", "mod", "nth_value", "ntile", "nullif", "percent_rank", "pi", "pow", "power", "radians", "random",
        "rank", "replace", "round", "row_number", "rtrim", "sign", "sin", "sqrt", "strftime", "substr", "substring",
        "sum", "tan", "time", "total", "trim", "trunc", "typeof", "unixepoch", "unlikely", "upper", "->", "->>",
    }
)  # fmt: skip
