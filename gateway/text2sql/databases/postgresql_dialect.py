"""PostgreSQL's row: see dialect.py."""

from gateway.text2sql.databases.dialect import Dialect, ascii_lower

POSTGRESQL = Dialect(
    name="postgresql",
    title="PostgreSQL",
    module="postgresql",
    sqlglot="postgres",
    template="postgresql",
    quote='"',
    fold_table=ascii_lower,
    fold_column=ascii_lower,
    quoting_exact=True,
    alias_scopes=frozenset({"order", "group", "distinct"}),
    # Elsewhere the name may be something else, for example the row of a table.
    alias_alone=True,
    joins_see_all=False,
    pseudo_columns=frozenset({"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"}),
    functions=frozenset({"age", "make_date", "every", "clock_timestamp", "transaction_timestamp", "isfinite"}),
)
