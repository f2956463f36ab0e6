"""A sentence that says what a statement asks for, made from the judged tree and not from the model's words.

    SELECT day, SUM(entries) FROM riders
    WHERE station = '凤起路' AND day BETWEEN '2024-04-19' AND '2024-04-25' GROUP BY day

    zh  日期、进站人次的合计，站名是凤起路，日期从 2024-04-19 到 2024-04-25，每个日期一行
    en  day, total entries, where station is 凤起路, day is from 2024-04-19 to 2024-04-25, one row for each day

A reader who sees that the sentence is not the question knows that the rows are not the answer. A column is called by
the first words of its comment where these are in the sentence's language, and by its name otherwise. What has no words
here is shown as SQL. The sentence is at most LONGEST characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlglot import exp

from gateway.text2sql.explain_words import WEEKDAYS, WORDS
from prompts.tables import Schema

LONGEST = 400
VALUE_CHARACTERS = 60
COMMENT_CHARACTERS = 12  # a comment's first words that are longer are a description, not a name
LISTED = 6  # values of an IN list that are shown

ARITHMETIC: dict[type[exp.Expr], str] = {
    exp.Add: "+",
    exp.Sub: "−",
    exp.Mul: "×",
    exp.Div: "÷",
    exp.Mod: "mod",
    exp.DPipe: "+",
}
COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "is",
    exp.NEQ: "is_not",
    exp.GT: "gt",
    exp.GTE: "gte",
    exp.LT: "lt",
    exp.LTE: "lte",
}
OPPOSITES = {
    "is": "is_not",
    "is_not": "is",
    "gt": "lte",
    "gte": "lt",
    "lt": "gte",
    "lte": "gt",
    "in": "not_in",
    "null": "not_null",
}
MIRRORED = {"gt": "lt", "gte": "lte", "lt": "gt", "lte": "gte", "is": "is", "is_not": "is_not"}
AGGREGATES: dict[type[exp.Expr], str] = {
    exp.Sum: "sum",
    exp.Avg: "avg",
    exp.Min: "min",
    exp.Max: "max",
    exp.Abs: "abs",
    exp.Length: "length",
}
# These change how a value is written, not which one it is.
TRANSPARENT = (
    exp.Round,
    exp.Cast,
    exp.Coalesce,
    exp.Paren,
    exp.Alias,
    exp.Collate,
    exp.TsOrDsToTimestamp,
    exp.TsOrDsToDate,
)
RANKS = (exp.RowNumber, exp.Rank, exp.DenseRank)
PARTS_OF_DATES = {"%w": "weekday", "%m": "month", "%y": "year", "dow": "weekday", "month": "month", "year": "year"}


def explain(tree: exp.Query, schema: Schema, dialect: str) -> dict[str, str] | None:
    """{"zh", "en"}: what `tree` asks for, or None where it is nested too deeply; `dialect` is sqlglot's name."""
    try:
        read = {table.name.lower() for table in tree.find_all(exp.Table)}
        return {language: _Sentence(language, schema, dialect, read).of(tree) for language in WORDS}
    except RecursionError:
        return None


def _bare(table: str) -> str:
    return table.lower().split(".")[-1]


@dataclass(slots=True)
class _Sentence:
    language: str
    schema: Schema
    dialect: str
    read: set[str]  # the tables that the statement reads, without their schema
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for table in self.schema.tables:
            if _bare(table.name) not in self.read:
                continue
            for column in table.columns:
                # Two tables may use one name for two things: then neither comment speaks for it.
                name, said = column.name.lower(), self._named(column.name, column.comment)
                self.names[name] = said if self.names.get(name, said) == said else self._plain(column.name)

    def of(self, tree: exp.Query) -> str:
        text = re.sub(r"\s+", " ", self._query(tree)).strip()
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"

    def _plain(self, name: str) -> str:
        return name.replace("_", " ")

    def _named(self, name: str, comment: str) -> str:
        first = re.split(r"[\s，,（(；;。、：:]", comment.strip(), maxsplit=1)[0]
        is_chinese = bool(re.search("[\u4e00-\u9fff]", first))
        usable = bool(first) and len(first) <= COMMENT_CHARACTERS and is_chinese and self.language == "zh"
        return first if usable else self._plain(name)

    def _say(self, key: str, *parts: str) -> str:
        return WORDS[self.language][key].format(*parts)

    def _joined(self, parts: Iterable[str], by: str = "comma") -> str:
        return WORDS[self.language][by].join(part for part in parts if part)

    # Queries

    def _query(self, tree: exp.Expr) -> str:
        while isinstance(tree, exp.Subquery | exp.Paren):
            tree = tree.this
        if isinstance(tree, exp.SetOperation):
            key = "union" if isinstance(tree, exp.Union) else "except" if isinstance(tree, exp.Except) else "intersect"
            text = f"{self._nested(tree.this)} {self._say(key)} {self._nested(tree.expression)}"
            return self._joined([text, *self._ending(tree), *self._parts_named(tree)])
        if not isinstance(tree, exp.Select):
            return self._sql(tree)
        return self._joined(
            [
                self._selected(tree),
                *self._sources(tree),
                *self._conditions(tree),
                *self._ending(tree),
                *self._parts_named(tree),
            ]
        )

    def _nested(self, tree: exp.Expr) -> str:
        return self._say("sub", self._query(tree))

    def _selected(self, tree: exp.Select) -> str:
        star = [
            node
            for node in tree.expressions
            if isinstance(node, exp.Star) or (isinstance(node, exp.Column) and node.is_star)
        ]
        said = self._joined(
            dict.fromkeys(self._say("all") if node in star else self._value(node) for node in tree.expressions), "list"
        )
        return self._say("distinct", said) if tree.args.get("distinct") else said

    def _sources(self, tree: exp.Select) -> list[str]:
        """The tables, where the columns do not already say which they are; a subquery in FROM in full."""
        source = tree.args.get("from_") or tree.args.get("from")
        every = [source.this if source else None, *(join.this for join in tree.args.get("joins") or [])]
        said = [self._nested(one) for one in every if isinstance(one, exp.Subquery) and not self._only_picks(one)]
        counts_rows = any(isinstance(node, exp.Star) for node in tree.expressions) or any(
            isinstance(count.this, exp.Star) for node in tree.expressions for count in node.find_all(exp.Count)
        )
        if counts_rows or not any(node.find(exp.Column) for node in tree.expressions):
            said += [self._table(one) for one in every if isinstance(one, exp.Table)]
        return [self._say("from", self._joined(dict.fromkeys(said), "list"))] if said else []

    def _only_picks(self, subquery: exp.Subquery) -> bool:
        """Whether a subquery in FROM does nothing but choose columns of a table."""
        inner = subquery.this
        return isinstance(inner, exp.Select) and not any(
            inner.args.get(part) for part in ("where", "group", "having", "order", "limit", "joins")
        )

    def _table(self, table: exp.Table) -> str:
        name = table.name.lower()
        comment = next((one.comment for one in self.schema.tables if _bare(one.name) == name), "")
        return self._named(table.name, comment)

    def _conditions(self, tree: exp.Select) -> list[str]:
        conditions = [join.args.get("on") for join in tree.args.get("joins") or []]
        where = tree.args.get("where")
        parts = [
            part for node in [*conditions, where.this if where else None] if node for part in self._flat(node, exp.And)
        ]
        # A join's condition that only says which rows belong together is not a choice of rows.
        said = [self._condition(part) for part in parts if not self._is_link(part)]
        written = [self._say("where", self._joined(said))] if said else []
        if group := tree.args.get("group"):
            keys = [self._value(self._numbered(tree, key)) for key in group.expressions]
            written += [self._say("group", self._joined(keys, "and"))] if keys else []
        if having := tree.args.get("having"):
            written.append(self._say("have", self._joined(map(self._condition, self._flat(having.this, exp.And)))))
        return written

    def _is_link(self, node: exp.Expr) -> bool:
        sides = (node.this, node.args.get("expression"))
        return isinstance(node, exp.EQ) and all(isinstance(side, exp.Column) for side in sides)

    def _numbered(self, tree: exp.Expr, key: exp.Expr) -> exp.Expr:
        """The column that GROUP BY 2, ORDER BY 2 or an alias means."""
        if isinstance(tree, exp.Select):
            if isinstance(key, exp.Literal) and key.is_int and 0 < int(key.name) <= len(tree.expressions):
                chosen: exp.Expr = tree.expressions[int(key.name) - 1]
                return chosen
            if isinstance(key, exp.Column) and not key.table:
                return next(
                    (node for node in tree.expressions if isinstance(node, exp.Alias) and node.alias == key.name), key
                )
        return key

    def _ending(self, tree: exp.Query) -> list[str]:
        """Order, limit and offset."""
        said = []
        for node in (tree.args.get("order") or exp.Order()).expressions:
            key = self._numbered(tree, node.this)
            is_random = isinstance(key, exp.Rand)
            said.append(
                self._say("random")
                if is_random
                else self._say("desc" if node.args.get("desc") else "asc", self._value(key))
            )
        for part in ("offset", "limit"):
            clause = tree.args.get(part)
            number = clause and (clause.args.get("expression") or clause.args.get("count"))
            if number is not None:
                text = number.name or self._sql(number)
                said.append(self._say("one" if (part, text) == ("limit", "1") else part, text))
        return said

    def _parts_named(self, tree: exp.Query) -> list[str]:
        named = tree.args.get("with_") or tree.args.get("with")
        return [self._say("cte", part.alias, self._query(part.this)) for part in named.expressions] if named else []

    # Conditions

    def _flat(self, node: exp.Expr, kind: type[exp.Connector]) -> list[exp.Expr]:
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, kind):
            return [*self._flat(node.this, kind), *self._flat(node.expression, kind)]
        return [node]

    def _condition(self, node: exp.Expr, negated: bool = False) -> str:
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.Not):
            return self._condition(node.this, not negated)
        # Beside Not, the parser keeps a NOT LIKE as a mark of the LIKE.
        negated ^= bool(node.args.get("negate"))
        if isinstance(node, exp.And | exp.Or):
            key = "and" if isinstance(node, exp.And) else "or"
            said = self._say("sub", self._joined(map(self._condition, self._flat(node, type(node))), key))
        elif type(node) in COMPARISONS:
            return self._comparison(node, negated)
        elif isinstance(node, exp.In):
            return self._in(node, negated)
        elif isinstance(node, exp.Is):
            key = "null" if isinstance(node.expression, exp.Null) else "is"
            parts = (
                [self._value(node.this)] if key == "null" else [self._value(node.this), self._value(node.expression)]
            )
            return self._say(OPPOSITES[key] if negated else key, *parts)
        elif isinstance(node, exp.Between):
            said = self._say("between", *(self._value(node.args[part]) for part in ("this", "low", "high")))
        elif isinstance(node, exp.Like | exp.ILike):
            said = self._like(node)
        elif isinstance(node, exp.Exists):
            said = self._say("exists", self._query(node.this))
        else:
            said = self._value(node)
        return self._say("not", said) if negated else said

    def _comparison(self, node: exp.Expr, negated: bool) -> str:
        key, left, right = COMPARISONS[type(node)], node.this, node.args["expression"]
        if isinstance(left, exp.Literal) and not isinstance(right, exp.Literal):
            key, left, right = MIRRORED[key], right, left
        if negated:
            key = OPPOSITES[key]
        if key == "gt" and (count := self._latest(left, right)):
            return self._say("latest", self._value(left), count)
        return self._say(key, self._value(left), self._compared(left, right))

    def _latest(self, left: exp.Expr, right: exp.Expr) -> str:
        """7 for day > (SELECT DISTINCT day FROM riders ORDER BY day DESC LIMIT 1 OFFSET 7); "" for any other form."""
        query = right.this if isinstance(right, exp.Subquery) else right
        if not isinstance(query, exp.Select) or not isinstance(left, exp.Column) or not query.args.get("distinct"):
            return ""
        limit, offset, order = (query.args.get(part) for part in ("limit", "offset", "order"))
        if (
            query.args.get("where")
            or query.args.get("group")
            or query.args.get("joins")
            or not (limit and offset and order)
        ):
            return ""
        named = [one.this if isinstance(one, exp.Ordered) else one for one in (*query.expressions, *order.expressions)]
        falls = bool(order.expressions[0].args.get("desc"))
        same = len(named) == 2 and all(isinstance(one, exp.Column) and one.name == left.name for one in named)
        number = offset.expression
        return number.name if same and falls and limit.expression.name == "1" and number.is_int else ""

    def _in(self, node: exp.In, negated: bool) -> str:
        key, query = "not_in" if negated else "in", node.args.get("query")
        if query is not None:
            inner = query.this if isinstance(query, exp.Subquery) else query
            if said := self._mere_conditions(inner):
                # station IN (SELECT name FROM dtzpt WHERE line = …) says no more than the inner conditions do.
                return self._say("not", said) if negated else said
            return self._say(key, self._value(node.this), self._nested(query))
        values = [self._compared(node.this, value) for value in node.expressions]
        shown = self._joined(values[:LISTED], "or")
        if len(values) > LISTED:
            shown += " " + self._say("more", str(len(values)))
        return self._say(key, self._value(node.this), shown)

    def _mere_conditions(self, query: exp.Expr) -> str:
        """The conditions of a query of one plain column, "" where it is more than that."""
        if (
            not isinstance(query, exp.Select)
            or len(query.expressions) != 1
            or not isinstance(query.expressions[0], exp.Column)
        ):
            return ""
        where = query.args.get("where")
        if where is None or any(query.args.get(part) for part in ("group", "having", "order", "limit", "joins")):
            return ""
        return self._joined(map(self._condition, self._flat(where.this, exp.And)))

    def _compared(self, left: exp.Expr, value: exp.Expr) -> str:
        """A value beside what it is compared with: 0 of a weekday is Sunday."""
        if self._part_of_date(left) == "weekday" and isinstance(value, exp.Literal) and value.name in [*"0123456"]:
            return str(WEEKDAYS[self.language][int(value.name)])
        return self._value(value)

    def _like(self, node: exp.Expr) -> str:
        pattern = node.args["expression"]
        if isinstance(pattern, exp.Literal) and (shape := re.fullmatch("(%?)([^%_]+)(%?)", pattern.name)):
            before, inside, after = shape.groups()
            key = {("", "%"): "starts", ("%", ""): "ends", ("%", "%"): "contains"}.get((before, after), "is")
            return self._say(key, self._value(node.this), inside)
        return self._say("like", self._value(node.this), self._value(pattern))

    # Values

    def _value(self, node: exp.Expr) -> str:
        while isinstance(node, TRANSPARENT):
            node = node.this
        kind = type(node)
        if isinstance(node, exp.Column):
            return self.names.get(node.name.lower(), self._plain(node.name))
        if isinstance(node, exp.Literal):
            return node.name[:VALUE_CHARACTERS] or self._say("empty")
        if kind in ARITHMETIC:
            return f"{self._operand(node.this)} {ARITHMETIC[kind]} {self._operand(node.args['expression'])}"
        if isinstance(node, exp.Count):
            return self._count(node)
        if kind in AGGREGATES:
            return self._say(AGGREGATES[kind], self._operand(node.this))
        if isinstance(node, exp.Query | exp.Subquery):
            return self._nested(node)
        return self._rarer(node)

    def _operand(self, node: exp.Expr) -> str:
        while isinstance(node, TRANSPARENT):
            node = node.this
        said = self._value(node)
        return self._say("sub", said) if isinstance(node, exp.Binary) and not isinstance(node, exp.Dot) else said

    def _count(self, node: exp.Count) -> str:
        counted = node.this
        if isinstance(counted, exp.Distinct):
            return self._say("distinct_count", self._joined(map(self._value, counted.expressions), "and"))
        if isinstance(counted, exp.Star | exp.Literal):
            return self._say("rows")
        return self._say("count", self._value(counted))

    def _rarer(self, node: exp.Expr) -> str:
        if part := self._part_of_date(node):
            return self._say(part, self._value(node.find(exp.Column) or node.this))
        if isinstance(node, exp.Window):
            keys = [self._value(key) for key in node.args.get("partition_by") or []]
            inner = self._value(node.this)
            return self._say("over", inner, self._joined(keys, "and")) if keys else self._say("overall", inner)
        if isinstance(node, RANKS):
            return self._say("rank")
        if isinstance(node, exp.Case):
            return self._case(node)
        if isinstance(node, exp.CurrentDate | exp.CurrentTimestamp):
            return self._say("today" if isinstance(node, exp.CurrentDate) else "now")
        if isinstance(node, exp.Boolean):
            return self._say("true" if node.this else "false")
        if isinstance(node, exp.Predicate | exp.Not | exp.Connector) and not isinstance(node, exp.Query):
            return self._condition(node)
        return self._sql(node)

    def _part_of_date(self, node: exp.Expr) -> str | None:
        """ "weekday", "month" or "year" where `node` takes that of a date."""
        while isinstance(node, TRANSPARENT):
            node = node.this
        if isinstance(node, exp.TimeToStr):
            form = node.args.get("format")
            return PARTS_OF_DATES.get(form.name.lower()) if form is not None else None
        if isinstance(node, exp.Extract):
            return PARTS_OF_DATES.get(node.this.name.lower())
        return "month" if isinstance(node, exp.Month) else "year" if isinstance(node, exp.Year) else None

    def _case(self, node: exp.Case) -> str:
        said = [
            self._say("when", self._condition(one.this), self._value(one.args["true"]))
            for one in node.args.get("ifs") or []
        ]
        if (default := node.args.get("default")) is not None:
            said.append(self._say("else", self._value(default)))
        return self._say("case", self._joined(said))

    def _sql(self, node: exp.Expr) -> str:
        return node.sql(self.dialect)[:VALUE_CHARACTERS]
