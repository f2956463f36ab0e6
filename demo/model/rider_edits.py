# ruff: noqa: E501 (lists of phrasings are read across)
"""One thing changed in a statement about riders: the place, the time, what is counted, the detail, the order.

A maker gives (what is typed, the new statement, the change in Chinese, in English), or None where it does not fit.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from random import Random

from demo.model import dates
from demo.model.counting import count_slot
from demo.model.following import said
from demo.model.followup_phrases import AND_NOW, ONLY
from demo.model.grammar import expand
from demo.model.names import district_slot, line_slot
from demo.model.rider_edit_phrases import (
    ABOVE,
    BELOW,
    BOTH_MORE,
    DAY_BEFORE,
    DETAIL,
    EVERYWHERE,
    NEXT_DAY,
    THEIR_FACTS,
    WHENEVER,
)
from demo.model.riders import inside, measure_slot
from demo.model.slots import station
from demo.model.statement import DISTRICT_JOIN, LINE_JOIN, Statement

Edit = tuple[str, Statement, str, str]
WEEKEND, WORKDAYS = "strftime('%w', day) IN ('0', '6')", "strftime('%w', day) IN ('1', '2', '3', '4', '5')"
KINDS_OF_DAY = "CASE WHEN " + WEEKEND + " THEN '周末' ELSE '工作日' END"


def figure(statement: Statement) -> str:
    """How the rows' figure is made: SUM(…), AVG(…) or the daily average of several stations."""
    text = " ".join([*statement.columns, statement.order])
    found = re.search(r"(?:SUM|AVG)\((?:entries \+ exits|entries|exits)\)(?: \* 1\.0 / COUNT\(DISTINCT day\))?", text)
    return found[0] if found else f"SUM({statement.measure or 'entries + exits'})"


def of_one_station(statement: Statement) -> bool:
    return statement.has("station = ", "station IN (SELECT name FROM dtzpt WHERE name_en = ")


def is_group(statement: Statement) -> bool:
    return statement.has_riders and statement.is_plain and bool(statement.measure)


def other_place(statement: Statement, rng: Random, language: str) -> Edit | None:
    """武林广场呢, 那2号线呢, 全网呢."""
    if not statement.has_riders or not statement.is_plain or statement.source != "riders":
        return None
    had = statement.has("station = ", "station IN (SELECT")
    if not had and ("station" in statement.columns[0] or statement.has("station IN ('")) and rng.random() < 0.3:
        return None
    rest = statement.without("station = ", "station IN (SELECT")
    if rest.where != statement.where and rng.random() < 0.08:
        return said(EVERYWHERE[language == "en"], "", rng, language), rest, "不限站点", "for all stations"
    of_stations = "station" in statement.columns[0]
    kind = rng.choices(["S", "L", "D"], [0 if of_stations else 3, 1, 1])[0]
    slot = {"S": station, "L": lambda r, w: line_slot(r, w), "D": district_slot}[kind](rng, language)
    condition = slot.sql["at"] if kind == "S" else inside(slot)["is"]
    words = AND_NOW if had or rng.random() < 0.5 else ONLY
    text = said(words[language], slot.text, rng, language)
    if not had and rng.random() < 0.4:
        text = said(
            "[只看{X}的|只统计{X}的站|限{X}|{X}的呢|在{X}呢]" if language == "zh" else "[only {X}|just {X}|restricted to {X}|within {X}|only stations of {X}]",
            slot.text, rng, language,
        )  # fmt: skip
    return text, replace(rest, where=(condition, *rest.where)), f"换成{slot.name}", f"for {slot.name}"


def other_time(statement: Statement, rng: Random, language: str) -> Edit | None:
    """4月呢, 那周末呢, 最近7天的, 不限时间."""
    if not statement.has_riders or not statement.is_plain or "CASE" in statement.columns[0]:
        return None
    conditions = [one for one in statement.where if one.startswith(("day ", "strftime("))]
    if conditions and rng.random() < 0.08 and not statement.columns[0].startswith("station, entries"):
        return (
            said(WHENEVER[language == "en"], "", rng, language),
            statement.without("day ", "strftime("),
            "不限时间",
            "over all days",
        )
    if (one := next((text for text in conditions if text.startswith("day = ")), None)) and rng.random() < 0.15:
        later = rng.random() < 0.4
        moved = date.fromisoformat(one[7:-1]) + timedelta(1 if later else -1)
        words = NEXT_DAY if later else DAY_BEFORE
        new = replace(statement, where=tuple(f"day = '{moved}'" if text == one else text for text in statement.where))
        return said(words[language == "en"], "", rng, language), new, f"时间换成{moved}", f"on {moved}"
    slot = dates.when_slot(rng, language, empty=0)
    if rng.random() < 0.15:
        slot = dates.weekday_slot(rng, language)
    new = slot.sql["is"]
    one_day = any(one.startswith("day = ") for one in conditions)
    if new.startswith("strftime(") and not one_day:
        # Weekends of the same span: the span stays.
        kept = statement.without("strftime(")
    elif not new.startswith("strftime(") and " AND strftime" not in new and not new.startswith("day = "):
        # Another span, the same days of the week.
        kept = statement.without("day ")
    else:
        kept = statement.without("day ", "strftime(")
    text = said((ONLY if rng.random() < 0.2 else AND_NOW)[language], slot.text, rng, language)
    if new.startswith("strftime(") and rng.random() < 0.5:
        names = slot.text
        text = said(
            "[那{X}呢|{X}呢|只看{X}|只算{X}|{X}的呢|如果是{X}呢|{X}的话]" if language == "zh" else "[{X} only|only {X}|what about {X}|and {X}|just {X}]",
            names, rng, language,
        )  # fmt: skip
    day = [one for one in kept.where if one.startswith("day ")]
    rest = [one for one in kept.where if not one.startswith("day ") and not one.startswith("strftime(")]
    weekdays = [one for one in kept.where if one.startswith("strftime(")]
    ordered = [*rest, *day, new] if new.startswith("strftime(") else [*rest, new, *weekdays]
    where = tuple(dict.fromkeys(ordered))
    return text, replace(kept, where=where), f"时间换成{slot.name}", slot.name


def other_measure(statement: Statement, rng: Random, language: str) -> Edit | None:
    """and exits?, 进站呢, 再加上出站."""
    if not statement.has_riders or not statement.is_plain:
        return None
    old = statement.measure
    if old is None:
        if statement.columns != ("SUM(entries)", "SUM(exits)"):
            return None
        slot = measure_slot(rng, language)
        text = said(ONLY[language], slot.text, rng, language)
        return text, replace(statement, columns=(f"SUM({slot.sql['v']})",)), f"只看{slot.name}", f"{slot.name} only"
    slot = measure_slot(rng, language)
    if slot.sql["v"] == old:
        return None
    short = rng.random() < 0.6
    words = {
        "entries": ("[进站|进站|进站的|进站人数|进站量|进]", "[entries|entries|the entries|people entering]"),
        "exits": ("[出站|出站|出站的|出站人数|出站量|出]", "[exits|exits|the exits|people leaving]"),
        "entries + exits": ("[进出站|进出站合计|进站加出站|总客流|客流]", "[both together|total ridership|entries plus exits|all riders]"),
    }[slot.sql["v"]]  # fmt: skip
    word = expand(words[language == "en"], rng) if short else slot.text
    sums = [one for one in statement.columns if re.fullmatch(r"(?:SUM|AVG)\((?:entries|exits)\)", one)]
    if sums and slot.sql["v"] != "entries + exits" and rng.random() < 0.25 and len(statement.columns) <= 2:
        more = replace(
            statement, columns=(*statement.columns, sums[0].replace(f"({old})", f"({slot.sql['v']})")), having=""
        )
        return said(BOTH_MORE[language], word, rng, language), more, f"再加上{slot.name}", f"with {slot.name} too"
    words_of = AND_NOW if rng.random() < 0.7 else ONLY
    return (
        said(words_of[language], word, rng, language),
        statement.with_measure(slot.sql["v"]),
        f"换成{slot.name}",
        f"{slot.name} instead",
    )


def other_detail(statement: Statement, rng: Random, language: str) -> Edit | None:
    """按天看, 日均呢, 哪天最多, 按线路: the same riders in other rows."""
    if (
        not is_group(statement)
        or statement.having
        or statement.offset
        or statement.has("entries ", "exits ")
        or "CASE" in statement.columns[0]
    ):
        return None
    measure = statement.measure
    in_rows = statement.group in ("", "station", "day", "d.line", "d.district")
    if not in_rows or (statement.group == "" and len(statement.columns) > 1):
        return None
    if statement.group == "" and not re.match(r"(?:SUM|AVG)\(", statement.columns[0]):
        return None
    one = of_one_station(statement)
    of_groups = statement.source != "riders" and any(text.startswith("d.") for text in statement.where)
    total, where = f"SUM({measure})", statement.where
    average = f"AVG({measure})" if one else f"{total} * 1.0 / COUNT(DISTINCT day)"
    a_day = statement.has("day = ")
    choices = [
        "day",
        "sum",
        "average",
        "most",
        "fewest",
        "both",
        "kinds",
        "weekday",
        "station",
        "line",
        "district",
        "top",
        "topline",
        "topdistrict",
    ]
    weights = [6, 2, 3, 3, 1, 2, 1.2, 0.7, 1.5, 2.5, 2.5, 1.5, 0.8, 0.8]
    shape = rng.choices(choices, weights)[0]
    if (one or of_groups) and shape in ("station", "line", "district", "top", "topline", "topdistrict"):
        return None
    if of_groups or (a_day and shape in ("day", "average", "most", "fewest", "kinds", "weekday")):
        return None
    if shape in ("kinds", "weekday") and statement.has("strftime("):
        return None
    if shape in ("line", "district", "topline", "topdistrict") and statement.has("station IN"):
        return None
    zh, en, plain_zh, plain_en = DETAIL[shape]
    empty = Statement((), "riders", where)
    limit = statement.limit if statement.group in ("station", "d.line", "d.district") else ""
    falls = "" if statement.group in ("station", "d.line", "d.district") and statement.order and not statement.order.endswith("DESC") else " DESC"  # fmt: skip
    new = {
        "sum": replace(empty, columns=(total,)),
        "day": replace(empty, columns=("day", total), group="day", order="day"),
        "average": replace(empty, columns=(average,)),
        "most": replace(empty, columns=("day", total), group="day", order=f"{total} DESC", limit="1"),
        "fewest": replace(empty, columns=("day", total), group="day", order=total, limit="1"),
        "both": replace(empty, columns=("SUM(entries)", "SUM(exits)")),
        "kinds": replace(empty, columns=(KINDS_OF_DAY, f"{total} * 1.0 / COUNT(DISTINCT day)"), group="1"),
        "weekday": replace(
            empty, columns=("strftime('%w', day)", f"{total} * 1.0 / COUNT(DISTINCT day)"), group="strftime('%w', day)"
        ),
        "station": replace(
            empty, columns=("station", total), group="station", order=f"{total}{falls}", limit=limit
        ),
        "line": replace(
            empty, columns=("d.line", total), source=LINE_JOIN, group="d.line", order=f"{total}{falls}", limit=limit
        ),
        "district": replace(
            empty, columns=("d.district", total), source=DISTRICT_JOIN, group="d.district", order=f"{total}{falls}", limit=limit
        ),
    }  # fmt: skip
    by_line = Statement(("d.line", total), LINE_JOIN, where, "d.line", order=f"{total} DESC", limit="1")
    by_district = Statement(("d.district", total), DISTRICT_JOIN, where, "d.district", order=f"{total} DESC", limit="1")
    new |= {
        "top": replace(empty, columns=("station", total), group="station", order=f"{total} DESC", limit="1"),
        "topline": by_line,
        "topdistrict": by_district,
    }
    shown = new[shape]
    if statement.group in ("station", "d.line", "d.district"):
        # A ranking of stations day by day is no natural question; its daily averages keep the ranking.
        if shape in ("day", "kinds", "weekday", "both", "most", "fewest"):
            if shape != "both":
                return None
            shown = replace(statement, columns=(statement.columns[0], "SUM(entries)", "SUM(exits)"))
        if shape == "average":
            mean = f"AVG({measure})" if statement.group == "station" else f"{total} * 1.0 / COUNT(DISTINCT day)"
            old = figure(statement)
            shown = replace(
                statement,
                columns=tuple(mean if text == old else text for text in statement.columns),
                order=statement.order.replace(old, mean),
            )
    elif statement.group == "day" and shape == "both":
        shown = replace(statement, columns=("day", "SUM(entries)", "SUM(exits)"), order="day", limit="")
    if str(shown) == str(statement):
        return None
    return said(zh if language == "zh" else en, "", rng, language), shown, plain_zh, plain_en


def their_facts(statement: Statement, rng: Random, language: str) -> Edit | None:
    """它们在哪个区: a fact of each station of a ranking."""
    if statement.source != "riders" or statement.group != "station" or statement.limit in ("", "1") or statement.offset:
        return None
    column = rng.choice(list(THEIR_FACTS))
    zh, en, plain_zh, plain_en = THEIR_FACTS[column]
    named = replace(statement, columns=("station",))
    new = Statement(("name", column), "dtzpt", (f"name IN ({named})",), distinct=True)
    return said(zh if language == "zh" else en, "", rng, language), new, plain_zh, plain_en


def above(statement: Statement, rng: Random, language: str) -> Edit | None:
    """超过100万的有哪些: a bound on the rows' figure."""
    if not is_group(statement) or statement.group not in ("station", "day", "d.line", "d.district"):
        return None
    if statement.having or statement.offset:
        return None
    small = statement.group == "day" and of_one_station(statement) or statement.has("day = ")
    slot = count_slot(rng, language, *((3.3, 4.95) if small else (5, 6.5)))
    more = rng.random() < 0.75
    value = figure(statement)
    if value not in statement.columns:
        return None
    new = replace(statement, having=f"{value} {'>' if more else '<'} {slot.name}", limit="")
    return (
        said((ABOVE if more else BELOW)[language], slot.text, rng, language),
        new,
        f"只看{'超过' if more else '低于'}{slot.name}的",
        f"only those {'above' if more else 'below'} {slot.name}",
    )


def share(statement: Statement, rng: Random, language: str) -> Edit | None:
    """占全网多少: a place's part of the whole."""
    total = f"SUM({statement.measure})"
    if statement.source != "riders" or statement.group or statement.columns != (total,):
        return None
    if not statement.has("station = ", "station IN (SELECT"):
        return None
    when = statement.without("station = ", "station IN")
    new = replace(when, columns=(f"({statement}) * 100.0 / {total}",))
    words = (
        "[占全网多少|占比多少|占全网的百分之几|占总客流的比例|比例呢]",
        "[what share of the whole network is that|as a share of the network|what percentage of the total|what percent is that]",
    )
    return (
        said(words[language == "en"], "", rng, language),
        new,
        "占全网的百分比",
        "as a share of the whole, in percent",
    )


def both_changed(statement: Statement, rng: Random, language: str) -> Edit | None:
    """武林广场4月呢: another place and another time."""
    if statement.source != "riders" or not statement.is_plain or "station" in statement.columns[0]:
        return None
    place, when = other_place(statement, rng, language), dates.when_slot(rng, language, empty=0)
    if place is None or not place[1].has("station = ", "station IN") or "CASE" in statement.columns[0]:
        return None
    slot = station(rng, language) if rng.random() < 0.7 else None
    where = slot.sql["at"] if slot else None
    if slot is None:
        other = (line_slot if rng.random() < 0.5 else district_slot)(rng, language)
        slot, where = other, inside(other)["is"]
    text = f"{slot.text}{when.text}" if rng.random() < 0.5 else f"{when.text}{slot.text}"
    if language == "en":
        text = f"{slot.text} {when.text}"
    rest = statement.without("station = ", "station IN", "day ", "strftime(")
    new = replace(rest, where=(str(where), *rest.where, when.sql["is"]))
    return (
        said(AND_NOW[language], text, rng, language),
        new,
        f"换成{slot.name}，{when.name}",
        f"for {slot.name}, {when.name}",
    )


def with_average(statement: Statement, rng: Random, language: str) -> Edit | None:
    """再加上日均: the daily average beside a total."""
    value = figure(statement)
    if not is_group(statement) or not value.startswith("SUM(") or "*" in value or statement.group == "day":
        return None
    if statement.columns[-1] != value or statement.has("day = ") or statement.having:
        return None
    text = said(
        BOTH_MORE[language],
        rng.choice(["日均", "平均每天", "日均值", "日均客流"] if language == "zh" else ["the daily average", "the average per day", "daily averages"]),
        rng,
        language,
    )  # fmt: skip
    new = replace(statement, columns=(*statement.columns, f"{value} * 1.0 / COUNT(DISTINCT day)"))
    return text, new, "再加上日均", "with the daily average"


MAKERS = (
    (5, other_place),
    (6, other_time),
    (3, other_measure),
    (5, other_detail),
    (0.8, above),
    (0.7, with_average),
    (0.5, share),
    (0.8, both_changed),
    (1, their_facts),
)
