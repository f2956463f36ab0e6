"""A statement of the demo taken apart into its clauses, so that a next question can change one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

CLAUSES = (" FROM ", " WHERE ", " GROUP BY ", " HAVING ", " ORDER BY ", " LIMIT ", " OFFSET ")
LINE_JOIN = "riders r JOIN dtzpt d ON d.name = r.station"
DISTRICT_JOIN = "riders r JOIN (SELECT DISTINCT name, district FROM dtzpt) d ON d.name = r.station"
MEASURE = re.compile(r"\b(?:entries \+ exits|entries|exits)\b")


@dataclass(frozen=True)
class Statement:
    """One SELECT: its columns, its source, its conditions, and the rest as text ("" where it has none)."""

    columns: tuple[str, ...]
    source: str
    where: tuple[str, ...] = ()
    group: str = ""
    having: str = ""
    order: str = ""
    limit: str = ""
    offset: str = ""
    distinct: bool = False

    def __str__(self) -> str:
        text = f"SELECT {'DISTINCT ' if self.distinct else ''}{', '.join(self.columns)} FROM {self.source}"
        if self.where:
            text += " WHERE " + " AND ".join(self.where)
        rest = zip(CLAUSES[2:], (self.group, self.having, self.order, self.limit, self.offset), strict=True)
        return text + "".join(clause + value for clause, value in rest if value)

    @property
    def has_riders(self) -> bool:
        return self.source in ("riders", LINE_JOIN, DISTRICT_JOIN)

    @property
    def is_plain(self) -> bool:
        """Whether no column, group or condition on a figure holds a statement of its own."""
        return not any("(SELECT" in text for text in (*self.columns, self.group, self.having, self.order))

    @property
    def measure(self) -> str | None:
        """The one measure of its figures: entries + exits, entries or exits; None where there are two or none."""
        found = {one for text in (*self.columns, self.having, self.order) for one in MEASURE.findall(text)}
        return found.pop() if len(found) == 1 else None

    def with_measure(self, measure: str) -> Statement:
        def changed(text: str) -> str:
            return MEASURE.sub(measure, text)

        return replace(
            self,
            columns=tuple(map(changed, self.columns)),
            having=changed(self.having),
            order=changed(self.order),
            where=tuple(changed(one) if re.match(r"(?:entries|exits) ", one) else one for one in self.where),
        )

    def without(self, *starts: str) -> Statement:
        """The statement less the conditions that begin so."""
        return replace(self, where=tuple(one for one in self.where if not one.startswith(starts)))

    def having_also(self, *conditions: str) -> Statement:
        return replace(self, where=(*self.where, *(one for one in conditions if one)))

    def has(self, *starts: str) -> bool:
        return any(one.startswith(starts) for one in self.where)


def pieces(text: str, marks: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """(mark, text after it) for each mark outside brackets and quotes; the first mark is ""."""
    depth, quoted, mark, begin, at = 0, False, "", 0, 0
    while at < len(text):
        here = text[at]
        if here == "'":
            quoted = not quoted
        elif not quoted:
            depth += (here == "(") - (here == ")")
            found = next((one for one in marks if text.startswith(one, at)), None) if depth == 0 else None
            if found:
                yield mark, text[begin:at]
                mark, begin = found, at + len(found)
                at = begin
                continue
        at += 1
    yield mark, text[begin:]


def conditions(text: str) -> tuple[str, ...]:
    """The conditions that AND joins; the AND of a BETWEEN joins none."""
    found: list[str] = []
    for _, one in pieces(text, (" AND ",)):
        if found and re.search(r" BETWEEN \S+$", found[-1]):
            found[-1] += f" AND {one}"
        else:
            found.append(one)
    return tuple(found)


def parse(sql: str) -> Statement | None:
    """The statement's clauses; None for a form that this does not take apart, such as an OR."""
    head, *rest = pieces(sql, CLAUSES)
    columns = head[1].removeprefix("SELECT ").removeprefix("DISTINCT ")
    clauses = dict(rest)
    if " FROM " not in clauses or len(clauses) != len(rest) or " OR " in clauses.get(" WHERE ", ""):
        return None
    made = Statement(
        tuple(text for _, text in pieces(columns, (", ",))),
        clauses[" FROM "],
        conditions(clauses[" WHERE "]) if " WHERE " in clauses else (),
        *(clauses.get(clause, "") for clause in CLAUSES[2:]),
        distinct=head[1].startswith("SELECT DISTINCT "),
    )
    return made if str(made) == sql else None
