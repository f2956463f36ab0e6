# ruff: noqa: E501 (lists of phrasings are read across)
"""One thing changed in any statement that lists rows: order, number, a place in the ranking, columns, a condition, a count."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

from demo.model.attributes import LINE, STATION
from demo.model.counting import number_slot
from demo.model.following import said
from demo.model.followup_phrases import (
    AND_NOW,
    FEWER,
    HOW_MANY,
    MEASURED,
    NTH,
    NUMBER,
    OF_THEM,
    ONLY,
    REVERSED,
    WHICH_ONES,
    WITH,
)
from demo.model.grammar import expand
from demo.model.names import district_slot, line_slot
from demo.model.rider_edits import Edit
from demo.model.row_edit_phrases import (
    ANY_DISTRICT,
    ANY_LINE,
    ANY_TIME,
    ANY_TRANSFER,
    ASKED_OF_EACH,
    BUSIEST_OF,
    EVERY_ROW,
    EXTREMES,
    GROUPS,
    LEAST,
    LINE_EXTREMES,
    MOST,
    NEAR,
    NO_TRANSFER,
    ORDERS,
    OUTSIDE,
    QUIETEST_OF,
    SAME_DISTRICT,
    SAME_LINE,
    THEIR_RIDERS,
    TRANSFER,
)
from demo.model.slots import opened_slot, predicate_slot, station
from demo.model.statement import Statement

DISTANCE = "MIN(111.2 * SQRT((a.lng - b.lng) * (a.lng - b.lng) * 0.746 + (a.lat - b.lat) * (a.lat - b.lat)))"


def is_ranking(statement: Statement) -> bool:
    return (
        bool(statement.order)
        and statement.order not in ("seq", "day", "2")
        and statement.order.split()[0] not in ("seq", "m.seq")
    )


def flipped(order: str) -> str:
    return order.removesuffix(" DESC") if order.endswith(" DESC") else order + " DESC"


def other_end(statement: Statement, rng: Random, language: str) -> Edit | None:
    """最少的呢, 反过来, 从低到高排."""
    if not is_ranking(statement) or statement.offset:
        return None
    falls = statement.order.endswith("DESC")
    column = statement.order.removesuffix(" DESC")
    new = replace(statement, order=flipped(statement.order))
    kind = rng.random()
    if statement.limit and kind < 0.65 and (column in FEWER or "(" in column or column == "stations"):
        words = FEWER.get(column, MEASURED)[(0 if falls else 1) + (0 if language == "zh" else 2)].split("|")
        template = AND_NOW["en"] if language == "en" else "[那{X}呢|{X}呢|{X}是哪个|那{X}|{X}|换成{X}|改成{X}]"
        text = said(template, rng.choice(words), rng, language)
    elif kind < 0.85 or not ("(" in column or column in ("length_km", "stations")):
        text = said(REVERSED[language], "", rng, language)
    else:
        words_zh = (
            "[从少到多排|从低到高排|从小到大排|升序排列|由低到高|升序]"
            if falls
            else "[从多到少排|从高到低排|从大到小排|降序排列|降序]"
        )
        words_en = (
            "[from smallest to largest|ascending|in ascending order|lowest first|smallest first]"
            if falls
            else "[from largest to smallest|descending|in descending order|highest first|largest first]"
        )
        text = said(words_zh if language == "zh" else words_en, "", rng, language)
    return text, new, "反过来排", "in the opposite order"


def fewer_rows(statement: Statement, rng: Random, language: str) -> Edit | None:
    """只要前三."""
    if not statement.order or statement.offset or statement.order.split()[0] in ("m.seq",):
        return None
    if statement.limit and rng.random() < 0.15:
        return (
            said(EVERY_ROW[language == "en"], "", rng, language),
            replace(statement, limit=""),
            "全部列出",
            "all of them",
        )
    low, high = rng.choice([(3, 3), (5, 5), (3, 5), (2, 10), (10, 10)])
    slot = number_slot(rng, language, low, high)
    if slot.name == statement.limit:
        return None
    if rng.random() < 0.1:
        one = (
            "[只要第一个|只看第一名|第一名就行|只要最前面的一个]",
            "[just the first|only the first one|just the top one]",
        )
        return (
            said(one[language == "en"], "", rng, language),
            replace(statement, limit="1"),
            "只取第一个",
            "the first only",
        )
    return (
        said(NUMBER[language], slot.text, rng, language),
        replace(statement, limit=slot.name),
        f"只取前{slot.name}个",
        f"the first {slot.name} only",
    )


def one_further(statement: Statement, rng: Random, language: str) -> Edit | None:
    """第二名呢."""
    if not is_ranking(statement) or statement.limit not in ("", "1") and rng.random() < 0.6:
        return None
    place = rng.choice([2, 2, 2, 3, 3, 4, 5])
    if statement.offset == str(place - 1):
        return None
    words = ["", "first", "second", "third", "fourth", "fifth"][place] if language == "en" else "零一二三四五"[place]
    text = said(NTH[language], str(place) if rng.random() < 0.3 else words, rng, language)
    return text, replace(statement, limit="1", offset=str(place - 1)), f"第{place}名", f"number {place}"


def how_many(statement: Statement, rng: Random, language: str) -> Edit | None:
    """有多少个, 是哪些."""
    if statement.source not in ("dtzpt", "lines") or statement.group or statement.limit or not statement.where:
        return None
    key = "name" if statement.source == "dtzpt" else "line"
    if re.match(r"COUNT\(", statement.columns[0]) and len(statement.columns) == 1:
        new = replace(statement, columns=(key,), distinct=key == "name")
        return said(WHICH_ONES[language], "", rng, language), new, "列出是哪些", "which ones"
    if statement.columns[0] not in ("name", "line", "district") or statement.has("name = ", "name_en = "):
        return None
    if statement.source == "lines" and statement.has("line = "):
        return None
    new = replace(statement, columns=(f"COUNT(DISTINCT {statement.columns[0]})",), distinct=False, order="")
    return said(HOW_MANY[language], "", rng, language), new, "数一数有多少个", "counted"


def of_stations(statement: Statement) -> bool:
    """Whether the statement lists or counts stations by conditions that can be changed."""
    if statement.source != "dtzpt" or statement.group or statement.has("name = ", "name_en = ", "seq = "):
        return False
    return statement.columns[0] in ("name", "COUNT(DISTINCT name)", "COUNT(*)") and statement.is_plain


def counting_once(statement: Statement) -> Statement:
    """COUNT(*) counts rows; without a line in the condition a name is counted once."""
    if statement.source != "dtzpt":
        return statement
    if statement.columns == ("COUNT(*)",) and not statement.has("line = "):
        return replace(statement, columns=("COUNT(DISTINCT name)",))
    if statement.columns[0] == "name" and not statement.has("line = ") and "line" not in statement.columns:
        return replace(statement, distinct=True, order="" if statement.order == "seq" else statement.order)
    return statement


def other_condition(statement: Statement, rng: Random, language: str) -> Edit | None:
    """余杭区呢, 2号线呢, 2021年的呢: the same about another line, district, time of opening, station."""
    if statement.source not in ("dtzpt", "lines") or not statement.where or not statement.is_plain:
        return None
    starts = ("line = ", "district = ", "opened ", "name = ", "name_en = ")
    found = [one for one in statement.where if one.startswith(starts) and "(SELECT" not in one]
    if not found or statement.has("seq "):
        return None
    old = rng.choice(found)
    kind = old.split()[0]
    if kind in ("line", "district") and of_stations(statement) and len(found) == 1 and rng.random() < 0.3:
        kind = "district" if kind == "line" else "line"
    slot = {
        "line": lambda: line_slot(rng, language),
        "district": lambda: district_slot(rng, language),
        "opened": lambda: opened_slot(rng, language),
        "name": lambda: station(rng, language),
        "name_en": lambda: station(rng, language),
    }[kind]()
    new = slot.sql["is"]
    if new == old or (kind == "opened" and statement.source == "lines" and rng.random() < 0.3):
        return None
    text = said((ONLY if kind == "opened" and rng.random() < 0.2 else AND_NOW)[language], slot.text, rng, language)
    if kind == "opened" and language == "zh" and rng.random() < 0.5:
        text = said("[{X}开通的呢|那{X}开通的呢|换成{X}开通的|{X}的呢]", slot.text, rng, language)
    where = tuple(new if one == old else one for one in statement.where)
    return text, counting_once(replace(statement, where=where)), f"换成{slot.name}", f"for {slot.name}"


def dropped(statement: Statement, rng: Random, language: str) -> Edit | None:
    """不限线路: a condition less."""
    if not of_stations(statement) or len(statement.where) < 2:
        return None
    old = rng.choice(statement.where)
    kinds = {"line = ": (ANY_LINE, "不限线路", "on any line"), "district = ": (ANY_DISTRICT, "不限行政区", "in any district"), "opened ": (ANY_TIME, "不限开通时间", "opened at any time"), "transfer_lines": (ANY_TRANSFER, "不限换乘", "transfer or not")}  # fmt: skip
    for start, (words, zh, en) in kinds.items():
        if old.startswith(start):
            where = tuple(one for one in statement.where if one != old)
            return (
                said(words[language == "en"], "", rng, language),
                counting_once(replace(statement, where=where)),
                zh,
                en,
            )
    return None


def more_condition(statement: Statement, rng: Random, language: str) -> Edit | None:
    """其中换乘站有哪些, 只看西湖区的, 不在西湖区的呢."""
    if not of_stations(statement) or statement.limit or len(statement.where) > 3:
        return None
    kind = rng.random()
    if kind < 0.3:
        has = "transfer_lines <> ''" in statement.where
        rest = statement.without("transfer_lines")
        wanted = not has and rng.random() < 0.75
        words = TRANSFER if wanted else NO_TRANSFER
        new = rest.having_also("transfer_lines <> ''" if wanted else "transfer_lines = ''")
        return said(words[language == "en"], "", rng, language), new, "只看换乘站" if wanted else "只看非换乘站", "transfer stations only" if wanted else "those without a transfer"  # fmt: skip
    if kind < 0.42:
        slot = district_slot(rng, language)
        if statement.has("district = "):
            return None
        new = statement.having_also(slot.sql["is"].replace(" = ", " <> "))
        return (
            said(OUTSIDE[language == "en"], slot.text, rng, language),
            new,
            f"不在{slot.name}的",
            f"those outside {slot.name}",
        )
    if kind < 0.65:
        maker = line_slot if statement.has("district = ") else district_slot
        slot = maker(rng, language)
        if statement.has(slot.sql["is"].split()[0] + " "):
            return None
        words_en = "[only those in {X}|just those in {X}|which of them are in {X}|of those, {X}|only {X}]"
        text = said("[只看{X}的|其中{X}的|{X}的有哪些|只要{X}的|限{X}|其中在{X}的|里面{X}的呢]" if language == "zh" else words_en, slot.text, rng, language)  # fmt: skip
        return text, statement.having_also(slot.sql["is"]), f"其中{slot.name}的", f"of those, {slot.name}"
    part = predicate_slot(rng, language)
    if statement.has(part.sql["is"].split()[0]):
        return None
    new = statement.having_also(part.sql["is"])
    return said(OF_THEM[language], part.text, rng, language), new, f"其中{part.name}的", f"those that are {part.name}"


def more_column(statement: Statement, rng: Random, language: str) -> Edit | None:
    """带上开通日期; after several facts, one more."""
    if statement.source not in ("dtzpt", "lines") or statement.group or len(statement.columns) > 4:
        return None
    facts, first = (STATION, "name") if statement.source == "dtzpt" else (LINE, "line")
    one = statement.has("name = ", "name_en = ") if statement.source == "dtzpt" else statement.has("line = ")
    if statement.columns[0] != first and not one:
        return None
    if any("(" in text or "COUNT" in text for text in statement.columns):
        return None
    column = rng.choice([name for name in facts if name.split(",")[0] not in statement.columns] or [""])
    if not column:
        return None
    noun = facts[column][language == "en"][0]
    zh, en = (facts[column][which][2] for which in (0, 1))
    text = said(WITH[language], expand(noun, rng).removeprefix("the "), rng, language)
    if not one and column in ASKED_OF_EACH and rng.random() < 0.4:
        text = said(ASKED_OF_EACH[column][language == "en"], "", rng, language)
    new = replace(statement, columns=(*statement.columns, column))
    return text, new, f"带上{zh}", f"with their {en}"


def other_order(statement: Statement, rng: Random, language: str) -> Edit | None:
    """按开通时间排, 从北到南排, 按长度排."""
    if statement.source not in ("dtzpt", "lines") or statement.group or "COUNT" in statement.columns[0]:
        return None
    first = "name" if statement.source == "dtzpt" else "line"
    if statement.columns[0] != first or statement.has("name = ", "line = '") and statement.source == "lines":
        return None
    column = rng.choice(
        ["opened", "opened", "name_en", "lat", "lng"]
        if first == "name"
        else ["opened", "length_km", "length_km", "stations"]
    )
    falls = rng.random() < (0.7 if column in ("length_km", "stations") else 0.35)
    words = ORDERS[column][falls]
    # What it is sorted by is shown.
    columns = (
        statement.columns
        if column in statement.columns or column in ("lat", "lng", "name_en")
        else (*statement.columns, column)
    )
    order = column + (" DESC" if falls else "")
    if order == statement.order:
        return None
    new = replace(statement, columns=columns, order=order)
    zh, en = (
        f"按{ {'opened': '开通日期', 'name_en': '英文名', 'lat': '纬度', 'lng': '经度', 'length_km': '长度', 'stations': '站数'}[column] }{'从大到小' if falls else '从小到大'}排",
        f"by {column}{', the largest first' if falls else ''}",
    )
    return said(words[language == "en"], "", rng, language), new, zh, en


def extreme(statement: Statement, rng: Random, language: str) -> Edit | None:
    """哪个最早开通, 哪条最长: one of the rows that were listed."""
    if statement.group or statement.limit or not statement.is_plain:
        return None
    if of_stations(statement):
        if "COUNT" in statement.columns[0]:
            return None
        kind = rng.random()
        if kind < 0.45 and statement.where:
            words, falls = (BUSIEST_OF, " DESC") if rng.random() < 0.75 else (QUIETEST_OF, "")
            new = Statement(("station", "SUM(entries + exits)"), "riders", (f"station IN (SELECT name FROM dtzpt WHERE {' AND '.join(statement.where)})",), group="station", order=f"SUM(entries + exits){falls}", limit="1")  # fmt: skip
            return (
                said(words[language == "en"], "", rng, language),
                new,
                "其中客流最多的" if falls else "其中客流最少的",
                "the busiest of them" if falls else "the quietest of them",
            )
        if kind < 0.65 and statement.where:
            new = Statement(("station", "SUM(entries + exits)"), "riders", (f"station IN (SELECT name FROM dtzpt WHERE {' AND '.join(statement.where)})",), group="station", order="SUM(entries + exits) DESC")  # fmt: skip
            return said(THEIR_RIDERS[language == "en"], "", rng, language), new, "这些站的客流", "their riders"
        column, words_of = rng.choice(list(EXTREMES.items()))
    elif statement.source == "lines" and statement.columns[0] == "line" and not statement.has("line = "):
        column, words_of = rng.choice(list(LINE_EXTREMES.items()))
    else:
        return None
    falls = rng.random() < 0.5
    columns = (statement.columns[0], column) if column not in ("lat", "lng") else (statement.columns[0],)
    new = replace(statement, columns=columns, order=column + (" DESC" if falls else ""), limit="1")
    return said(words_of[falls][language == "en"], "", rng, language), new, "其中的第一个", "the first of them"


def first_of_groups(statement: Statement, rng: Random, language: str) -> Edit | None:
    """哪个区最多: the first row of a listing by figures."""
    figures = [text for text in statement.columns if re.match(r"(?:COUNT|SUM|AVG)\(", text)]
    if not statement.group or statement.limit or len(figures) != 1 or statement.group == "1":
        return None
    falls = rng.random() < 0.7
    word = {
        "district": ("区", "district"),
        "d.district": ("区", "district"),
        "line": ("条线", "line"),
        "d.line": ("条线", "line"),
        "station": ("个站", "station"),
        "day": ("天", "day"),
    }.get(statement.group)
    text = said((MOST if falls else LEAST)[language == "en"], "", rng, language)
    if word and rng.random() < 0.6:
        template = (
            f"[哪{'个' if word[0] == '区' else ''}{word[0]}最{'多|高|大' if falls else '少|低|小'}]"
            if language == "zh"
            else f"which {word[1]} has the [{'most|highest' if falls else 'fewest|lowest'}]"
        )
        if language == "zh":
            ends = template.strip("[]").split("|")
            head = ends[0][:-1]
            template = f"{head}[{'多|高|大' if falls else '少|低|小'}]"
        text = said(template, "", rng, language)
    new = replace(statement, order=figures[0] + (" DESC" if falls else ""), limit="1")
    return text, new, "最多的一个" if falls else "最少的一个", "the first of them" if falls else "the last of them"


def by_group(statement: Statement, rng: Random, language: str) -> Edit | None:
    """按区分一下: stations counted by district, line or year of opening."""
    if not of_stations(statement) or statement.limit or len(statement.columns) > 1:
        return None
    column = rng.choice(list(GROUPS))
    if statement.has(column.removeprefix("SUBSTR(").split(",")[0] + " "):
        return None
    zh, en, plain_zh, plain_en = GROUPS[column]
    value = "COUNT(*)" if column == "line" else "COUNT(DISTINCT name)"
    order = "" if column.startswith("SUBSTR") else f"{value} DESC"
    new = Statement((column, value), "dtzpt", statement.where, column, order=order)
    return said(zh if language == "zh" else en, "", rng, language), new, plain_zh, plain_en


def around(statement: Statement, rng: Random, language: str) -> Edit | None:
    """离它最近的站, 同一个区还有哪些站, 这条线上还有哪些站."""
    found = next((one for one in statement.where if one.startswith(("name = '", "name_en = '", "station = '"))), None)
    if not found:
        return None
    name = found.replace("station = ", "name = ")
    kind = rng.random()
    if kind < 0.35:
        new = Statement(
            ("b.name", DISTANCE),
            "dtzpt a JOIN dtzpt b ON b.name <> a.name",
            (f"a.{name}",),
            group="b.name",
            order="2",
            limit="1",
        )
        return said(NEAR[language == "en"], "", rng, language), new, "离它最近的站", "the nearest station"
    if kind < 0.7:
        new = Statement(("name",), "dtzpt", (f"district = (SELECT district FROM dtzpt WHERE {name})",), distinct=True)
        return (
            said(SAME_DISTRICT[language == "en"], "", rng, language),
            new,
            "同一个区的站",
            "the stations of the same district",
        )
    new = Statement(("name",), "dtzpt", (f"line IN (SELECT line FROM dtzpt WHERE {name})",), distinct=True)
    return said(SAME_LINE[language == "en"], "", rng, language), new, "同一条线的站", "the stations of the same line"


MAKERS = (
    (2.5, other_end), (3, fewer_rows), (1, one_further), (2.5, how_many), (6, other_condition), (1, dropped), (3.5, more_condition),
    (2.5, more_column), (2, other_order), (2.5, extreme), (1, around), (1.5, first_of_groups), (1.5, by_group),
)  # fmt: skip
