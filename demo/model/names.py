"""Names of places as people type them: stations, lines and districts, real ones and invented ones to copy."""

import csv
from functools import lru_cache
from pathlib import Path
from random import Random

from demo.model.grammar import Slot, expand

HERE = Path(__file__).parent
NUMERALS = "零一二三四五六七八九十"
WORDS = ["", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"]
WIDE = str.maketrans("0123456789", "０１２３４５６７８９")

DISTRICTS = {
    "上城区": "Shangcheng", "拱墅区": "Gongshu", "西湖区": "Xihu", "滨江区": "Binjiang", "萧山区": "Xiaoshan",
    "余杭区": "Yuhang", "临平区": "Linping", "钱塘区": "Qiantang", "富阳区": "Fuyang", "临安区": "Lin'an",
}  # fmt: skip
# Districts of Hangzhou without a station in the table, or no longer a district: the answer is empty, and right.
OTHER_DISTRICTS = {
    "江干区": "Jianggan",
    "下城区": "Xiacheng",
    "桐庐县": "Tonglu",
    "建德市": "Jiande",
    "淳安县": "Chun'an",
}
ALIASES = {
    "火车东站": ["杭州东站", "火车东站", "东站", "杭州东"],
    "火车西站": ["杭州西站", "火车西站", "杭州西"],
    "火车南站": ["杭州南站", "火车南站"],
    "城站": ["城站", "城站火车站", "杭州城站"],
    "萧山国际机场": ["萧山国际机场", "萧山机场", "杭州机场", "杭州萧山国际机场", "机场", "机场"],
    "浙大紫金港": ["浙大紫金港", "浙大紫金港校区"],
    "中医药大学": ["中医药大学", "浙江中医药大学"],
    "临平南高铁站": ["临平南高铁站", "临平南站", "临平南"],
    "黄龙体育中心": ["黄龙体育中心", "黄龙体育场"],
    "奥体中心": ["奥体中心", "杭州奥体中心", "奥体"],
    "音乐学院": ["音乐学院", "浙江音乐学院"],
    "野生动物园东": ["野生动物园东"],
    "西溪湿地南": ["西溪湿地南"],
    "杭师大仓前": ["杭师大仓前", "杭师大仓前校区"],
    "农林大学": ["农林大学", "浙江农林大学"],
}
ENGLISH_ALIASES = {
    "East Railway Station": ["Hangzhou East", "Hangzhou East Railway Station", "East Railway Station"],
    "West Railway Station": ["Hangzhou West", "Hangzhou West Railway Station", "West Railway Station"],
    "South Railway Station": ["Hangzhou South", "Hangzhou South Railway Station", "South Railway Station"],
    "Xiaoshan International Airport": [
        "Xiaoshan International Airport",
        "Xiaoshan Airport",
        "Hangzhou Airport",
        "the airport",
        "the airport",
    ],
    "South Xixi Wetland": ["Xixi Wetland South", "South Xixi Wetland"],
    "North Xixi Wetland": ["Xixi Wetland North", "North Xixi Wetland"],
    "People's Square": ["People's Square", "Peoples Square", "Renmin Square"],
    "Coach Center": ["Coach Center", "Coach Centre"],
    "Citizen Center": ["Citizen Center", "Citizen Centre", "Civic Center"],
    "Olympic Sports Center": ["Olympic Sports Center", "Olympic Sports Centre"],
}
ENDINGS = [
    *"路路路路桥桥桥街街",
    *[
        "广场",
        "门",
        "村",
        "湖",
        "山",
        "塘",
        "墩",
        "堡",
        "公园",
        "中心",
        "大道",
        "新村",
        "港",
        "坝",
        "浦",
        "湾",
        "园",
        "里",
        "巷",
        "口",
        "岭",
        "庄",
        "荡",
        "寺",
        "体育馆",
        "大学",
        "东路",
        "西路",
        "南路",
        "北路",
        "中路",
        "一路",
        "二路",
        "三路",
        "河",
        "江",
        "岸",
    ],
    *["洲", "渡", "圩", "关", "城", "科技城", "医院", "博物馆", "图书馆", "校区", "东", "西", "南", "北"],
]
SYLLABLES = [
    "shen",
    "tang",
    "qiao",
    "long",
    "xiang",
    "feng",
    "wu",
    "lin",
    "guang",
    "da",
    "tie",
    "guan",
    "zha",
    "peng",
    "bu",
    "qi",
    "bao",
    "jiu",
    "he",
    "ke",
    "yun",
    "xia",
    "sha",
    "jin",
    "hu",
    "gao",
    "wen",
    "ze",
    "hai",
    "nan",
    "yang",
    "chao",
    "cao",
    "jia",
    "pan",
    "shui",
    "ren",
    "min",
    "hang",
    "jian",
    "she",
    "zhen",
    "ning",
    "fei",
    "hong",
    "ying",
    "qing",
    "chun",
    "ling",
    "guo",
    "bei",
    "zhong",
    "gu",
    "cui",
    "tan",
    "xin",
    "san",
    "ba",
    "dun",
    "du",
    "bai",
    "liang",
    "zhu",
    "shan",
    "cun",
    "yi",
    "xi",
    "lv",
    "ting",
    "quan",
    "jiao",
    "sheng",
    "yuan",
    "hua",
    "wo",
    "dong",
    "yue",
    "dang",
    "huang",
    "wang",
    "ji",
    "si",
]


@lru_cache(maxsize=1)
def stations() -> list[dict[str, str]]:
    """The rows of the station table's source."""
    with open(HERE.parent / "metro" / "stations.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@lru_cache(maxsize=1)
def characters() -> str:
    """Common characters, of which invented names are made."""
    return (HERE / "characters.txt").read_text(encoding="utf-8").replace("\n", "")


def invented(rng: Random) -> str:
    """A name that sounds like a station and is none, or only by chance."""
    pool = characters()
    if rng.random() < 0.15:  # characters that are not one token, so that these are copied, too
        pool = "".join(chr(rng.randint(0x4E00, 0x9FA5)) for _ in range(2)) + rng.choice(pool)
    kind = rng.random()
    if kind < 0.35:
        stems = [row["name"] for row in rng.sample(stations(), 2)]
        name = stems[0][: rng.randint(1, 2)] + stems[1][-rng.randint(1, 2) :]
    elif kind < 0.85:
        name = "".join(rng.choices(pool, k=rng.choice([1, 2, 2, 2, 3]))) + rng.choice(ENDINGS)
    else:
        name = "".join(rng.choices(pool, k=rng.choice([2, 2, 3, 3, 4])))
    return name.rstrip("站区") or "新桥"


def decorated(name: str, rng: Random) -> str:
    """A Chinese station name as typed: with or without 站, in quotes, with stray spaces."""
    text = rng.choice(ALIASES.get(name, [name]))
    tail = rng.choice(
        ["", "", "", "站", "站", "站", "地铁站", "地铁站", "地铁口", " 站", "车站", "这个站", "这一站", "那站"]
    )
    if text.endswith("站") and tail not in ("", "这个站"):
        tail = ""
    text += tail
    kind = rng.random()
    if kind < 0.05:
        text = rng.choice(["“{}”", '"{}"', "'{}'", "「{}」", "‘{}’", "《{}》", "【{}】"]).format(text)
    elif kind < 0.07:
        text = " ".join(text) if rng.random() < 0.3 else f"{text[:1]} {text[1:]}"
    elif kind < 0.10:
        text = "地铁" + text
    elif kind < 0.13:
        text = "杭州地铁" + text
    elif kind < 0.15:
        text = f" {text} "
    return text


def quoted(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def station_slot(value: str, text: str, column: str) -> Slot:
    """A station known by its Chinese name or, where `column` is name_en, by its English one."""
    equals = f"{column} = {quoted(value)}"
    if column == "name":
        at = f"station = {quoted(value)}"
    else:
        at = f"station IN (SELECT name FROM dtzpt WHERE {equals})"
    return Slot(text, value, {"v": quoted(value), "is": equals, "at": at, "col": column})


def pair_slot(one: Slot, two: Slot) -> Slot:
    """Two stations as one slot: conditions that hold at either of them."""
    column, both = one.sql["col"], f"({one.sql['v']}, {two.sql['v']})"
    at = f"station IN {both}" if column == "name" else f"station IN (SELECT name FROM dtzpt WHERE name_en IN {both})"
    return Slot("", "", {"is": f"{column} IN {both}", "at": at})


def chinese_station(rng: Random, real: float = 0.62, plain: bool = False) -> Slot:
    """A station named in Chinese; a real one with the given probability."""
    name = rng.choice(stations())["name"] if rng.random() < real else invented(rng)
    return station_slot(name, name if plain else decorated(name, rng), "name")


def english_name(rng: Random) -> tuple[str, str]:
    """An English station name as the table has it (or an invented one), and as typed."""
    kind = rng.random()
    if kind < 0.05:
        first, second = rng.choice(SYLLABLES).capitalize(), rng.choice(["an", "ao", "ou", "er", "en", "ai"])
        name = typed = f"{first}'{second}" + rng.choice(["", " Road", " Square", " Bridge", " Street"])
    elif kind < 0.68:
        name = rng.choice(stations())["name_en"]
        typed = rng.choice(ENGLISH_ALIASES.get(name, [name]))
    else:
        stem = "".join(rng.choices(SYLLABLES, k=rng.choice([1, 2, 2, 2, 3, 3]))).capitalize()
        name = typed = expand(
            f"[{stem}|{stem}|{stem} [Road|Road|Square|Street|Park|Avenue|Bridge]|[North|South|East|West] {stem} Road]",
            rng,
        )
    if rng.random() < 0.12:
        for word, short in ((" Road", " Rd"), (" Square", " Sq"), (" Street", " St"), (" Avenue", " Ave")):
            typed = typed.replace(word, short)
    if rng.random() < 0.06:  # as it is said: the Chinese word, not its translation
        for word, chinese in ((" Road", "lu"), (" Square", "guangchang"), (" Street", "jie"), (" Bridge", "qiao")):
            typed = typed.replace(word, chinese) if not typed.startswith(("North", "South", "West", "East")) else typed
    return name, typed


def english_station(rng: Random, chinese: bool) -> Slot:
    """A station in an English question, named in Chinese characters or in English."""
    tail = rng.choice(["", "", "", " station", " station", " Station", " metro station", " stop", " subway station"])
    if chinese:
        slot = chinese_station(rng, plain=True)
        text = rng.choice(["{}", "{}", "{}", "{}站", '"{}"', "'{}'"]).format(slot.text)
        if "站" in text:
            tail = ""
        return station_slot(slot.name, text + tail, "name")
    name, typed = english_name(rng)
    if typed.endswith("Station"):
        tail = ""
    text = typed + tail
    kind = rng.random()
    if kind < 0.24:
        text, name = text.lower(), name.lower()
    elif kind < 0.27:
        text = f'"{typed}"{tail}'
    return station_slot(name, text, "name_en")


def line_slot(rng: Random, language: str, number: int | None = None) -> Slot:
    """A metro line, `number` if given; now and then one that does not exist."""
    real = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 19]
    number = number or rng.choice(real) if rng.random() < 0.93 else rng.choice([11, 12, 13, 14, 15, 17, 18, 20, 21, 25])
    chinese = NUMERALS[number] if number <= 10 else "十" + NUMERALS[number - 10] if number < 20 else f"{number}"
    if language == "zh":
        text = rng.choice(
            ["{n}号线"] * 9
            + [
                "地铁{n}号线",
                "地铁{n}号线",
                "杭州地铁{n}号线",
                "{c}号线",
                "{c}号线",
                "地铁{c}号线",
                "{n} 号线",
                "{n}号地铁线",
                "杭州{n}号线",
            ]
            + [
                "{n}号线地铁",
                "{n}线",
                "{n}号地铁",
                "Line {n}",
                "line{n}",
                "{w}号线",
                "轨道交通{n}号线",
                "{n}号线路",
                "“{n}号线”",
            ]
        )
        text = text.format(n=number, c=chinese, w=str(number).translate(WIDE))
        if number == 19 and rng.random() < 0.2:
            text = rng.choice(["机场快线", "机场轨道快线", "机场线"])
        name = f"{number}号线"
    else:
        text = rng.choice(
            ["Line {n}"] * 8
            + ["line {n}"] * 4
            + [
                "metro line {n}",
                "Metro Line {n}",
                "Line {w}",
                "line no. {n}",
                "{n}号线",
                "{n}号线",
                "subway line {n}",
                "L{n}",
                "LINE {n}",
            ]
            + ["Line{n}", "line #{n}"]
        )
        text = text.format(n=number, w=WORDS[number] if number <= 10 else number)
        name = f"Line {number}"
    return Slot(text, name, {"v": f"'{number}号线'", "is": f"line = '{number}号线'", "n": f"{number}号线"})


def district_slot(rng: Random, language: str) -> Slot:
    """A district; now and then one without stations."""
    names = DISTRICTS if rng.random() < 0.94 else OTHER_DISTRICTS
    chinese = rng.choice(list(names))
    if language == "zh":
        text = rng.choice(
            [chinese] * 8 + [chinese[:2], chinese[:2], "杭州" + chinese, "杭州市" + chinese, f"{chinese[:2]} 区"]
        )
        name = chinese
    else:
        english = names[chinese]
        forms = ["{} District"] * 5 + ["{}", "{} district", "{} District", chinese, "the {} district", "{} area"]
        if chinese == "西湖区":
            forms += ["West Lake District", "West Lake"]
        text = rng.choice(forms).format(english)
        if rng.random() < 0.08:
            text = text.lower()
        name = f"{english} District"
    return Slot(text, name, {"v": f"'{chinese}'", "is": f"district = '{chinese}'"})
