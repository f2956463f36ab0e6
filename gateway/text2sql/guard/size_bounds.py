"""How long a text can become that a statement makes, as if every value in the tables had up to VALUE characters.

Servers compute a replace in one go: no limit and no KILL ends one of MariaDB's over some megabytes (its time grows with
the square of the length), and PostgreSQL takes a gigabyte of memory for one value. Texts grow step by step, where
replace stands in replace, or a subquery joins what another one joined, so the bound is carried through all of them.
repeat, lpad, space and printf make as much as their number says, so it has to be a plain one. Values that are longer
in the tables are for their owner to judge.
"""

from __future__ import annotations

import re

from sqlglot import exp

from gateway.text2sql.guard.refused import Refused

VALUE = 1_000
SCALAR = 400  # a number, a date, as text
COLLECTED = 50_000  # what GROUP_CONCAT and its like are taken for
TEXT = 1_000_000  # the longest that may be made
REPLACED = 100_000  # the longest that replace may be given or make
# What looks for one text in another takes their lengths' product at worst.
SEARCHED = 100_000_000
SERIES = 1_000_000  # rows of generate_series
INDENTS = {"jsonb_pretty", "json_pretty", "json_detailed"}
WIDTHS = 10_000  # characters that a number in repeat, lpad, space or printf may ask for
# What gives rows whose columns may be as long as what it is given.
ROWS = (exp.Values, exp.Table, exp.Unnest, exp.Lateral)
JOINS = (exp.Concat, exp.ConcatWs, exp.DPipe, exp.Array, exp.Tuple)
COLLECTS = (exp.GroupConcat, exp.ArrayAgg, exp.JSONArrayAgg, exp.JSONObjectAgg, exp.JSONBObjectAgg)
COLLECTING = ("json_group_array", "json_group_object")  # SQLite's
SHORT = (
    exp.MD5, exp.SHA, exp.SHA2, exp.Ascii, exp.Chr, exp.Extract, exp.TimeToStr, exp.CurrentDate, exp.CurrentTimestamp,
    exp.Round, exp.Abs, exp.Min, exp.Max, exp.Substring, exp.Left, exp.Right, exp.Lower, exp.Upper, exp.Coalesce,
    exp.If, exp.Case, exp.Cast, exp.Nullif, exp.Greatest, exp.Least, exp.FirstValue, exp.LastValue, exp.Lag, exp.Lead,
    exp.NthValue, exp.AnyValue, exp.Date, exp.Reverse, exp.SplitPart, exp.SubstringIndex, exp.Trim, exp.JSONExtract,
    exp.JSONExtractScalar, exp.RegexpSubstr, exp.And, exp.Or,
)  # fmt: skip
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
        if isinstance(node, exp.With) and node.args.get("recursive"):
            _check_recursion(node)
        if isinstance(node, exp.Column | exp.Star):
            return self._column
        if isinstance(node, exp.Literal):
            return len(node.name) if node.is_string else SCALAR
        if isinstance(node, exp.GenerateSeries | exp.ExplodingGenerateSeries):
            _check_series(node)
        lengths = {id(child): self.of(child) for child in node.iter_expressions()}
        parts = list(lengths.values())
        if isinstance(node, exp.Pad | exp.Repeat | exp.Space | exp.Format) or _is_printf(node):
            return self._asked_for(node, parts)
        if isinstance(node, SEARCHES):
            self._search(parts)
        if isinstance(node, exp.Replace | exp.RegexpReplace):
            return self._replaced(node, lengths)
        if isinstance(node, CONDITIONS):
            return SCALAR
        longest = self._made(node, lengths)
        if isinstance(node, ROWS):
            self._column = max(self._column, longest)
        if longest > TEXT:
            raise Refused(f"it could join texts to more than {TEXT:,} characters: join fewer or shorter ones")
        return longest

    def _made(self, node: exp.Expr, lengths: dict[int, int]) -> int:
        """What any other expression makes of its parts."""
        parts = list(lengths.values())
        longest = max([SCALAR, *parts])
        if isinstance(node, COLLECTS) or _called(node) in COLLECTING:
            return max(COLLECTED, longest)
        if isinstance(node, JOINS):
            separator = lengths[id(node.expressions[0])] if isinstance(node, exp.ConcatWs) and node.expressions else 0
            return max(SCALAR, sum(parts) + separator * len(parts))
        if _called(node) in INDENTS:
            # Each of n parentheses may stand in a line of its own, as deep as it nests: n * n spaces.
            return max(SCALAR, sum(parts) ** 2)
        if isinstance(node, exp.Func) and not isinstance(node, SHORT):
            # Any other function: at most all that it is given, with a sign of escape before each letter.
            return max(SCALAR, 2 * sum(parts))
        return longest

    def _asked_for(self, node: exp.Expr, parts: list[int]) -> int:
        """What a function makes whose length is an argument: repeat, lpad, space, printf."""
        if isinstance(node, exp.Format) or _is_printf(node):
            return _printed(node, parts)
        count = node.expression if isinstance(node, exp.Pad) else node.args.get("times") or node.this
        if not isinstance(count, exp.Literal) or count.is_string or not count.name.isdigit():
            raise Refused(f"{_word(node)} needs its length as a plain number, such as 10, got an expression")
        length = int(count.name) * (max(1, max(parts)) if isinstance(node, exp.Repeat) else 1)
        if int(count.name) > WIDTHS or length > REPLACED:
            raise Refused(
                f"{_word(node)} must make at most {WIDTHS:,} characters, got {length:,}: write a smaller number"
            )
        return max(SCALAR, length)

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
            raise Refused("it could look for a very long text in another: search in a column, not in joined texts")

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


def _check_recursion(node: exp.With) -> None:
    """A recursion must not make texts longer with each of its steps, of which there may be many."""
    for cte in node.expressions:
        query = cte.this.expression if isinstance(cte.this, exp.SetOperation) else None
        for item in query.expressions if isinstance(query, exp.Select) else []:
            if any(joined.find(exp.Column) for joined in item.find_all(*JOINS, exp.Replace, exp.RegexpReplace)):
                raise Refused(
                    "a recursion must not make a text longer with each step: join the texts in the query around it"
                )


def _check_series(node: exp.Expr) -> None:
    ends = [node.args.get("start"), node.args.get("end"), node.args.get("step")]
    numbers = [int(end.name) if isinstance(end, exp.Literal) and end.name.isdigit() else None for end in ends]
    first, last, step = numbers[0], numbers[1], numbers[2] or 1
    if first is not None and last is not None and (last - first) / step > SERIES:
        raise Refused(f"generate_series must give at most {SERIES:,} rows")


def _called(node: exp.Expr) -> str:
    return node.name.lower() if isinstance(node, exp.Anonymous) else ""


def _is_printf(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.lower() in ("printf", "format")


def _printed(node: exp.Expr, parts: list[int]) -> int:
    """What printf makes: its format has to be a plain text, whose widths count."""
    given = node.this if isinstance(node.this, exp.Expr) else next(iter(node.expressions), None)
    if not isinstance(given, exp.Literal) or not given.is_string or "*" in given.name:
        raise Refused(f"{_word(node)} needs its format as a plain text without *, such as '%05d'")
    widths = [int(width) for width in re.findall(r"\d+", given.name)]
    if any(width > WIDTHS for width in widths):
        raise Refused(
            f"{_word(node)} must make at most {WIDTHS:,} characters, got {max(widths):,}: write a smaller number"
        )
    # Each % may name any of the arguments (%1$s), and PostgreSQL's %L and %I double their quotes.
    named = given.name.count("%") * 2 * max(parts) if "$" in given.name else 2 * sum(parts)
    made = max(SCALAR, named + len(given.name) + sum(widths))
    if made > TEXT:
        raise Refused(f"it could join texts to more than {TEXT:,} characters: join fewer or shorter ones")
    return made


def _word(node: exp.Expr) -> str:
    written = node.name if isinstance(node, exp.Anonymous) else node.key
    return str(node.meta.get("name") or written).lower()
