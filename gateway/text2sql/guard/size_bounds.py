"""How long a text can become that a statement makes, as if every value in the tables had up to VALUE characters.

Servers compute a replace in one go: no limit and no KILL ends one of MariaDB's over some megabytes (its time grows with
the square of the length), and PostgreSQL takes a gigabyte of memory for one value. Texts grow step by step, where
replace stands in replace, or a subquery joins what another one joined, so the bound is carried through all of them.
Values that are longer in the tables are the owner's; what lpad, repeat and the like would make is refused by name.
"""

from __future__ import annotations

from sqlglot import exp

from gateway.text2sql.guard.names import Refused

VALUE = 1_000
SCALAR = 400  # a number, a date, as text
COLLECTED = 50_000  # what GROUP_CONCAT and its like are taken for
TEXT = 1_000_000  # the longest that may be made
REPLACED = 100_000  # the longest that replace may be given or make
# What looks for one text in another takes their lengths' product at worst.
SEARCHED = 100_000_000
JOINS = (exp.Concat, exp.ConcatWs, exp.DPipe, exp.Array, exp.Tuple)
COLLECTS = (exp.GroupConcat, exp.ArrayAgg)
SEARCHES = (exp.Trim, exp.StrPosition, exp.Replace, exp.Like, exp.ILike, exp.Glob, exp.SplitPart, exp.SubstringIndex)
CONDITIONS = (exp.Predicate, exp.Connector, exp.Not, exp.Exists, exp.Count, exp.Sum, exp.Avg, exp.Length)


def check(tree: exp.Expr) -> None:
    """Raise Refused where `tree` could make a text that is too long."""
    _Lengths().of(tree)


class _Lengths:
    def __init__(self) -> None:
        # A column may be any of those that the queries read so far give.
        self._column = VALUE

    def of(self, node: exp.Expr) -> int:
        """At most how many characters `node` gives; for a query, each of its columns."""
        if isinstance(node, exp.Query):
            return self._query(node)
        if isinstance(node, exp.Column | exp.Star):
            return self._column
        if isinstance(node, exp.Literal):
            return len(node.name) if node.is_string else SCALAR
        lengths = {id(child): self.of(child) for child in node.iter_expressions()}
        parts = list(lengths.values())
        if isinstance(node, SEARCHES):
            self._search(parts)
        if isinstance(node, exp.Replace | exp.RegexpReplace):
            return self._replaced(node, lengths)
        if isinstance(node, CONDITIONS):
            return SCALAR
        longest = max([SCALAR, *parts])
        if isinstance(node, exp.Values):
            self._column = max(self._column, longest)
        if isinstance(node, COLLECTS):
            return max(COLLECTED, longest)
        if isinstance(node, JOINS):
            separator = lengths[id(node.expressions[0])] if isinstance(node, exp.ConcatWs) and node.expressions else 0
            longest = sum(parts) + separator * len(parts)
            if longest > TEXT:
                raise Refused(f"it could join texts to more than {TEXT:,} characters")
        return longest

    def _query(self, node: exp.Query) -> int:
        """What a query reads comes first, for its other parts name that."""
        read = ("with_", "from_", "joins", "laterals")
        given = SCALAR
        for part in (*read, *(part for part in node.args if part not in read)):
            value = node.args.get(part)
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, exp.Expr):
                    length = self.of(one)
                    given = max(given, length) if part in ("this", "expression", "expressions") else given
        self._column = max(self._column, given)
        return given

    def _search(self, parts: list[int]) -> None:
        first, second = sorted([*parts, 1, 1])[-2:]
        if first * second > SEARCHED:
            raise Refused("it could look for a very long text in another")

    def _replaced(self, node: exp.Expr, lengths: dict[int, int]) -> int:
        """The length of what replace makes: at worst, all that it looks for stands side by side."""
        given, sought, by = lengths[id(node.this)], node.args["expression"], node.args.get("replacement")
        put = lengths[id(by)] if by is not None else 0
        if isinstance(node, exp.RegexpReplace):
            # An empty match between any two letters; each \\1 puts in what was matched, and looking ahead even more.
            back = by.name.count("\\") + by.name.count("$") if isinstance(by, exp.Literal) else int(by is not None)
            is_plain = isinstance(sought, exp.Literal) and "(?" not in sought.name
            made = (given + 1) * max(1, put) + given * back * (1 if is_plain else given)
        else:
            length = len(sought.name) if isinstance(sought, exp.Literal) and sought.is_string else 1
            made = given * max(1, -(-put // max(1, length)))
        if max(given, made) > REPLACED:
            raise Refused(f"replace could make a text of more than {REPLACED:,} characters: use it on shorter ones")
        return made
