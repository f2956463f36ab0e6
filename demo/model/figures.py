# ruff: noqa: E501 (the shapes of statements are read across)
"""Figures beside names: a statement that ranks or bounds names also shows what they are ranked or bounded by.

SELECT line FROM lines ORDER BY length_km DESC LIMIT 3  →  SELECT line, length_km FROM lines ORDER BY …
"""

import re

RANKED = re.compile(
    r"SELECT ((?:DISTINCT )?(?:d\.)?\w+) (FROM .+) ORDER BY (\S+|LENGTH\(name\)|(?:SUM|AVG|COUNT)\((?:[^()]|\([^()]*\))*\)(?: \* 1\.0 / COUNT\(DISTINCT day\))?)"
    r"((?: DESC)?(?: LIMIT \d+)?(?: OFFSET \d+)?)"
)
BOUNDED = re.compile(
    r"SELECT (\w+) (FROM .+ GROUP BY (?:d\.)?\w+ HAVING )((?:SUM|AVG|COUNT)\([^()]*\)) ([<>=]+ \d+|BETWEEN \d+ AND \d+)"
)
COMPARED = re.compile(r"SELECT (line) (FROM lines WHERE (length_km|stations|opened) (?:[<>=]+|BETWEEN|LIKE) .+)")
ON_A_DAY = re.compile(
    r"SELECT (station|day) (FROM riders WHERE .* AND (entries \+ exits|entries|exits) (?:[<>=]+ \d+|BETWEEN \d+ AND \d+))"
)
# Order along a line is no figure that anybody asks for.
PLAIN = {"seq", "day", "name", "line", "district", "2"}


def with_figures(sql: str) -> str:
    """`sql` with the figure of each name beside it; as it is where there is none, or it is there already."""
    if (found := RANKED.fullmatch(sql)) and found[3] not in PLAIN:
        return f"SELECT {found[1]}, {found[3]} {found[2]} ORDER BY {found[3]}{found[4]}"
    if found := BOUNDED.fullmatch(sql):
        return f"SELECT {found[1]}, {found[3]} {found[2]}{found[3]} {found[4]}"
    for shape in (COMPARED, ON_A_DAY):
        if found := shape.fullmatch(sql):
            return f"SELECT {found[1]}, {found[3]} {found[2]}"
    return sql
