# ruff: noqa: E501 (lists of phrasings are read across)
"""Questions that need the one before: one thing changed, a pronoun, the answer narrowed, counted, reversed or broken down.

Each maker takes a drawn question and gives the next one, or None where the first does not lend itself to it.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from random import Random

from demo.model import dates
from demo.model.attributes import LINE, STATION
from demo.model.counting import number_slot
from demo.model.drawing import Drawn, catalogue, draw, needed, pick, plain, stated, typed
from demo.model.figures import RANKED
from demo.model.grammar import Intent, Slot, expand
from demo.model.slots import BOUNDS, MAKERS, district_slot, line_slot, predicate_slot, station

AND_NOW = {
    "zh": "[那{X}呢|那{X}呢|那{X}呢|那么{X}呢|{X}呢|{X}呢|{X}呢|换成{X}呢|换成{X}|改成{X}|如果是{X}呢|要是{X}呢|{X}的呢|{X}的话呢|再看看{X}|再看{X}|看看{X}|那{X}|{X}怎么样|同样的问题，{X}|{X}又如何|还有{X}呢|也看一下{X}|那换成{X}呢|{X}]",
    "en": "[and {X}|what about {X}|how about {X}|and for {X}|{X}|same for {X}|now {X}|what about {X} then|and what about {X}|switch to {X}|the same for {X}|what if it is {X}|then {X}|ok, {X}|and {X} please|do it for {X}]",
}
ONLY = {
    "zh": "[只看{X}|只要{X}|只看{X}的|就看{X}|{X}的|限定{X}]",
    "en": "[only {X}|just {X}|{X} only|only for {X}|limit it to {X}]",
}
NUMBER = {
    "zh": "[只要前{X}[个|名|]|只看前{X}[个|名|]|前{X}[个|名]呢|那前{X}呢|给我前{X}[个|名]|改成前{X}[个|名]|取前{X}[个|名]|{X}个呢|只显示前{X}|前{X}名|前{X}就行|只要{X}个|看前{X}[个|名]|列前{X}个]",
    "en": "[only the top {X}|just the top {X}|top {X} only|the top {X}|and the top {X}|only the first {X}|just the first {X}|make it {X}|show me the top {X}|give me the top {X}|what about the top {X}|limit it to {X}]",
}
FEWER = {
    "length_km": ("最短的|短的", "最长的|长的", "the shortest", "the longest"),
    "opened": ("最早的|早的", "最晚的|最新的|新的", "the earliest", "the latest"),
}
MEASURED = (
    "最少的|最小的|最低的|少的|最冷清的|垫底的",
    "最多的|最大的|最高的|多的|最忙的",
    "the fewest|the lowest|the least|the quietest",
    "the most|the highest|the largest|the busiest",
)
REVERSED = {
    "zh": "[反过来呢|反过来|倒过来排|倒过来呢|倒序呢|反着排|倒着排一下|换个方向排]",
    "en": "[the other way round|in reverse|reverse the order|and the other way around|in reverse order|reversed]",
}
HOW_MANY = {
    "zh": "[有多少个|一共几个|一共有多少个|总共几个|多少个|几个|那有几个|数一下|一共多少|共有几个|数量呢|有几个呢]",
    "en": "[how many|how many are there|how many are they|count them|how many is that|and how many|what is the count]",
}
WHICH_ONES = {
    "zh": "[是哪些|分别是哪些|有哪些|列出来|具体是哪些|都是哪些|哪几个|叫什么|列一下|具体有哪些|名单呢|是哪几个]",
    "en": "[which ones|list them|which are they|name them|which|show them|what are they|which ones are they]",
}
OF_THEM = {
    "zh": "[其中{X}的[呢|有哪些|是哪些]|只要{X}的|里面{X}的有哪些|其中哪些{X}|有哪些是{X}的|这里面{X}的|只看{X}的|{X}的有哪些|其中{X}的]",
    "en": "[which of them {X}|which ones {X}|only those that {X}|which of these {X}|those that {X}|of those, which {X}]",
}
OF_THEM_COUNTED = {
    "zh": "[其中{X}的有[几个|多少个|多少]|里面有几个{X}|有几个是{X}的|其中有多少{X}|{X}的有几个]",
    "en": "[how many of them {X}|how many of those {X}|how many {X}|of those, how many {X}]",
}
AGAINST = {
    "zh": "[和{X}比呢|跟{X}比呢|与{X}对比|和{X}比一下|对比一下{X}|跟{X}比怎么样|和{X}相比呢|加上{X}对比]",
    "en": "[compared to {X}|compare it with {X}|and compared with {X}|versus {X}|how does it compare to {X}|compare with {X}]",
}
NEXT_FACT = {
    "zh": "[{X}呢|那{X}呢|它的{X}呢|它的{X}|{X}是什么|还有{X}呢|再查一下{X}|{X}]",
    "en": "[and the {X}|what about the {X}|its {X}|and its {X}|how about its {X}|the {X}|what is its {X}]",
}
PRONOUNS = {
    "S": {
        "zh": ["它", "它", "它", "这个站", "该站", "这站", "那个站", "这一站", ""],
        "en": ["it", "it", "that station", "this station"],
    },
    "L": {"zh": ["它", "它", "这条线", "该线", "这条线路", "那条线", ""], "en": ["it", "it", "that line", "this line"]},
    "D": {"zh": ["这个区", "该区", "那个区", "这个区", "那里"], "en": ["that district", "this district"]},
}
THAT = {"S": ("该站", "that station"), "L": ("该线路", "that line"), "D": ("该区", "that district")}
ENTITY = re.compile(r"SELECT (?:DISTINCT )?(?:d\.)?(station|name|line|district) FROM .+ LIMIT 1")
KIND_OF = {"station": "S", "name": "S", "line": "L", "district": "D"}
LIST = re.compile(
    r"SELECT (?:DISTINCT )?(name|line|district) FROM (dtzpt|lines) WHERE ((?:(?!GROUP BY|LIMIT|ORDER BY).)+?)(?: ORDER BY seq)?"
)
COUNT = re.compile(
    r"SELECT COUNT\((?:DISTINCT (name|line|district)|\*)\) FROM (dtzpt|lines) WHERE ((?:(?!GROUP BY|LIMIT|ORDER BY).)+)"
)
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
LEVELS = (
    ("busiest station of all", "busiest line", "busiest district"),
    ("quietest station of all", "quietest line", "quietest district"),
    ("", "lines in order of riders", "districts in order of riders"),
)  # fmt: skip
LEVEL_WORDS = (
    ("[哪个站呢|站呢|那哪个站|换成站呢|按站呢]", "[which station|and which station|by station]"),
    ("[哪条线呢|线路呢|那哪条线|按线路呢|换成线路|那线路呢|按线路看]", "[which line|and which line|by line|what about lines]"),
    ("[哪个区呢|区呢|那哪个区|按区呢|换成行政区|那行政区呢|按区看]", "[which district|and which district|by district|what about districts]"),
)  # fmt: skip

Maker = Callable[[Drawn, Random, str], Drawn | None]


@lru_cache(maxsize=1)
def titled() -> dict[str, Intent]:
    """The intents by title, the first of each."""
    found: dict[str, Intent] = {}
    for intent in catalogue():
        found.setdefault(intent.title, intent)
    return found


def said(template: str, text: str, rng: Random, language: str) -> str:
    """A short question around `text`, as typed."""
    text = (
        text
        if language == "zh"
        else re.sub(r"^(?:on|in|for|during|over) (?=[A-Z0-9])", "", text)
        if rng.random() < 0.5
        else text
    )
    return typed(template, {"X": Slot(text, text, {"v": ""})}, rng, language)


def derived(first: Drawn, question: str, bare: str, zh: str, en: str, language: str) -> Drawn:
    """The next question, whose statement is a change of the first one's; zh and en tell the change."""
    restated = first.restated + (zh if language == "zh" else en)
    return Drawn(Intent(first.intent.title, restated=first.intent.restated), {}, question, restated, bare)


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
    (3, reshaped), (1.2, other_level), (0.8, other_city),
)  # fmt: skip
# The kinds of first question that some makers need and that are rare by themselves.
NEEDS: dict[Maker, tuple[str, ...]] = {
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
