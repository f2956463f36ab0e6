# ruff: noqa: E501 (lists of phrasings are read across)
"""How each slot of the question grammar is filled, by its letters."""

from collections.abc import Callable
from random import Random

from demo.model import dates, riders
from demo.model.attributes import line_facts_slot, station_facts_slot
from demo.model.counting import BOUNDS, bounds, count_slot, nth_slot, number_slot, place_in_order_slot, whole_slot
from demo.model.gibberish import gibberish_slot
from demo.model.grammar import Slot, expand
from demo.model.names import (
    chinese_station,
    decorated,
    district_slot,
    english_station,
    line_slot,
    pair_slot,
    station_slot,
    stations,
)
from demo.model.phrases import (
    district_part,
    filter_slot,
    interchange_part,
    line_part,
    spelled_part,
    year_part,
)

COLOURS = [
    "#FC0601",
    "#EE782E",
    "#FFA500",
    "#00AB4F",
    "#008FA5",
    "#2249A3",
    "#793E8C",
    "#741D51",
    "#B35A1F",
    "#D0970A",
    "#FCD600",
    "#019AC3",
]
CITIES = {
    "zh": [
        "上海",
        "北京",
        "广州",
        "深圳",
        "南京",
        "苏州",
        "成都",
        "重庆",
        "武汉",
        "西安",
        "天津",
        "宁波",
        "温州",
        "青岛",
        "长沙",
        "郑州",
        "沈阳",
        "大连",
        "无锡",
        "合肥",
        "昆明",
        "香港",
        "台北",
        "东京",
        "伦敦",
        "纽约",
        "巴黎",
        "首尔",
        "新加坡",
        "莫斯科",
        "绍兴",
        "厦门",
        "福州",
        "南昌",
        "哈尔滨",
        "佛山",
        "常州",
        "徐州",
        "嘉兴",
        "金华",
    ],
    "en": [
        "Shanghai",
        "Beijing",
        "Guangzhou",
        "Shenzhen",
        "Nanjing",
        "Suzhou",
        "Chengdu",
        "Chongqing",
        "Wuhan",
        "Xi'an",
        "Tianjin",
        "Ningbo",
        "Tokyo",
        "London",
        "Paris",
        "Seoul",
        "Singapore",
        "Moscow",
        "Taipei",
        "Berlin",
        "Madrid",
        "Shaoxing",
        "Wenzhou",
        "Qingdao",
        "Changsha",
        "Osaka",
        "Chicago",
        "Delhi",
    ]
    + ["Hong Kong", "New York"],
}
DIRECTIONS = {
    "lng DESC": ("[最东|最东边|最东面|最靠东|最东端|最偏东|最东侧|最东头|经度最大|经度最高]", "最东边", "[easternmost|most eastern|furthest east|farthest east|most easterly]", "easternmost"),
    "lng": ("[最西|最西边|最西面|最靠西|最西端|最偏西|最西侧|最西头|经度最小|经度最低]", "最西边", "[westernmost|most western|furthest west|farthest west|most westerly]", "westernmost"),
    "lat DESC": ("[最北|最北边|最北面|最靠北|最北端|最偏北|最北侧|最北头|纬度最大|纬度最高]", "最北边", "[northernmost|most northern|furthest north|farthest north|most northerly]", "northernmost"),
    "lat": ("[最南|最南边|最南面|最靠南|最南端|最偏南|最南侧|最南头|纬度最小|纬度最低]", "最南边", "[southernmost|most southern|furthest south|farthest south|most southerly]", "southernmost"),
}  # fmt: skip


def colour_slot(rng: Random, language: str) -> Slot:
    """A colour code, upper or lower case."""
    code = f"#{rng.randrange(16**6):06X}" if rng.random() < 0.4 else rng.choice(COLOURS)
    return Slot(rng.choice([code, code, code.lower()]), code, {"v": f"'{code}'"})


def predicate_slot(rng: Random, language: str) -> Slot:
    """What can be said of stations: 在西湖区, 2019年开通, opened in 2019, are on Line 2."""
    maker = rng.choice([district_part, line_part, year_part, year_part, interchange_part, spelled_part, spelled_part])
    text, name, sql, _ = maker(rng, language)
    if language == "zh":
        text = text.removesuffix("的")
        if maker in (district_part, line_part) and not text.startswith(("在", "位于", "属于", "坐落")):
            text = rng.choice(["在", "在", "位于", "属于"]) + text
        return Slot(text, name.removesuffix("的"), {"is": sql})
    if maker in (district_part, line_part) and not text.startswith("that"):
        text = f"are {text}"
    for head, said in (
        ("whose name contains", "have names containing"),
        ("whose names include", "have names including"),
        ("whose name", "have a name that"),
        ("whose English name", "have an English name that"),
        ("with", "have"),
        ("without", "have no"),
        ("where you can", "let you"),
        ("where you cannot", "do not let you"),
    ):
        if text.startswith(head + " "):
            text = said + text[len(head) :]
            break
    text = text.removeprefix("that ").removeprefix("which ").replace("were opened", "opened")
    if text.startswith(
        ("starting", "ending", "beginning", "containing", "allowing", "connecting", "opening", "launched", "put")
    ):
        text = "are ones " + text
    return Slot(text, name, {"is": sql})


def whole_of_slot(rng: Random, language: str) -> Slot:
    """The stations of a line or a district, as the subject of a question: 4号线的站, Line 4 stations."""
    slot = (line_slot if rng.random() < 0.6 else district_slot)(rng, language)
    if language == "zh":
        return slot
    plain = rng.choice([slot.text, slot.name, slot.name.removesuffix(" District")])
    text = expand(
        f"[{plain} stations|{plain} stations|stations on {slot.text}|{plain} stops|stations of {slot.text}]", rng
    )
    return Slot(text, slot.name, slot.sql)


def opened_slot(rng: Random, language: str) -> Slot:
    """A time of opening, for lines: 2020年以前, opened before 2020."""
    text, name, sql, _ = year_part(rng, language)
    if language == "zh":
        for verb in (
            "建成开通的",
            "开通运营的",
            "投入运营的",
            "开通的",
            "启用的",
            "通车的",
            "运营的",
            "投用的",
            "开站的",
            "开的",
        ):
            if text.endswith(verb):
                text = text.removesuffix(verb)
                break
        return Slot(text, name.removesuffix("开通的"), {"is": sql})
    text = (
        text.removeprefix("that ").removeprefix("which ").replace("were opened", "opened").replace("opening", "opened")
    )
    return Slot(text.replace("put into service", "went into service").replace("launched", "opened"), name, {"is": sql})


def end_slot(rng: Random, language: str) -> Slot:
    """A station that is often an end of a line."""
    if rng.random() < 0.5:
        return station(rng, language)
    rows = stations()
    ends = [
        row
        for row, following in zip(rows, [*rows[1:], rows[0]], strict=True)
        if row["seq"] == "1" or following["seq"] == "1"
    ]
    row = rng.choice(ends)
    return station_slot(row["name"], row["name"] + rng.choice(["", "站"]), "name")


def station(rng: Random, language: str) -> Slot:
    return chinese_station(rng) if language == "zh" else english_station(rng, rng.random() < 0.42)


def coordinate_slot(rng: Random, language: str) -> Slot:
    """A bound on longitude or latitude."""
    column, value = rng.choice([("lng", rng.uniform(119.9, 120.5)), ("lat", rng.uniform(30.1, 30.4))])
    shown = f"{value:.{rng.choice([1, 1, 2])}f}"
    sign = rng.choice("<>")
    if language == "zh":
        word = {"lng": "经度", "lat": "纬度"}[column]
        side = {"lng>": "以东", "lng<": "以西", "lat>": "以北", "lat<": "以南"}[column + sign]
        prefix = {"lng": "东经", "lat": "北纬"}[column]
        more = "[大于|超过|高于|在]" if sign == ">" else "[小于|低于|不到|在]"
        text = expand(
            f"[{word}{more.replace('|在', '')}{shown}[度|]|{prefix}{shown}度{side}|{word}{shown}[度|]{side}]", rng
        )
        return Slot(text, f"{word}{'大于' if sign == '>' else '小于'}{shown}", {"v": f"{column} {sign} {shown}"})
    word = {"lng": "longitude", "lat": "latitude"}[column]
    side = {"lng>": "east", "lng<": "west", "lat>": "north", "lat<": "south"}[column + sign]
    more = "[above|greater than|over]" if sign == ">" else "[below|less than|under]"
    text = expand(
        f"[with a {word} {more} {shown}|{side} of {word} {shown}|{side} of {shown}|with {word} {more} {shown}]", rng
    )
    return Slot(text, f"with a {word} {'above' if sign == '>' else 'below'} {shown}", {"v": f"{column} {sign} {shown}"})


def direction_slot(rng: Random, language: str) -> Slot:
    order, (zh, plain_zh, en, plain_en) = rng.choice(list(DIRECTIONS.items()))
    return Slot(expand(zh if language == "zh" else en, rng), plain_zh if language == "zh" else plain_en, {"v": order})


def city_slot(rng: Random, language: str) -> Slot:
    city = rng.choice(CITIES[language])
    return Slot(city, city)


Maker = Callable[[Random, str], Slot]
MAKERS: dict[str, Maker] = {
    "S": station,
    "SC": lambda rng, language: chinese_station(rng) if language == "zh" else english_station(rng, True),
    "SE": lambda rng, language: english_station(rng, False),
    "SZ": end_slot,
    "L": line_slot,
    "D": district_slot,
    "F": filter_slot,
    "H": whole_of_slot,
    "B": predicate_slot,
    "O": lambda rng, language: (line_slot if rng.random() < 0.5 else district_slot)(rng, language),
    "OP": riders.part_slot,
    "TO": opened_slot,
    "X": direction_slot,
    "Q": coordinate_slot,
    "N": lambda rng, language: number_slot(rng, language, 2, 10),
    "NO": nth_slot,
    "NS": lambda rng, language: number_slot(rng, language, 8, 40),
    "NB": place_in_order_slot,
    "NC": lambda rng, language: number_slot(rng, language, 2, 7),
    "HEX": colour_slot,
    "NL": lambda rng, language: number_slot(rng, language, 2, 4),
    "KM": lambda rng, language: whole_slot(rng.choice([*range(10, 60, 5), *range(12, 60)])),
    "K": lambda rng, language: count_slot(rng, language, 3.3, 4.95),
    "KB": lambda rng, language: count_slot(rng, language, 5, 6.5),
    "M": riders.measure_slot,
    "P": riders.place_slot,
    "G": riders.group_slot,
    "W": dates.when_slot,
    "V": lambda rng, language: dates.when_slot(rng, language, empty=0),
    "VF": lambda rng, language: dates.when_slot(rng, language, empty=0, recent=False),
    "R": dates.recent_slot,
    "J": dates.day_slot,
    "A": station_facts_slot,
    "AL": line_facts_slot,
    "GIB": gibberish_slot,
    "CITY": lambda rng, language: city_slot(rng, language),
}


def related(names: list[str], rng: Random, language: str) -> dict[str, Slot]:
    """Mostly, stations that share a line, and that line: such questions are about neighbours on it."""
    if rng.random() < 0.25 and "END" not in names or not ({"S2", "L", "END"} & {*names} and "S" in names):
        return {}
    row = rng.choice(stations())
    own = [other for other in stations() if other["line"] == row["line"]]
    english = language == "en" and rng.random() < 0.5

    def named(row: dict[str, str]) -> Slot:
        if english:
            return station_slot(
                row["name_en"],
                row["name_en"] + rng.choice(["", "", " station"]).replace("Station station", "Station"),
                "name_en",
            )
        return station_slot(row["name"], decorated(row["name"], rng) if language == "zh" else row["name"], "name")

    slots = {"S": named(row)}
    if "L" in names:
        slots["L"] = line_slot(rng, language, int(row["line"].removesuffix("号线")))
    if "S2" in names:
        slots["S2"] = named(rng.choice([other for other in own if other is not row]))
    if "END" in names:
        forward = rng.random() < 0.5
        end = named(own[-1 if forward else 0])
        slots["END"] = Slot(end.text, end.name, {"v": "+ 1" if forward else "- 1"})
    return slots


def fill(names: list[str], rng: Random, language: str) -> dict[str, Slot]:
    """A slot for each name; a second of a kind (S2) differs from the first and is written in the same script."""
    slots = related(names, rng, language)
    for name in sorted(name for name in names if name not in slots and name not in BOUNDS):
        kind = name.rstrip("0123456789")
        first = slots.get(kind)
        slot = MAKERS[kind](rng, language)
        while first and (slot.name == first.name or slot.sql.get("col") != first.sql.get("col")):
            slot = MAKERS[kind](rng, language)
        while name == "H" and slot.sql["is"].split()[0] == slots["B"].sql["is"].split()[0]:
            slot = MAKERS[kind](rng, language)
        slots[name] = slot
    for kind, low, high in (("N", "NA", "NZ"), ("K", "KA", "KZ"), ("KL", "KLO", "KHI")):
        if low in names:
            slots[low], slots[high] = bounds(rng, kind)
    if "S2" in slots:
        slots["S&S2"] = pair_slot(slots["S"], slots["S2"])
    return slots
