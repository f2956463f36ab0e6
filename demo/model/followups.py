# ruff: noqa: E501 (lists of phrasings are read across)
"""Questions that need the one before: one thing changed, a pronoun, the answer narrowed, counted, reversed or broken down.

Each maker takes a drawn question and gives the next one, or None where the first does not lend itself to it.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from random import Random

from demo.model import dates
from demo.model.answer_edits import (
    broken_down,
    counted,
    first_few,
    narrowed,
    nth,
    reversed_order,
    whole_ranking_reversed,
    with_fact,
)
from demo.model.attributes import LINE, STATION
from demo.model.drawing import Drawn, catalogue, draw, needed, pick, plain, stated, typed
from demo.model.following import derived, said, titled
from demo.model.followup_phrases import (
    AGAINST,
    AND_NOW,
    LEVEL_WORDS,
    LEVELS,
    NEXT_FACT,
    NUMBER,
    ONLY,
    PRONOUNS,
    THAT,
)
from demo.model.grammar import Intent, Slot, expand
from demo.model.slots import BOUNDS, MAKERS, district_slot, line_slot, station

ENTITY = re.compile(r"SELECT (?:DISTINCT )?(?:d\.)?(station|name|line|district) FROM .+ LIMIT 1")
KIND_OF = {"station": "S", "name": "S", "line": "L", "district": "D"}
STATIONS = ("S", "SC", "SE")
# What a slot may be changed to, by its name, where it is not a maker of its own kind.
PERIODS = ("W", "V", "VF", "R")
CHANGED = (*STATIONS, "L", "D", *PERIODS, "J", "M", "N", "P", "G", "O", "K", "KM", "NS", "X", "TO")
# Riders of a place in a time, in several shapes: what the next question says, and the intent whose words restate it.
SHAPES = {
    "sum": ("riders of a place in a time", "[总共呢|一共多少|加起来呢|合计多少|总数呢|总共多少人|一共有多少]", "[in total|and in total|the total|what is the total|altogether]"),
    "daily": ("day by day", "[按天看|每天呢|每天多少|按天列出来|逐日的呢|分天看|每天的呢|按日期列|细分到每天|每天的走势]", "[day by day|by day|per day please|for each day|show each day|broken down by day|split by day]"),
    "average": ("daily average of a station", "[日均呢|平均每天多少|日均多少|平均呢|每天平均多少|平均下来一天多少]", "[the daily average|and the daily average|on average per day|what is the daily average|average per day]"),
    "most": ("busiest day of a place", "[哪天最多|最多的一天呢|哪一天最多|最高的是哪天|哪天最忙|峰值在哪天]", "[which day was the highest|the busiest day|on which day the most|which day had the most|and the peak day]"),
    "fewest": ("quietest day of a place", "[哪天最少|最少的一天呢|哪一天最少|最低的是哪天]", "[which day was the lowest|the quietest day|which day had the fewest]"),
    "both": ("entries and exits, both", "[进站和出站分开呢|进出站各多少|分开看进站和出站|进站出站分别多少|分进站和出站]", "[entries and exits separately|split into entries and exits|how many entries and how many exits]"),
}  # fmt: skip
FIRST_OF_SHAPES = {
    "riders of a place in a time",
    "riders of a place, all days",
    "the last days of a place, day by day",
    "the last days of a place, added",
    "day by day",
    "busiest day of a place",
    "entries and exits, both",
}

Maker = Callable[[Drawn, Random, str], Drawn | None]


def swapped(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """Another station, line, district, period, measure or number in the same question."""
    intent, slots = first.intent, first.slots
    names = [name for name in slots if name in CHANGED]
    twos = {name.rstrip("0123456789") for name in slots if name[-1:].isdigit()}
    names = [name for name in names if name not in twos and not (name == "N" and "LIMIT {N}" not in (intent.sql or ""))]
    if not names or BOUNDS & {*slots} or "END" in slots or intent.sql is None:
        return None
    name = rng.choice(names)
    old = slots[name].sql
    for _ in range(20):
        if name in ("W", "V", "VF"):
            new = dates.when_slot(rng, language, empty=0, recent=name != "VF")
        else:
            new = MAKERS[name](rng, language)
        if new.text and new.sql.get("is", new.sql.get("v")) != old.get("is", old.get("v")):
            break
    else:
        return None
    templates = NUMBER if name == "N" else ONLY if name in (*PERIODS, "M") and rng.random() < 0.2 else AND_NOW
    return stated(intent, {**slots, name: new}, rng, language, said(templates[language], new.text, rng, language))


@lru_cache(maxsize=8)
def about(kind: str) -> tuple[Intent, ...]:
    """Intents about one station, line or district, which a pronoun can stand for."""
    chosen = []
    for intent in catalogue():
        names = {*needed(intent, "", "zh")} if intent.sql else set()
        if (
            kind in names
            and names <= {kind, "M", "W", "V", "VF", "R", "N", "A", "AL", "J"}
            and "DISTINCT name, name_en" not in (intent.sql or "")
        ):
            chosen.append(intent)
    return tuple(chosen)


def referring(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """它在哪个区: another question about the station, line or district of the first, or of its answer."""
    english = language == "en"
    found = ENTITY.fullmatch(first.bare or "")
    if found and "OFFSET" not in (first.bare or ""):
        kind, nested = KIND_OF[found[1]], f"({first.bare})"
        column = {"S": "name", "L": "line", "D": "district"}[kind]
        entity = Slot(
            "",
            THAT[kind][english],
            {"v": nested, "is": f"{column} = {nested}", "at": f"station = {nested}", "col": column},
        )
    else:
        here = [name for name in first.slots if name in ("S", "L", "D")]
        if not here or any(name[-1:].isdigit() for name in first.slots) or len(here) > 1:
            return None
        kind, entity = here[0], first.slots[here[0]]
    intent = rng.choices(about(kind), [one.weight for one in about(kind)])[0]
    template = rng.choice(intent.phrasings[language])
    if template.lstrip("=").replace("{" + kind + "}", "").strip(" []|呢'") == "":
        return None
    text = rng.choice(PRONOUNS[kind][language])
    names = [name for name in needed(intent, template, language) if name != kind]
    if any(name not in MAKERS for name in names):
        return None
    slots = {name: MAKERS[name](rng, language) for name in names}
    slots[kind] = Slot(text, entity.name, entity.sql)
    question = typed(template, slots, rng, language)
    if english:
        question = re.sub(
            r"\b([Ii])t's ([a-z]+ )?(district|line|lines|opening|length|colour|color|name|average|terminal|transfer)",
            r"\1ts \2\3",
            question,
        )
    question = question.lstrip("的，, ")
    return stated(intent, slots, rng, language, question) if len(question) > 3 else None


def other_fact(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """开通日期呢: another fact about the same station or line."""
    here = [name for name in first.slots if name in ("S", "L")]
    if len(here) != 1 or any(name[-1:].isdigit() for name in first.slots):
        return None
    facts, table = (STATION, "dtzpt") if here[0] == "S" else (LINE, "lines")
    column = rng.choice(list(facts))
    noun, _, name = facts[column][language == "en"]
    slot = first.slots[here[0]]
    bare = f"SELECT {'DISTINCT ' if here[0] == 'S' else ''}{column} FROM {table} WHERE {slot.sql['is']}"
    question = said(NEXT_FACT[language], expand(noun, rng).removeprefix("the "), rng, language)
    restated = f"{slot.name}的{name}" if language == "zh" else f"{name} of {slot.name}"
    return Drawn(first.intent, {here[0]: slot}, question, restated, bare)


def compared(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """和武林广场比呢: the figure of another station or line beside the first one's."""
    slots = first.slots
    if first.intent.title == "daily average of a station" or (
        "P" in slots and slots["P"].sql["is"].startswith("station = ") and "M" in slots
    ):
        own = slots["S"].sql["v"] if "S" in slots else slots["P"].sql["is"].removeprefix("station = ")
        other = station(rng, language)
        if other.sql["col"] != "name" or not own.startswith("'"):
            return None
        period = next((slots[name].sql["is"] for name in (*PERIODS, "J") if name in slots), "")
        figure = f"{'AVG' if 'S' in slots else 'SUM'}({slots['M'].sql['v']})"
        bare = f"SELECT station, {figure} FROM riders WHERE station IN ({own}, {other.sql['v']}){' AND ' + period if period else ''} GROUP BY station ORDER BY {figure} DESC"
    elif "L" in slots and (
        found := re.fullmatch(
            r"SELECT (length_km|stations|opened|color) FROM lines WHERE line = ('\d+号线')", first.bare or ""
        )
    ):
        other = line_slot(rng, language)
        bare = f"SELECT line, {found[1]} FROM lines WHERE line IN ({found[2]}, {other.sql['v']})"
    elif "D" in slots and (
        found := re.fullmatch(r"SELECT COUNT\(DISTINCT name\) FROM dtzpt WHERE district = ('[^']+')", first.bare or "")
    ):
        other = district_slot(rng, language)
        bare = f"SELECT district, COUNT(DISTINCT name) FROM dtzpt WHERE district IN ({found[1]}, {other.sql['v']}) GROUP BY district"
    else:
        return None
    return derived(
        first,
        said(AGAINST[language], other.text, rng, language),
        bare,
        f"，和{other.name}对比",
        f", compared with {other.name}",
        language,
    )


def reshaped(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """按天看, 日均呢, 哪天最多: the same riders in another shape."""
    slots = first.slots
    if first.intent.title not in FIRST_OF_SHAPES or "P" not in slots:
        return None
    measure = slots.get("M") or Slot(
        "", "客流（进站加出站）" if language == "zh" else "ridership (entries plus exits)", {"v": "entries + exits"}
    )
    shape = rng.choice(list(SHAPES))
    title, zh, en = SHAPES[shape]
    conditions = [slots["P"].sql["is"], next((slots[name].sql["is"] for name in PERIODS if name in slots), "")]
    where = " AND ".join(condition for condition in conditions if condition)
    source = f"FROM riders{' WHERE ' + where if where else ''}"
    total = f"SUM({measure.sql['v']})"
    one = slots["P"].sql["is"].startswith("station = ")
    bare = {
        "sum": f"SELECT {total} {source}",
        "daily": f"SELECT day, {total} {source} GROUP BY day ORDER BY day",
        "average": f"SELECT AVG({measure.sql['v']}) {source}"
        if one
        else f"SELECT {total} * 1.0 / COUNT(DISTINCT day) {source}",
        "most": f"SELECT day {source} GROUP BY day ORDER BY {total} DESC LIMIT 1",
        "fewest": f"SELECT day {source} GROUP BY day ORDER BY {total} LIMIT 1",
        "both": f"SELECT SUM(entries), SUM(exits) {source}",
    }[shape]
    if bare == first.bare:
        return None
    period = next((slots[name] for name in PERIODS if name in slots), Slot("", "", {"is": ""}))
    restating = {"P": slots["P"], "S": slots["P"], "M": measure, "W": period, "V": period, "VF": period, "R": period}
    question = said(zh if language == "zh" else en, "", rng, language)
    restated = plain(titled()[title].restated[language], restating, rng)
    return Drawn(first.intent, slots, question, restated, bare)


def other_level(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """按线路呢, 哪个区呢: the same ranking of lines, districts or stations."""
    for row in LEVELS:
        if first.intent.title in row:
            others = [level for level, title in enumerate(row) if title and title != first.intent.title]
            level = rng.choice(others)
            question = said(LEVEL_WORDS[level][language == "en"], "", rng, language)
            return stated(titled()[row[level]], first.slots, rng, language, question)
    return None


def other_city(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """那上海呢: the same about what the database does not have."""
    city = MAKERS["CITY"](rng, language)
    intent = titled()["other cities"]
    return stated(intent, {"CITY": city}, rng, language, said(AND_NOW[language], city.text, rng, language))


MAKERS_OF_NEXT: tuple[tuple[float, Maker], ...] = (
    (9, swapped), (2.5, reversed_order), (2.5, first_few), (2, counted), (2.5, narrowed), (5, referring), (2, other_fact), (1.5, compared),
    (3, reshaped), (1.2, other_level), (0.8, other_city), (1, nth), (1, whole_ranking_reversed), (1.2, with_fact), (1.5, broken_down),
)  # fmt: skip
# The kinds of first question that some makers need and that are rare by themselves.
NEEDS: dict[Maker, tuple[str, ...]] = {
    nth: (
        "longest line",
        "shortest line",
        "busiest station of all",
        "busiest line",
        "busiest district",
        "district with most stations",
        "line with most stations",
        "busiest day of a place",
        "quietest station of all",
    ),
    whole_ranking_reversed: (
        "lines in order of riders",
        "districts in order of riders",
        "districts in order of their stations",
        "lines in order of length",
        "lines in order of stations",
        "stations by district",
        "stations of a group in order of riders",
    ),
    with_fact: (
        "stations by conditions",
        "stations of a line in order",
        "stations of a line in a district",
        "stations opened in time",
        "transfer stations of a line",
        "all lines",
    ),
    broken_down: (
        "riders of a place in a time",
        "the last days of a place, added",
        "all stations, every interchange once",
        "how many transfer stations",
        "stations opened in time",
        "how many stations opened in time",
    ),
    reshaped: tuple(sorted(FIRST_OF_SHAPES)),
    other_level: tuple(title for row in LEVELS for title in row if title),
    compared: (
        "riders of a place in a time",
        "the last days of a place, added",
        "daily average of a station",
        "a line: length",
        "a line: opening",
    ),
    reversed_order: (
        "longest line",
        "shortest line",
        "busiest station of all",
        "busiest line",
        "busiest district",
        "top stations of all with the figure",
        "district with most stations",
        "line with most stations",
        "busiest day of a place",
    ),
    first_few: (
        "lines in order of riders",
        "districts in order of riders",
        "busiest station of all",
        "longest line",
        "lines in order of length",
        "top stations with the figure",
        "top stations of all with the figure",
        "districts in order of their stations",
        "busiest line",
    ),
    counted: (
        "stations by conditions",
        "stations of a line in order",
        "lines of a district",
        "how many stations",
        "how many stations of a line or district, with another condition",
        "stations of a line in a district",
    ),
    narrowed: (
        "stations by conditions",
        "stations of a line in order",
        "how many stations",
        "number of stations of a line",
        "stations opened in time",
    ),
}


def follow_up(rng: Random, language: str) -> tuple[Drawn, Drawn]:
    """A question and one that follows it."""
    while True:
        maker = rng.choices([maker for _, maker in MAKERS_OF_NEXT], [weight for weight, _ in MAKERS_OF_NEXT])[0]
        titles = NEEDS.get(maker, ())
        intent = titled()[rng.choice(titles)] if titles and rng.random() < 0.7 else pick(rng)
        first = draw(rng, language, intent)
        # At times the first question follows one itself, and is as short.
        if rng.random() < 0.3 and (again := swapped(first, rng, language)) is not None:
            first = again
        following = maker(first, rng, language)
        if following is not None and following.question != first.question and following.sql != first.sql:
            return first, following
