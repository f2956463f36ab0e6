"""Several facts at once: what is asked of one station or line (its district and opening date), as typed and in SQL."""

from random import Random

from demo.model.grammar import Slot, expand

# column → (noun, question, plain noun) in Chinese and in English
Fact = tuple[str, str, str]
STATION: dict[str, tuple[Fact, Fact]] = {
    "district": (
        ("[行政区|行政区|所在区|区|所属区|城区]", "在[哪个|什么|哪个]区", "行政区"),
        ("[district|district|the district]", "which district is it in", "district"),
    ),
    "line": (
        ("[线路|所属线路|所在线路|线|几号线]", "[是|属于|在][几号线|哪条线|哪条线路]", "线路"),
        ("[line|line|lines|metro line]", "which line is it on", "line"),
    ),
    "opened": (
        ("[开通日期|开通时间|开通年份|通车时间|启用日期]", "[什么时候|哪年|哪天|何时][开通|启用|开]的", "开通日期"),
        ("[opening date|opening date|date of opening|opening year]", "when did it open", "opening date"),
    ),
    "transfer_lines": (
        (
            "[换乘线路|可换乘的线路|换乘信息|换乘|能换的线]",
            "[能|可以][换乘|转|换][哪些线|几号线|什么线]",
            "可换乘的线路",
        ),
        ("[transfer lines|transfers|lines to change to]", "which lines can I change to", "transfer lines"),
    ),
    "lng, lat": (
        ("[经纬度|坐标|位置坐标|经度和纬度|地理坐标]", "[经纬度|坐标]是多少", "经纬度"),
        ("[coordinates|longitude and latitude|location]", "what are its coordinates", "coordinates"),
    ),
    "name_en": (
        ("[英文名|英文站名|英语名]", "英文[名|]叫什么", "英文名"),
        ("[English name|name in English]", "what is its English name", "English name"),
    ),
}
LINE: dict[str, tuple[Fact, Fact]] = {
    "length_km": (
        ("[长度|里程|全长|总长|公里数]", "[有多长|多长|多少公里|全长多少]", "长度"),
        ("[length|total length]", "how long is it", "length"),
    ),
    "stations": (
        ("[站数|车站数|站点数|站点数量|车站数量]", "[有|][多少|几]个[站|车站]", "车站数"),
        ("[number of stations|station count|number of stops]", "how many stations does it have", "number of stations"),
    ),
    "opened": (
        ("[开通日期|开通时间|开通年份|通车时间]", "[什么时候|哪年|哪天|何时][开通|通车]的", "开通日期"),
        ("[opening date|date of opening|opening year]", "when did it open", "opening date"),
    ),
    "color": (
        ("[颜色|标识色|标志色]", "[是|用]什么颜色", "标识色"),
        ("[colour|color]", "what colour is it", "colour"),
    ),
    "first_station, last_station": (
        ("[起终点|起点和终点|首末站|起止站|起点站和终点站]", "从哪[里|]到哪[里|]", "起点站和终点站"),
        ("[terminals|end stations|termini|first and last stations]", "where does it start and end", "ends"),
    ),
}


def facts_slot(rng: Random, language: str, facts: dict[str, tuple[Fact, Fact]], most: int = 4) -> Slot:
    """Two or more facts: the text is their nouns, the form `ask` their questions one after another."""
    columns = rng.sample(list(facts), rng.choice([2, 2, 2, 3, 3, min(4, most)]))
    chosen = [facts[column][language == "en"] for column in columns]
    nouns, questions = [expand(noun, rng) for noun, _, _ in chosen], [expand(asked, rng) for _, asked, _ in chosen]
    if language == "zh":
        text = (
            rng.choice(["、", "、", "和", "，"]).join(nouns[:-1])
            + rng.choice(["和", "和", "、", "以及", "与", "，还有"])
            + nouns[-1]
        )
        asked = (
            rng.choice(["，", "，", "、", ",", " ", "？"]).join(questions[:-1])
            + rng.choice(["，", "，", "？", "，还有", "，又", "，并且"])
            + questions[-1]
        )
        name = "、".join(plain for _, _, plain in chosen)
    else:
        text = ", ".join(nouns[:-1]) + rng.choice([" and ", " and ", ", and ", " & ", ", "]) + nouns[-1]
        asked = ", ".join(questions[:-1]) + rng.choice([" and ", ", and ", "? "]) + questions[-1]
        name = ", ".join(plain for _, _, plain in chosen)
    return Slot(text, name, {"v": ", ".join(columns)}, {"ask": asked.replace("[", "").replace("]", "")})


def station_facts_slot(rng: Random, language: str) -> Slot:
    return facts_slot(rng, language, STATION)


def line_facts_slot(rng: Random, language: str) -> Slot:
    return facts_slot(rng, language, LINE)
