# ruff: noqa: E501 (lists of phrasings are read across)
"""What is asked of the riders' table: where, and which of the counts."""

from random import Random

from demo.model.grammar import Slot, expand
from demo.model.names import chinese_station, district_slot, english_station, line_slot
from demo.model.phrases import filter_slot

MEASURES = [  # (weight, Chinese, English, plain Chinese, plain English, SQL)
    (5, "客流|客流|客流|客流量|客流量|客流量|总客流|人流量|人流|乘客数|乘客量|客运量|乘客人数|人次|进出站人次|进出站客流|进出站人数|进出站总人次|旅客量|人数",
     "ridership|ridership|ridership|passengers|riders|passenger volume|passenger traffic|traffic|passenger flow|passenger count|number of passengers|number of riders|entries plus exits|entries and exits combined",
     "客流（进站加出站）", "ridership (entries plus exits)", "entries + exits"),
    (2, "进站人次|进站人数|进站量|进站客流|进站客流量|进站的人|入站人次|进站乘客数|进站数", "entries|entries|number of entries|people entering|entry count|passengers entering|inbound passengers",
     "进站人次", "entries", "entries"),
    (2, "出站人次|出站人数|出站量|出站客流|出站客流量|出站的人|出站乘客数|出站数", "exits|exits|number of exits|people exiting|exit count|passengers leaving|passengers exiting",
     "出站人次", "exits", "exits"),
]  # fmt: skip


VERBS = {  # what people do there: Chinese verb, Chinese "how many people", English past, English infinitive
    "entries + exits": ("[进出站|进出|乘坐地铁|坐地铁|乘车|进站出站|乘地铁]", "[多少人|多少人次|多少乘客|多少人进出站|多少人坐地铁|多少人进出|多少客流|多少人流]", "[used|passed through|travelled through|went through|used|visited]", "[use|pass through|travel through]"),
    "entries": ("[进站|进站|进站|入站|进]", "[多少人进站|多少人进站|多少人次进站|多少乘客进站|多少进站人次|进站多少人|多少人进]", "[entered|entered|entered at|went in at|got on at]", "[enter|enter]"),
    "exits": ("[出站|出站|出站|出]", "[多少人出站|多少人出站|多少人次出站|多少乘客出站|多少出站人次|出站多少人|多少人出]", "[exited|exited|exited at|left|got off at|exited from]", "[exit|leave|exit]"),
}  # fmt: skip


def measure_slot(rng: Random, language: str) -> Slot:
    """Riders, entries or exits."""
    _, zh, en, plain_zh, plain_en, sql = rng.choices(MEASURES, [row[0] for row in MEASURES])[0]
    verb, people, past, infinitive = VERBS[sql]
    chinese = language == "zh"
    forms = {"verb": verb if chinese else past, "people": people, "do": infinitive}
    return Slot(rng.choice((zh if chinese else en).split("|")), plain_zh if chinese else plain_en, {"v": sql}, forms)


def inside(slot: Slot) -> dict[str, str]:
    """The condition on riders for stations that meet the slot's condition on dtzpt."""
    return {"is": f"station IN (SELECT name FROM dtzpt WHERE {slot.sql['is']})"}


def whole_slot(rng: Random, language: str) -> Slot:
    """The network as a whole: no condition."""
    zh = "[全网|整个地铁|全部车站|所有站|所有站点|杭州地铁|全线网|地铁全网|整个线网|全市地铁|地铁|全部站点|所有车站|杭州地铁全网]"
    en = "[the whole network|the whole metro|all stations|the entire network|the metro|the metro system|Hangzhou metro|the entire system]"
    return Slot(
        expand(zh if language == "zh" else en, rng), "全网" if language == "zh" else "the whole network", {"is": ""}
    )


def group_slot(rng: Random, language: str, whole: float = 0.45) -> Slot:
    """Several stations: a line's, a district's, those of a noun phrase, or with the given probability all."""
    kind = rng.random()
    if kind < whole:
        return whole_slot(rng, language)
    if kind < whole + (1 - whole) * 0.4:
        slot = line_slot(rng, language)
    elif kind < whole + (1 - whole) * 0.8:
        slot = district_slot(rng, language)
    else:
        slot = filter_slot(rng, language)
        return Slot(slot.text, slot.name, inside(slot))
    return Slot(slot.text, slot.name, inside(slot))


def place_slot(rng: Random, language: str) -> Slot:
    """A station, or several, or all."""
    kind = rng.random()
    if kind < 0.5:
        slot = chinese_station(rng) if language == "zh" else english_station(rng, rng.random() < 0.5)
        return Slot(slot.text, slot.name, {"is": slot.sql["at"]})
    return group_slot(rng, language, whole=0.3)


def part_slot(rng: Random, language: str) -> Slot:
    """A station, a line or a district: a part of the network, never all of it."""
    if rng.random() < 0.4:
        slot = chinese_station(rng) if language == "zh" else english_station(rng, rng.random() < 0.5)
        return Slot(slot.text, slot.name, {"is": slot.sql["at"]})
    slot = (line_slot if rng.random() < 0.5 else district_slot)(rng, language)
    return Slot(slot.text, slot.name, inside(slot))
