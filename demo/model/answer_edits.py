# ruff: noqa: E501 (statements are read across)
"""Next questions that ask for the same answer in another order, number or detail: their statement is an edit of the first."""

import re
from random import Random

from demo.model.attributes import LINE, STATION
from demo.model.counting import number_slot
from demo.model.drawing import Drawn
from demo.model.figures import RANKED
from demo.model.following import derived, said
from demo.model.followup_phrases import (
    AND_NOW,
    BY,
    FEWER,
    FROM_THE_OTHER_END,
    HOW_MANY,
    MEASURED,
    NTH,
    NUMBER,
    OF_THEM,
    OF_THEM_COUNTED,
    REVERSED,
    WHICH_ONES,
    WITH,
)
from demo.model.grammar import expand
from demo.model.slots import predicate_slot

LIST = re.compile(
    r"SELECT (?:DISTINCT )?(name|line|district) FROM (dtzpt|lines) WHERE ((?:(?!GROUP BY|LIMIT|ORDER BY).)+?)(?: ORDER BY seq)?"
)
COUNT = re.compile(
    r"SELECT COUNT\((?:DISTINCT (name|line|district)|\*)\) FROM (dtzpt|lines) WHERE ((?:(?!GROUP BY|LIMIT|ORDER BY).)+)"
)
TOTAL = re.compile(r"SELECT (SUM\((?:entries \+ exits|entries|exits)\)) FROM riders(?: WHERE (.+))?")
STATIONS_COUNTED = re.compile(r"SELECT COUNT\((?:DISTINCT name|\*)\) FROM dtzpt(?: WHERE ((?:(?!GROUP BY).)+))?")


def reversed_order(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """最少的呢: the same ranking from its other end."""
    found = RANKED.fullmatch(first.bare or "")
    if not found or "LIMIT" not in found[4] or "OFFSET" in found[4] or found[3] in ("seq", "day", "lng", "lat", "2"):
        return None
    falls = found[4].startswith(" DESC")
    words = FEWER.get(found[3], MEASURED)[(0 if falls else 1) + (0 if language == "zh" else 2)].split("|")
    if rng.random() < 0.25:
        question = said(REVERSED[language], "", rng, language)
    else:
        question = said(
            AND_NOW[language] if language == "en" else "[那{X}呢|{X}呢|{X}是哪个|那{X}|{X}|换成{X}]",
            rng.choice(words),
            rng,
            language,
        )
    assert first.bare is not None
    tail = found[4].removeprefix(" DESC") if falls else " DESC" + found[4]
    bare = first.bare[: -len(found[4])] + tail
    return derived(first, question, bare, "，反过来排", ", in the opposite order", language)


def first_few(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """只要前三个: fewer or more rows of a ranking."""
    found = RANKED.fullmatch(first.bare or "")
    bare = first.bare or ""
    if not found and re.search(
        r" ORDER BY (?:SUM|AVG|COUNT)\(.+ DESC$| ORDER BY (?:length_km|stations)(?: DESC)?$", bare
    ):
        head = bare
    elif found and "OFFSET" not in found[4] and found[3] not in ("seq", "day"):
        head = re.sub(r" LIMIT \d+$", "", bare)
    else:
        return None
    number = number_slot(rng, language, 2, 10)
    if rng.random() < 0.3:
        number = number_slot(rng, language, 3, 5)
    bare = f"{head} LIMIT {number.name}"
    if bare == first.bare:
        return None
    return derived(
        first,
        said(NUMBER[language], number.text, rng, language),
        bare,
        f"，只取前{number.name}个",
        f", the first {number.name} only",
        language,
    )


def counted(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """有多少个 after a list, 是哪些 after a count."""
    if found := LIST.fullmatch(first.bare or ""):
        bare = f"SELECT COUNT(DISTINCT {found[1]}) FROM {found[2]} WHERE {found[3]}"
        return derived(
            first, said(HOW_MANY[language], "", rng, language), bare, "，数一数有多少个", ", counted", language
        )
    if found := COUNT.fullmatch(first.bare or ""):
        column = found[1] or ("name" if found[2] == "dtzpt" else "line")
        bare = f"SELECT DISTINCT {column} FROM {found[2]} WHERE {found[3]}"
        return derived(
            first, said(WHICH_ONES[language], "", rng, language), bare, "，列出是哪些", ", which ones", language
        )
    return None


def narrowed(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """其中换乘站有哪些: a condition more on a list or a count of stations."""
    found, was_count = LIST.fullmatch(first.bare or ""), None
    if not found:
        found = was_count = COUNT.fullmatch(first.bare or "")
    if not found or found[2] != "dtzpt" or (found[1] or "name") != "name":
        return None
    part = predicate_slot(rng, language)
    condition = part.sql["is"]
    if condition.split()[0] in re.findall(r"(?:^|AND )(\w+)", found[3]):
        return None
    counts = was_count is not None if rng.random() < 0.7 else not was_count
    bare = f"SELECT {'COUNT(DISTINCT name)' if counts else 'DISTINCT name'} FROM dtzpt WHERE {found[3]} AND {condition}"
    question = said((OF_THEM_COUNTED if counts else OF_THEM)[language], part.text, rng, language)
    return derived(
        first,
        question,
        bare,
        f"，其中{part.name}的{'数量' if counts else ''}",
        f", those that are {part.name}{', counted' if counts else ''}",
        language,
    )


def nth(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """第二名呢: one row further down a ranking."""
    found = RANKED.fullmatch(first.bare or "")
    if not found or not found[4].endswith(" LIMIT 1") or found[3] in ("seq", "day", "lng", "lat", "2"):
        return None
    place = rng.choice([2, 2, 2, 3, 3, 4, 5])
    text = (
        str(place)
        if rng.random() < 0.3
        else "零一二三四五"[place]
        if language == "zh"
        else ["", "first", "second", "third", "fourth", "fifth"][place]
    )
    bare = f"{first.bare} OFFSET {place - 1}"
    return derived(
        first, said(NTH[language], text, rng, language), bare, f"，第{place}名", f", number {place}", language
    )


def whole_ranking_reversed(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """从少到多排: a whole ranking from its other end."""
    found = re.fullmatch(
        r"(SELECT .+ ORDER BY (?:(?:SUM|AVG|COUNT)\(.+\)|length_km|stations|opened))( DESC)?", first.bare or ""
    )
    if not found or " LIMIT " in (first.bare or ""):
        return None
    words = (
        FROM_THE_OTHER_END
        if found[2]
        else {
            "zh": "[从多到少排|从高到低排|从大到小排|降序排列|反过来排|倒序]",
            "en": "[from largest to smallest|descending|in descending order|highest first|largest first|reverse the order]",
        }
    )
    bare = found[1] + ("" if found[2] else " DESC")
    return derived(
        first, said(words[language], "", rng, language), bare, "，反过来排", ", in the opposite order", language
    )


def with_fact(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """带上开通日期: a column more in a list of stations or lines."""
    found = re.fullmatch(
        r"SELECT ((?:DISTINCT )?(?:name|line)) FROM (dtzpt|lines)((?: WHERE (?:(?!GROUP BY|LIMIT).)+)?)",
        first.bare or "",
    )
    if not found or ("line" in found[1]) != (found[2] == "lines"):
        return None
    facts = STATION if found[2] == "dtzpt" else LINE
    column = rng.choice(list(facts))
    noun, _, name = facts[column][language == "en"]
    question = said(WITH[language], expand(noun, rng).removeprefix("the "), rng, language)
    bare = f"SELECT {found[1]}, {column} FROM {found[2]}{found[3]}"
    return derived(first, question, bare, f"，带上{name}", f", with their {name}", language)


def broken_down(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """按区看: a total split by district, line or station."""
    key = rng.choice(list(BY))
    question = said(BY[key][language == "en"], "", rng, language)
    if found := STATIONS_COUNTED.fullmatch(first.bare or ""):
        if key == "station":
            return None
        figure = "COUNT(DISTINCT name)" if key == "district" else "COUNT(*)"
        where = f" WHERE {found[1]}" if found[1] else ""
        bare = f"SELECT {key}, {figure} FROM dtzpt{where} GROUP BY {key} ORDER BY {figure} DESC"
    elif found := TOTAL.fullmatch(first.bare or ""):
        where = f" WHERE {found[2]}" if found[2] else ""
        if key == "station":
            bare = f"SELECT station, {found[1]} FROM riders{where} GROUP BY station ORDER BY {found[1]} DESC"
        elif found[2] and "station" in found[2]:
            return None
        else:
            source = "dtzpt d" if key == "line" else "(SELECT DISTINCT name, district FROM dtzpt) d"
            bare = f"SELECT d.{key}, {found[1]} FROM riders r JOIN {source} ON d.name = r.station{where} GROUP BY d.{key} ORDER BY {found[1]} DESC"
    else:
        return None
    zh, en = {"district": ("行政区", "district"), "line": ("线路", "line"), "station": ("站", "station")}[key]
    return derived(first, question, bare, f"，按{zh}分", f", for each {en}", language)
