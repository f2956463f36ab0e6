"""Whether two results answer the same question: equal sets of rows, in order only where the question asked for one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import islice, permutations, product
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

# Digits that count: servers round averages differently.
DIGITS = 6
MOST_ORDERS = 5_000

Row = Sequence[Any]


def is_ordered(sql: str, dialect: str) -> bool:
    """Whether the statement itself (not one inside it) has an ORDER BY. dialect: sqlglot's name."""
    try:
        tree = sqlglot.parse_one(sql, read=dialect)
    except SqlglotError:
        return False
    return isinstance(tree, exp.Query) and tree.args.get("order") is not None


def same(expected: Sequence[Row], given: Sequence[Row], ordered: bool) -> bool:
    """Whether both have the same rows, as often, whatever the order and the names of their columns.

    ordered  the order of the rows counts too
    """
    if len(expected) != len(given):
        return False
    if not expected:
        return True
    left, right = (
        [[plain(value) for value in row] for row in expected],
        [[plain(value) for value in row] for row in given],
    )
    if {len(row) for row in left} != {len(row) for row in right}:
        return False
    for order in _column_orders(left, right):
        moved = [tuple(row[n] for n in order) for row in right]
        wanted = [tuple(row) for row in left]
        if moved == wanted or (not ordered and Counter(moved) == Counter(wanted)):
            return True
    return False


def contains(expected: Sequence[Row], given: Sequence[Row], ordered: bool) -> bool:
    """Whether some of the given columns have the expected rows; unless `ordered`, a repeated row counts once.

    A figure beside each name that was asked for, or a name that comes twice, leaves an answer right for many a reader.
    """
    if not expected or not given:
        return not expected and not given
    left, right = (
        [[plain(value) for value in row] for row in expected],
        [[plain(value) for value in row] for row in given],
    )
    if len(left[0]) > len(right[0]):
        return False
    wanted = [tuple(row) for row in left]
    values = [set(column) for column in zip(*right, strict=True)]
    choices = [[n for n, held in enumerate(values) if held == set(column)] for column in zip(*left, strict=True)]
    for chosen in islice(product(*choices), MOST_ORDERS):
        moved = [tuple(row[n] for n in chosen) for row in right]
        if len({*chosen}) == len(chosen) and (moved == wanted or (not ordered and {*moved} == {*wanted})):
            return True
    return False


def _column_orders(left: list[list[Any]], right: list[list[Any]]) -> Any:
    """The orders of right's columns in which each has the same values as left's there."""
    columns = [Counter(column) for column in zip(*left, strict=True)]
    candidates = [Counter(column) for column in zip(*right, strict=True)]
    fitting = [{n for n, candidate in enumerate(candidates) if candidate == column} for column in columns]
    if not all(fitting):
        return iter(())
    orders = (
        order
        for order in permutations(range(len(candidates)))
        if all(n in fits for n, fits in zip(order, fitting, strict=True))
    )
    # Columns with the same values can be swapped in very many ways; after some thousand it is no use.
    return islice(orders, MOST_ORDERS)


def plain(value: Any) -> Any:
    """A value in the form in which servers agree: numbers as floats of some digits, whatever type they had."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return value.strip()
        # Names that look like numbers (a code such as 007) stay names.
        return value if value[:1] == "0" and value[1:2].isdigit() else _rounded(number)
    if isinstance(value, int | float):
        return _rounded(float(value))
    if isinstance(value, list | dict):
        return repr(value)
    return value


def _rounded(number: float) -> Any:
    if not math.isfinite(number):
        return str(number)
    return float(f"{number:.{DIGITS}g}") if abs(number) < 10**DIGITS else round(number, 1)
