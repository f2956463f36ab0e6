# ruff: noqa: E501 (lists of phrasings are read across)
"""Questions that need the one before: one thing changed in its statement, a pronoun, another fact, what cannot be answered.

Most are edits of the running statement (rider_edits.py, row_edits.py), whatever question made it: so a third question
follows a second as well as the second followed the first. The makers here need the first question's slots.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from random import Random

from demo.model import rider_edits, row_edits
from demo.model.attributes import LINE, STATION
from demo.model.drawing import Drawn, catalogue, draw, needed, pick, stated, typed
from demo.model.following import derived, said, titled
from demo.model.followup_phrases import AGAINST, AND_NOW, NEXT_FACT, NUMBER, ONLY, PRONOUNS, THAT
from demo.model.grammar import Intent, Slot, expand
from demo.model.names import station_slot
from demo.model.slots import BOUNDS, MAKERS, district_slot, line_slot, station
from demo.model.statement import DISTRICT_JOIN, LINE_JOIN, Statement, parse

ENTITY = re.compile(
    r"SELECT (?:DISTINCT )?(?:d\.)?(station|name|line|district)(?:, [^ ]+(?: [+*/] [^ ]+)*)? FROM .+ LIMIT 1"
)
KIND_OF = {"station": "S", "name": "S", "line": "L", "district": "D"}
STATIONS = ("S", "SC", "SE")
# What a slot may be changed to, by its name, where it is not a maker of its own kind.
PERIODS = ("W", "V", "VF", "R")
CHANGED = (*STATIONS, "L", "D", *PERIODS, "J", "M", "N", "P", "G", "O", "K", "KM", "NS", "X", "TO")
# What is asked after a station or a line and cannot be answered: a title of declines.txt, its words, what is missing.
NOT_HERE = (
    ("fares", "[票价呢|要多少钱|那票价|多少钱一张票|车费多少]", "[and the fare|how much does it cost|what about ticket prices]", "票价", "fares"),
    ("timetables", "[末班车几点|首班车呢|几点关门|发车间隔多久|运营时间呢|早上几点开]", "[and the last train|what time does it close|when is the first train|how often do trains run]", "运营时间", "timetables"),
    ("facilities and surroundings", "[有厕所吗|附近有什么好玩的|有电梯吗|旁边有停车场吗|几个出口|有便利店吗]", "[is there a toilet|are there lifts|is there parking|what is there to see nearby|how many exits does the building have]", "站内设施和周边", "facilities and surroundings"),
    ("opinions, reasons and forecasts", "[为什么|为什么这么多|原因呢|怎么会这样|明年会怎样|以后会更多吗|为什么那天这么多人|预测一下下个月]", "[why|why is that|what is the reason|will it grow next year|how come|predict next month]", "原因和预测", "reasons and forecasts"),
    ("weather", "[那天天气怎么样|那天下雨了吗|天气呢]", "[what was the weather like|did it rain that day|and the weather]", "天气", "the weather"),
    ("writes", "[把它删掉|删了它|把它改成别的|改成100|把这些删掉|帮我改一下这个数]", "[delete it|remove that one|change it to 100|delete these rows|update that number]", "", ""),
    ("chit-chat", "[谢谢|好的谢谢|知道了|厉害|你真棒|再见|好的|不错]", "[thanks|thank you|ok great|nice|bye|cool|got it]", "", ""),
)  # fmt: skip

Maker = Callable[[Drawn, Random, str], Drawn | None]


def edited(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """4月呢, 按天看, 只要前三, 其中换乘站有哪些: one thing changed in the first one's statement."""
    statement = parse(first.sql) if first.sql else None
    if statement is None:
        return None
    makers = [*row_edits.MAKERS, *(rider_edits.MAKERS if statement.has_riders else ())]
    for _ in range(4):
        maker = rng.choices([one for _, one in makers], [weight for weight, _ in makers])[0]
        edit = maker(statement, rng, language)
        if edit and str(edit[1]) != first.sql and any(letter.isalnum() for letter in edit[0]):
            question, new, zh, en = edit
            return derived(first, question, str(new), zh, en, language)
    return None


def swapped(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """Another station, line, district, period, measure or number in the same question, of any form."""
    intent, slots = first.intent, first.slots
    names = [name for name in slots if name in CHANGED]
    twos = {name.rstrip("0123456789") for name in slots if name[-1:].isdigit()}
    names = [name for name in names if name not in twos and not (name == "N" and "LIMIT {N}" not in (intent.sql or ""))]
    if not names or BOUNDS & {*slots} or "END" in slots or intent.sql is None:
        return None
    name = rng.choice(names)
    old = slots[name].sql
    # A form that can be taken apart is edited there, where a span and the days of the week are kept apart.
    if name in PERIODS and parse(first.sql or "") is not None:
        return None
    for _ in range(20):
        new = MAKERS["V" if name in PERIODS else name](rng, language)
        if new.text and new.sql.get("is", new.sql.get("v")) != old.get("is", old.get("v")):
            break
    else:
        return None
    templates = NUMBER if name == "N" else ONLY if name == "M" and rng.random() < 0.2 else AND_NOW
    after = stated(intent, {**slots, name: new}, rng, language, said(templates[language], new.text, rng, language))
    restated = f"同上，换成{new.name}" if language == "zh" else f"the same, {new.name}"
    return Drawn(after.intent, after.slots, after.question, restated, after.bare)


@lru_cache(maxsize=8)
def about(kind: str) -> tuple[Intent, ...]:
    """Intents about one station, line or district, which a pronoun can stand for."""
    chosen = []
    for intent in catalogue():
        names = {*needed(intent, "", "zh")} if intent.sql else set()
        if (
            kind in names
            and names <= {kind, "M", "W", "V", "VF", "R", "N", "A", "AL", "J", *({"L": "D", "D": "L"}.get(kind, ""))}
            and "DISTINCT name, name_en" not in (intent.sql or "")
        ):
            chosen.append(intent)
    return tuple(chosen)


def entity(first: Drawn, rng: Random, language: str) -> tuple[str, Slot] | None:
    """What a pronoun stands for, with its kind (S, L, D): the one row of the answer, or what the question was about."""
    english, sql = language == "en", first.sql or ""
    found = ENTITY.fullmatch(sql)
    if found and "OFFSET" not in sql and (statement := parse(sql)):
        kind = KIND_OF[found[1]]
        alone = Statement(statement.columns[:1], *list(vars(statement).values())[1:])
        if alone.order == "2":
            return None
        nested, column = f"({alone})", {"S": "name", "L": "line", "D": "district"}[kind]
        return kind, Slot(
            "",
            THAT[kind][english],
            {"v": nested, "is": f"{column} = {nested}", "at": f"station = {nested}", "col": column},
        )
    here = [name for name in first.slots if name in ("S", "L", "D")]
    if len(here) == 1 and not any(name[-1:].isdigit() for name in first.slots):
        return here[0], first.slots[here[0]]
    if (statement := parse(sql)) is None:
        return None
    named = [
        (column, value)
        for one in statement.where
        if (match := re.fullmatch(r"(station|name|line|district) = '([^']+)'", one)) or (match := re.fullmatch(r"station IN \(SELECT name FROM dtzpt WHERE (line|district) = '([^']+)'\)", one))
        for column, value in [match.groups()]
    ]  # fmt: skip
    if len(named) != 1:
        return None
    column, value = named[0]
    kind = KIND_OF[column]
    if kind == "S":
        return kind, station_slot(value, value, "name")
    column = {"L": "line", "D": "district"}[kind]
    return kind, Slot(value, value, {"v": f"'{value}'", "is": f"{column} = '{value}'"})


def referring(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """它在哪个区: another question about the station, line or district of the first, or of its answer."""
    english = language == "en"
    found = entity(first, rng, language)
    if found is None:
        return None
    kind, meant = found
    if "n" not in meant.sql and kind == "L" and not meant.sql["v"].startswith("("):
        meant = Slot(meant.text, meant.name, {**meant.sql, "n": meant.sql["v"].strip("'")})
    intent = rng.choices(about(kind), [one.weight for one in about(kind)])[0]
    if kind == "L" and "{L.n}" in (intent.sql or ""):
        return None
    template = rng.choice(intent.phrasings[language])
    if template.lstrip("=").replace("{" + kind + "}", "").strip(" []|呢'") == "":
        return None
    text = rng.choice(PRONOUNS[kind][language])
    names = [name for name in needed(intent, template, language) if name != kind]
    if any(name not in MAKERS for name in names):
        return None
    slots = {name: MAKERS[name](rng, language) for name in names}
    slots[kind] = Slot(text, THAT[kind][english], meant.sql)
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
    found = entity(first, rng, language)
    if found is None or found[0] == "D":
        return None
    kind, slot = found
    facts, table = (STATION, "dtzpt") if kind == "S" else (LINE, "lines")
    column = rng.choice(list(facts))
    noun, _, name = facts[column][language == "en"]
    bare = f"SELECT {'DISTINCT ' if kind == 'S' else ''}{column} FROM {table} WHERE {slot.sql['is']}"
    question = said(NEXT_FACT[language], expand(noun, rng).removeprefix("the "), rng, language)
    own = THAT[kind][language == "en"]
    restated = f"{own}的{name}" if language == "zh" else f"{name} of {own}"
    return Drawn(first.intent, {kind: slot} if slot.text else {}, question, restated, bare)


def compared(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """和武林广场比呢: the figure of another station, line or district beside the first one's."""
    statement = parse(first.sql) if first.sql else None
    if statement is None or statement.group or len(statement.columns) > 1:
        return None
    figure, where = statement.columns[0], statement.where
    if statement.source == "riders" and re.match(r"(?:SUM|AVG)\(", figure) and "(SELECT" not in figure and where:
        rest = " AND ".join(["", *where[1:]])
        if found := re.fullmatch(r"station = ('[^']+')", where[0]):
            other = station(rng, language)
            if other.sql["col"] != "name":
                return None
            bare = f"SELECT station, {figure} FROM riders WHERE station IN ({found[1]}, {other.sql['v']}){rest} GROUP BY station ORDER BY {figure} DESC"
        elif found := re.fullmatch(
            r"station IN \(SELECT name FROM dtzpt WHERE (line|district) = ('[^']+')\)", where[0]
        ):
            other = (line_slot if found[1] == "line" else district_slot)(rng, language)
            join = LINE_JOIN if found[1] == "line" else DISTRICT_JOIN
            bare = f"SELECT d.{found[1]}, {figure} FROM {join} WHERE d.{found[1]} IN ({found[2]}, {other.sql['v']}){rest} GROUP BY d.{found[1]} ORDER BY {figure} DESC"
        else:
            return None
    elif statement.source == "lines" and len(where) == 1 and where[0].startswith("line = '"):
        other = line_slot(rng, language)
        bare = f"SELECT line, {figure} FROM lines WHERE line IN ({where[0][7:]}, {other.sql['v']})"
    elif figure == "COUNT(DISTINCT name)" and len(where) == 1 and where[0].startswith("district = '"):
        other = district_slot(rng, language)
        bare = f"SELECT district, COUNT(DISTINCT name) FROM dtzpt WHERE district IN ({where[0][11:]}, {other.sql['v']}) GROUP BY district"
    else:
        return None
    text = said(AGAINST[language], other.text, rng, language)
    return derived(first, text, bare, f"和{other.name}对比", f"compared with {other.name}", language)


def other_city(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """那上海呢: the same about what the database does not have."""
    city = MAKERS["CITY"](rng, language)
    intent = titled()["other cities"]
    return stated(intent, {"CITY": city}, rng, language, said(AND_NOW[language], city.text, rng, language))


def not_here(first: Drawn, rng: Random, language: str) -> Drawn | None:
    """票价呢, 为什么, 把它删掉, 谢谢: what the database cannot answer, asked after something that it could."""
    title, zh, en, plain_zh, plain_en = rng.choice(NOT_HERE)
    question = said(zh if language == "zh" else en, "", rng, language)
    return Drawn(titled()[title], {}, question, plain_zh if language == "zh" else plain_en, None)


MAKERS_OF_NEXT: tuple[tuple[float, Maker], ...] = (
    (24, edited), (2.5, swapped), (5, referring), (2.5, other_fact), (2, compared), (0.8, other_city), (1, not_here),
)  # fmt: skip
# First questions that lend themselves to a next one, and are rare by themselves.
FIRST_OF_EDITS = (
    "riders of a place in a time", "riders of a place, all days", "the last days of a place, added", "the last days of a place, day by day",
    "daily average of a station", "day by day", "busiest day of a place", "entries and exits, both",
    "busiest station of all", "quietest station of all", "top stations of all with the figure", "top stations with the figure", "bottom stations",
    "lines in order of riders", "districts in order of riders", "busiest line", "busiest district", "stations of a group in order of riders",
    "longest line", "shortest line", "lines in order of length", "lines in order of stations", "line with most stations", "all lines", "lines opened in time", "lines above a length",
    "districts in order of their stations", "district with most stations", "stations by district", "all stations, every interchange once", "how many transfer stations",
    "stations by conditions", "how many stations", "stations of a line in order", "stations of a line in a district", "stations opened in time",
    "transfer stations of a line", "lines of a district", "number of stations of a line", "weekends against working days, anywhere", "transfer stations by line", "a line: several facts",
    "a station: district", "a station: lines", "a station: opening date", "a line: length", "a line: opening", "a line: ends",
)  # fmt: skip
NEEDS: dict[Maker, tuple[str, ...]] = {
    edited: FIRST_OF_EDITS,
    compared: (
        "riders of a place in a time",
        "the last days of a place, added",
        "daily average of a station",
        "a line: length",
        "a line: opening",
        "how many stations",
    ),
    referring: FIRST_OF_EDITS,
    other_fact: FIRST_OF_EDITS,
}
EDITED_BEFORE = (0, 0, 0, 1, 1, 1, 2, 2, 3)  # how many edits the statement has seen already


def follow_up(rng: Random, language: str) -> tuple[Drawn, Drawn]:
    """A question and one that follows it; the first often follows others itself."""
    while True:
        maker = rng.choices([maker for _, maker in MAKERS_OF_NEXT], [weight for weight, _ in MAKERS_OF_NEXT])[0]
        titles = [title for title in NEEDS.get(maker, FIRST_OF_EDITS) if title in titled()]
        intent = titled()[rng.choice(titles)] if rng.random() < 0.75 else pick(rng)
        first = draw(rng, language, intent)
        for _ in range(rng.choice(EDITED_BEFORE)):
            first = edited(first, rng, language) or first
        following = maker(first, rng, language)
        if following is not None and following.question != first.question and following.sql != first.sql:
            return first, following
