"""Every name in a statement, resolved as the server would, so that only allowed tables and columns are read.

A name that cannot be resolved is refused, whatever it may be: a system catalogue, a pseudo column such as ctid or
rowid, a row as a whole, a keyword that acts as a function (`user`). The nearest scope wins, as in SQL, so a column
that is not open is found (and refused) where the server would find it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from gateway.text2sql.databases.dialect import Dialect, as_written, ascii_lower, coarse
from gateway.text2sql.guard import recursion
from gateway.text2sql.guard.refused import Refused
from gateway.text2sql.guard.words import ELSEWHERE
from prompts.tables import Schema, Table

# How many tables a statement may read, each table expression counted wherever it is named: a chain of expressions
# that each name the one before twice doubles with every link, and servers plan all of it.
TABLES = 400
CATALOGUES = ("information_schema", "pg_catalog", "pg_toast", "mysql", "performance_schema", "sys", "sqlite_")
# Members of a query that are understood; anything else in one (locks, INTO, samples, hints …) is refused.
PARTS = {
    exp.Select: "with_ expressions distinct from_ joins where group having windows order limit offset",
    exp.SetOperation: "with_ this expression distinct order limit offset",
    exp.Subquery: "with_ this alias joins order limit offset",
    exp.Table: "this db alias joins ordinality",
    exp.Unnest: "expressions alias offset",
    exp.Join: "this on side kind using method",
    exp.With: "expressions recursive",
    exp.CTE: "this alias materialized",
    exp.Lateral: "this alias",
    exp.Values: "with_ expressions alias order limit offset",
}
_PARTS = {kind: frozenset(parts.split()) for kind, parts in PARTS.items()}
MEANING = {
    "only": "FROM ONLY", "sample": "TABLESAMPLE", "locks": "locking rows", "into": "INTO", "hints": "an index hint",
    "pivots": "PIVOT", "qualify": "QUALIFY", "laterals": "LATERAL VIEW", "match": "MATCH_RECOGNIZE", "kind": "this",
    "operation_modifiers": "a word such as STRAIGHT_JOIN behind SELECT", "rows_from": "ROWS FROM",
    "catalog": "a name of three parts (write schema.table)",
}  # fmt: skip
NO_NAMES: frozenset[str] = frozenset()


@dataclass(slots=True)
class Source:
    """Something that a query reads: a table, a subquery, a common table expression."""

    alias: str
    columns: frozenset[str]
    hidden: frozenset[str] = frozenset()
    is_partial: bool = False
    schema: str = ""  # of a table that goes by its own name


@dataclass(frozen=True, slots=True)
class Expression:
    """A table expression (WITH): the names of its columns, and how many tables it reads."""

    columns: list[str]
    tables: int


Scope = list[Source]  # what a FROM reads


class Names:
    """The names of one statement against one schema."""

    def __init__(self, schema: Schema, dialect: Dialect, text: str = "") -> None:
        self._schema = schema
        self._text = text  # the statement, to see how a name was quoted
        self._expanded = 0  # tables read so far, each table expression counted wherever it is named
        self._dialect = dialect
        self._tables = {self._key(table.name): table for table in schema.tables}
        self.tables: list[str] = []
        self._seen: set[int] = set()

    def check(self, tree: exp.Expr) -> list[str]:
        """The names of the tables that `tree` reads, in order of appearance; raises Refused."""
        if self._dialect.fold_table is as_written and not self._dialect.quoting_exact:
            self._one_spelling(tree)
        self._query(tree, {}, [])
        for table in tree.find_all(exp.Table):
            if id(table) not in self._seen:
                raise Refused(f"a table is named where none may be: {table.sql(self._dialect.sqlglot)}")
        return self.tables

    # Names fold as the server folds them: a table of another spelling may be another table.

    def _key(self, name: str) -> str:
        return name if self._dialect.quoting_exact else self._dialect.fold_table(name)

    def _table_name(self, identifier: exp.Identifier) -> str:
        is_exact = self._dialect.quoting_exact and identifier.args.get("quoted")
        return identifier.name if is_exact else self._dialect.fold_table(identifier.name)

    def _column_name(self, identifier: exp.Expr | None) -> str:
        if identifier is None:
            return ""
        is_exact = self._dialect.quoting_exact and identifier.args.get("quoted")
        return identifier.name if is_exact else self._dialect.fold_column(identifier.name)

    def _folded(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset(names if self._dialect.quoting_exact else map(self._dialect.fold_column, names))

    def _one_spelling(self, tree: exp.Expr) -> None:
        """Refuse a table's name or alias that is written in two ways: whether they are one depends on the server."""
        spelled: dict[str, str] = {}
        for node in tree.find_all(exp.Table, exp.TableAlias, exp.Column):
            named = node.args.get("table") if isinstance(node, exp.Column) else node.this
            if (isinstance(node, exp.Table) and node.args.get("alias")) or not isinstance(named, exp.Identifier):
                continue
            before = spelled.setdefault(coarse(named.name), named.name)
            if before != named.name:
                raise Refused(f"{before} and {named.name} may be one or two names: write it one way")

    # Queries.

    def _query(self, node: exp.Expr, ctes: Mapping[str, Expression], outer: list[Scope]) -> list[str]:
        """Check a query; returns the names of its columns, "" for one that has none."""
        own_parts = next((parts for kind, parts in _PARTS.items() if isinstance(node, kind)), None)
        if own_parts is None:
            raise Refused(f"only SELECT may run here, not {node.key.upper()}")
        self._only(node, own_parts)
        ctes = self._with(node, ctes, outer)
        if isinstance(node, exp.Select):
            return self._select(node, ctes, outer)
        if isinstance(node, exp.Values):
            names = self._values(node, ctes, outer)
        elif isinstance(node, exp.Subquery):
            names = self._query(node.this, ctes, outer)
        else:
            names = self._query(node.this, ctes, outer)
            self._query(node.args["expression"], ctes, outer)
        for part in ("order", "limit", "offset"):
            # Without the queries around it: PostgreSQL takes the ORDER BY behind a query in parentheses for its own.
            self._expressions(node.args.get(part), ctes, [], frozenset(names) - {""})
        return names

    def _with(self, node: exp.Expr, ctes: Mapping[str, Expression], outer: list[Scope]) -> dict[str, Expression]:
        visible = dict(ctes)
        clause = node.args.get("with_")
        if clause is None:
            return visible
        self._only(clause, _PARTS[exp.With])
        for cte in clause.expressions:
            self._only(cte, _PARTS[exp.CTE])
            name, before = self._table_name(cte.args["alias"].this), self._expanded
            if self._key(name) in self._tables:
                # SQLite's authorizer knows what is read, and on whose behalf, by name alone.
                raise Refused(f"WITH must not give the name of a table, got {name}")
            if clause.args.get("recursive") and isinstance(cte.this, exp.SetOperation):
                columns = self._recursive(cte, name, visible, outer)
            else:
                # Its own name inside it means something else, so it joins the known ones afterwards.
                columns = self._renamed(self._query(cte.this, visible, outer), cte.args["alias"])
            visible[name] = Expression(columns, max(1, self._expanded - before))
        return visible

    def _recursive(self, cte: exp.CTE, name: str, known: Mapping[str, Expression], outer: list[Scope]) -> list[str]:
        """A table expression whose second query may name it."""
        if cte.this.args.get("limit"):
            raise Refused(f"{recursion.ADVICE}, in place of its LIMIT")
        self._only(cte.this, _PARTS[exp.SetOperation] - {"order", "limit", "offset"})
        inner = self._with(cte.this, known, outer)
        columns = self._renamed(self._query(cte.this.this, inner, outer), cte.args["alias"])
        own = [table for table in cte.this.expression.find_all(exp.Table) if self._names(table, name)]
        if own:
            recursion.check(cte, columns, own)
        self._query(cte.this.expression, {**inner, name: Expression(columns, 1)}, outer)
        return columns

    def _names(self, table: exp.Table, name: str) -> bool:
        is_plain = isinstance(table.this, exp.Identifier) and not table.args.get("db")
        return is_plain and self._table_name(table.this) == name

    def _select(self, node: exp.Select, ctes: Mapping[str, Expression], outer: list[Scope]) -> list[str]:
        scope: Scope = []
        scopes = [scope, *outer]
        joins = node.args.get("joins") or []
        if node.args.get("from_"):
            self._source(node.args["from_"].this, scope, ctes, outer)
        self._joins(joins, 0, scope, ctes, outer)
        called = [source.alias for source in scope if source.alias]
        if twice := {alias for alias in called if called.count(alias) > 1}:
            raise Refused(f"two tables of one query are called {min(twice)}: give them aliases")
        if self._dialect.joins_see_all:
            for join in joins:  # where a condition sees the tables behind it, too
                self._expressions(join.args.get("on"), ctes, scopes)
        names: list[str] = []
        for projection in node.expressions:
            names += self._projected(projection, scope)
        aliases = frozenset(
            self._column_name(item.args["alias"]) for item in node.expressions if isinstance(item, exp.Alias)
        )
        for part, value in node.args.items():
            if part not in ("with_", "from_", "joins"):
                in_scope = aliases if part in self._dialect.alias_scopes else NO_NAMES
                self._expressions(value, ctes, scopes, in_scope)
        return names

    def _joins(
        self, joins: list[exp.Join], first: int, scope: Scope, ctes: Mapping[str, Expression], outer: list[Scope]
    ) -> None:
        """Add what `joins` read to `scope`, whose sources from `first` on are what they are joined to.

        A condition sees those alone: behind a comma, or in front of another join, the server looks further out.
        """
        for join in joins:
            self._only(join, _PARTS[exp.Join])
            middle = len(scope)
            if not self._dialect.joins_see_all and not any(
                value for part, value in join.args.items() if part != "this"
            ):
                first = middle  # a comma
            self._source(join.this, scope, ctes, outer)
            if join.method == "NATURAL" and any(source.is_partial for source in scope[first:]):
                raise Refused("NATURAL JOIN could compare columns that are not open; name them with ON")
            for column in join.args.get("using") or []:
                name = self._column_name(column if isinstance(column, exp.Identifier) else column.this)
                # Servers and SQLite's authorizer do not judge what USING reads, so each side is judged here.
                self._using(name, scope[first:middle])
                self._using(name, scope[middle:])
            self._expressions(join.args.get("on"), ctes, [scope[first:], *outer])

    def _using(self, name: str, side: Scope) -> None:
        for source in side:
            if name not in source.columns and (name in source.hidden or source.is_partial):
                raise Refused(f"USING ({name}) could compare a column of {source.alias} that is not open; use ON")
        if not any(name in source.columns for source in side):
            raise Refused(f"there is no column {name} on one side of USING ({name})")

    def _source(self, node: exp.Expr, scope: Scope, ctes: Mapping[str, Expression], outer: list[Scope]) -> None:
        """Add what a FROM or a JOIN reads to `scope`."""
        alias, first = node.args.get("alias"), len(scope)
        if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            scope.append(self._table(node, ctes))
        elif isinstance(node, exp.Table | exp.Unnest) or (
            isinstance(node, exp.Lateral) and not isinstance(node.this, exp.Subquery)
        ):
            scope.append(self._rows_of(node, scope, ctes, outer))
        elif isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table | exp.Subquery) and not alias:
            self._only(node, frozenset({"this", "joins"}))  # a join in parentheses
            self._source(node.this, scope, ctes, outer)
        elif isinstance(node, exp.Subquery | exp.Lateral | exp.Values):
            self._only(node, next(parts for kind, parts in _PARTS.items() if isinstance(node, kind)))
            if isinstance(node, exp.Lateral):
                names = self._query(node.this, ctes, [scope, *outer])
            elif isinstance(node, exp.Values):
                names = self._values(node, ctes, outer)
            else:
                names = self._query(node, ctes, outer)
            columns = self._folded(self._renamed(names, alias))
            scope.append(Source(self._column_name(alias.this) if alias else "", columns - {""}))
        else:
            raise Refused(f"only tables and subqueries may be read, not {node.sql(self._dialect.sqlglot)[:60]}")
        self._joins(node.args.get("joins") or [], first, scope, ctes, outer)

    def _values(self, node: exp.Values, ctes: Mapping[str, Expression], outer: list[Scope]) -> list[str]:
        self._expressions(node.expressions, ctes, outer)
        row = node.expressions[0] if node.expressions else None
        return [f"column{n}" for n, _ in enumerate(row.expressions if row else [], 1)]

    def _rows_of(self, node: exp.Expr, scope: Scope, ctes: Mapping[str, Expression], outer: list[Scope]) -> Source:
        """A function that is read like a table; its arguments see the tables in front of it."""
        self._seen.add(id(node))
        self._only(node, next(parts for kind, parts in _PARTS.items() if isinstance(node, kind)))
        call = node if isinstance(node, exp.Unnest) else node.this
        name, alias = self._called(call), node.args.get("alias")
        columns = self._dialect.row_functions.get(name)
        if columns is None:
            raise Refused(f"only tables and subqueries may be read, not {name or self._shown(node)}()")
        self._expressions(list(call.args.values()), ctes, [scope, *outer])
        called = self._column_name(alias.this) if alias and alias.this else name
        names = [column or called for column in columns] + ["ordinality"]
        if isinstance(call, exp.JSONTable):
            names = [self._column_name(one.this) for one in call.find_all(exp.JSONColumnDef) if one.this]
        given = self._renamed(names, alias)
        if isinstance(node.args.get("offset"), exp.Identifier):
            given.append(self._column_name(node.args["offset"]))  # WITH ORDINALITY AS t(x, n): the parser's place of n
        return Source(called, self._folded(given) - {""})

    def _called(self, call: exp.Expr) -> str:
        """The name of a function as it was written."""
        start, end = call.meta.get("start"), call.meta.get("end")
        if start is not None and end is not None:
            return self._text[start : end + 1].lower()
        if isinstance(call, exp.Unnest | exp.JSONTable):
            return "unnest" if isinstance(call, exp.Unnest) else "json_table"
        return "generate_series" if isinstance(call, exp.ExplodingGenerateSeries) else ""

    def _shown(self, node: exp.Expr) -> str:
        return node.sql(self._dialect.sqlglot)[:60]

    def _renamed(self, names: list[str], alias: exp.Expr | None) -> list[str]:
        renamed = []
        for column in (alias.args.get("columns") or []) if alias else []:
            is_typed = isinstance(column, exp.ColumnDef)  # jsonb_to_recordset(…) AS r(a int, b text)
            if is_typed:
                self._only(column, frozenset({"this", "kind"}))
            renamed.append(self._column_name(column.this if is_typed else column))
        return renamed + names[len(renamed) :]

    def _table(self, node: exp.Table, ctes: Mapping[str, Expression]) -> Source:
        self._seen.add(id(node))
        self._only(node, _PARTS[exp.Table])
        alias = node.args.get("alias")
        name, schema = self._table_name(node.this), node.args.get("db")
        called = self._column_name(alias.this if alias else node.this)
        if schema is None and name in ctes:
            self._count(ctes[name].tables)
            columns = self._folded(self._renamed(ctes[name].columns, alias))
            return Source(called, columns - {""})
        self._count(1)
        if schema is None and name.lower() == "dual" and "dual" in self._dialect.words:
            return Source(called, NO_NAMES)
        if alias and alias.args.get("columns"):
            raise Refused(f"the columns of {name} keep their names; rename them in a subquery")
        table = self.table(node.this, schema)
        if table.name not in self.tables:
            self.tables.append(table.name)
        columns = self._folded(column.name for column in table.columns)
        hidden = self._folded(table.hidden) | (self._dialect.pseudo_columns - columns)
        default = schema is None and not alias
        where = self._schema.default if default else self._table_name(schema) if schema and not alias else ""
        return Source(called, columns, hidden, table.is_partial, where)

    def _count(self, tables: int) -> None:
        self._expanded += tables
        if self._expanded > TABLES:
            raise Refused(f"it must read at most {TABLES} tables, each WITH counted wherever it is named")

    def table(self, identifier: exp.Identifier, qualifier: exp.Identifier | None) -> Table:
        """The open table of that name, in that schema; raises Refused."""
        name, schema = self._table_name(identifier), self._table_name(qualifier) if qualifier else ""
        default = self._key(self._schema.default)
        table = self._tables.get(f"{schema}.{name}" if schema and schema != default else name)
        if table is not None:
            return table
        full = f"{schema}.{name}" if schema else name
        if ascii_lower(full).startswith((*CATALOGUES, "pg_")):
            raise Refused(f"the system catalogue {full} is closed")
        near = ", ".join(sorted(self._tables)[:20])
        hint = ""
        same = [known for known in sorted(self._tables) if known.lower() == full.lower()]
        if self._dialect.quoting_exact and same:
            hint = f'; a name with capitals stands in double quotes: "{same[0]}"'
        raise Refused(f"there is no table {full} here, or it is not open{hint}; the tables are: {near}")

    def _projected(self, node: exp.Expr, scope: Scope) -> list[str]:
        """The names of the columns that one item of a select list gives."""
        if isinstance(node, exp.Alias):
            return [self._column_name(node.args["alias"])]
        if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
            return [self._column_name(node.this)]
        if not node.is_star or isinstance(node, exp.Count):
            return [""]  # the server makes a name up: it can be read only by its place or by a name given with AS
        wanted = self._column_name(node.args.get("table")) if isinstance(node, exp.Column) else ""
        names: list[str] = []
        for source in scope:
            if wanted in ("", source.alias):
                if source.is_partial:
                    raise Refused(f"not every column of {source.alias} is open; name the columns instead of *")
                names += sorted(source.columns)
        return names

    # Columns.

    def _expressions(
        self,
        value: object,
        ctes: Mapping[str, Expression],
        scopes: list[Scope],
        aliases: frozenset[str] = NO_NAMES,
    ) -> None:
        for node in _own(value):
            if isinstance(node, exp.Query):
                self._query(node, ctes, scopes)
            elif isinstance(node.parent, exp.Collate) and node.arg_key == "expression":
                continue  # the name of a collation
            elif isinstance(node.parent, exp.In) and node.arg_key == "field":
                raise Refused(f"IN takes no table's name here, got {self._shown(node)}: write a subquery behind it")
            elif node.args.get("db"):
                self._qualified(node, scopes)
            elif isinstance(node.this, exp.Star):
                near = scopes[0] if scopes else []
                named = [source for source in near if source.alias == self._column_name(node.args["table"])]
                if not named or any(source.is_partial for source in named):
                    raise Refused(f"{node.sql(self._dialect.sqlglot)} names no table of this query that is open whole")
            else:
                in_scope = aliases if not self._dialect.alias_alone or _stands_alone(node) else NO_NAMES
                if self._is_bare(node, self._dialect.constants):
                    continue
                if self._is_bare(node, self._dialect.pseudo_values):
                    raise Refused(f"{node.name} is the server's own value here; a column of that name is quoted")
                self._column(node, self._column_name(node.args.get("table")), scopes, in_scope)

    def _is_bare(self, node: exp.Column, names: frozenset[str]) -> bool:
        is_bare = not node.args.get("table") and not node.this.args.get("quoted")
        return is_bare and node.name.lower() in names

    def _qualified(self, node: exp.Column, scopes: list[Scope]) -> None:
        """schema.table.column, where the table stands in the query under its own name."""
        schema, table = self._table_name(node.args["db"]), self._column_name(node.args["table"])
        named = [source for scope in scopes for source in scope if source.alias == table]
        if node.args.get("catalog") or not named or named[0].schema != schema:
            raise Refused(f"a column is called by its table's name or alias, got {self._shown(node)}")
        self._column(node, table, scopes, NO_NAMES)

    def _column(self, node: exp.Column, table: str, scopes: list[Scope], aliases: frozenset[str]) -> None:
        name, passed = self._column_name(node.this), ""
        for scope in scopes:
            sources = [source for source in scope if not table or source.alias == table]
            for source in sources:
                if name in source.hidden:
                    raise Refused(f"the column {source.alias}.{name} is not open")
            if any(name in source.columns for source in sources):
                if passed:
                    raise Refused(f"say which table {name} is of: not every column of {passed} is open")
                return
            if table and sources:
                raise Refused(f"{table} has no column {name}, or it is not open")
            # Further out, the name might be one of these tables' columns that the role does not even see.
            passed = passed or next((source.alias for source in scope if source.is_partial), "")
        # A name given with AS comes last: where the server does not see it, it looks further out, as was done here.
        if not table and name in aliases:
            return
        if not table and self._is_double_quoted(node):
            if self._dialect.names_as_text:
                return  # SQLite takes it for a text
            raise Refused(f"there is no column {name}; a text stands in single quotes: '{node.name}'")
        raise Refused(self._unknown_column(node, table, scopes))

    def _is_double_quoted(self, node: exp.Column) -> bool:
        start = node.this.meta.get("start")
        return start is not None and self._text[start : start + 1] == '"'

    def _unknown_column(self, node: exp.Column, table: str, scopes: list[Scope]) -> str:
        name = self._column_name(node.this)
        words = f"there is no column {table + '.' if table else ''}{name} in the tables of this query"
        if not table and not node.this.args.get("quoted"):
            if name.lower() in self._dialect.functions:
                return f"{words}; a function is called with parentheses: {name}()"
            if advice := self._dialect.advice.get(name.lower()) or ELSEWHERE.get(name.lower()):
                return f"{words}: {advice}"
        if self._dialect.quoting_exact and not node.this.args.get("quoted"):
            same = {column for scope in scopes for source in scope for column in source.columns
                    if column.lower() == name}  # fmt: skip
            if same:
                words += f'; a name with capitals stands in double quotes: "{min(same)}"'
        return words

    def _only(self, node: exp.Expr, known: frozenset[str]) -> None:
        for part, value in node.args.items():
            if value and part not in known:
                raise Refused(f"{MEANING.get(part, part.strip('_').upper())} is not allowed")


def _own(value: object) -> Iterator[exp.Query | exp.Column]:
    """The columns and the nested queries in an expression (or a list of them), not what is inside those queries."""
    if isinstance(value, list):
        for item in value:
            yield from _own(item)
    elif isinstance(value, exp.Query | exp.Column):
        yield value
    elif isinstance(value, exp.Expr):
        for child in value.args.values():
            yield from _own(child)


def _stands_alone(node: exp.Expr) -> bool:
    """Whether a column is a whole item of a query's ORDER BY, GROUP BY or DISTINCT ON."""
    inside, parent = node, node.parent
    while isinstance(parent, exp.Paren | exp.Ordered | exp.Rollup | exp.Cube | exp.GroupingSets | exp.Tuple):
        if isinstance(inside, exp.Tuple) and isinstance(parent, exp.Ordered | exp.Paren | exp.Tuple):
            return False  # a row
        inside, parent = parent, parent.parent
    if isinstance(parent, exp.Order | exp.Distinct):
        return isinstance(parent.parent, exp.Query)  # not a window's, nor an aggregate's
    return isinstance(parent, exp.Group)
