"""WITH RECURSIVE, where it is certain that it ends: a counter with a bound.

    WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r

The second query names the table expression once, one column of it grows by a fixed step (a number, or at least a day),
and WHERE holds that column below a bound. A number may be bounded by STEPS at most; dates end by themselves in the year
9999. What a step adds to a text is counted by size_bounds.py, which takes every column for as long as STEPS allow.
"""

from __future__ import annotations

from sqlglot import exp

from gateway.text2sql.guard.refused import Refused

STEPS = 10_000
ADVICE = "WITH RECURSIVE needs a counter with a bound, such as SELECT n + 1 FROM r WHERE n < 100"
DAYS = {"DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "DAYS", "WEEKS", "MONTHS", "YEARS"}


def check(cte: exp.CTE, columns: list[str], own: list[exp.Table]) -> None:
    """Raise Refused unless the recursion of `cte`, which names itself in `own`, certainly ends."""
    query = cte.this.expression
    if len(own) != 1 or not isinstance(query, exp.Select) or own[0].parent_select is not query:
        raise Refused(f"{ADVICE}; the second query must name {cte.alias} once, in its FROM")
    if not any(_is_bounded(query, n, name) for n, name in enumerate(columns) if n < len(query.expressions)):
        raise Refused(ADVICE)


def _is_bounded(query: exp.Select, n: int, name: str) -> bool:
    item = query.expressions[n].unalias()
    where = query.args.get("where")
    step = _step(item, name)
    if step is None or where is None:
        return False
    conditions = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    return any(_holds(condition.unnest(), name, step) for condition in conditions)


def _is_column(node: exp.Expr, name: str) -> bool:
    node = node.unnest()
    return isinstance(node, exp.Column) and bool(name) and node.name.lower() == name.lower()


def _step(item: exp.Expr, name: str) -> str | None:
    """What `item` adds to the column: "number", "date", or None."""
    item = item.unnest()
    # A cast or a format around it leaves it a date.
    while isinstance(item, exp.Cast | exp.Date | exp.TsOrDsToDate | exp.TimeToStr | exp.TsOrDsToTimestamp):
        item = item.this.unnest()
    if isinstance(item, exp.DateAdd | exp.TimestampAdd):
        unit = str(item.args.get("unit") or "").upper()
        interval = item.expression
        unit = str(interval.args.get("unit") or "").upper() if isinstance(interval, exp.Interval) else unit
        return "date" if _is_column(item.this, name) and unit in DAYS and _is_positive(interval) else None
    if isinstance(item, exp.Anonymous) and item.name.lower() == "date" and len(item.expressions) == 2:
        added = item.expressions[1].name
        is_day = added.startswith("+") and added.rstrip("s").upper().split()[-1] in DAYS
        return "date" if _is_column(item.expressions[0], name) and is_day else None
    if not isinstance(item, exp.Add):
        return None
    for one, other in ((item.this, item.expression), (item.expression, item.this)):
        if _is_column(one, name):
            if isinstance(other, exp.Interval):
                unit = str(other.args.get("unit") or "").upper()
                return "date" if unit in DAYS and _is_positive(other) else None
            return "number" if _is_positive(other) else None
    return None


def _is_positive(node: exp.Expr | None) -> bool:
    value = node.this if isinstance(node, exp.Interval) else node
    return isinstance(value, exp.Literal) and value.name.isdigit() and int(value.name) > 0


def _holds(condition: exp.Expr, name: str, step: str) -> bool:
    if isinstance(condition, exp.LT | exp.LTE):
        column, bound = condition.this, condition.expression
    elif isinstance(condition, exp.GT | exp.GTE):
        column, bound = condition.expression, condition.this
    else:
        return False
    if not _is_column(column, name) and not (step == "date" and _step(column, name)):
        return False
    if step == "number":
        bound = bound.unnest()
        if isinstance(bound, exp.Cast) and bound.to.this == exp.DType.DATE:
            return True  # in PostgreSQL a date and a number of days
        return isinstance(bound, exp.Literal) and bound.name.isdigit() and int(bound.name) <= STEPS
    return True  # a date that grows by a day or more ends by itself, whatever it is compared with
